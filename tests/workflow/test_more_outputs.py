"""What is made only when it is asked for: cubic voxels in a series' own space, and the segmentation."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from runs import Run, bids_app
from scipy import ndimage

EDGE = 2.5
NAME = "sub-02_ses-1"


@pytest.fixture(scope="module")
def run(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One session of two series, true masks given."""
    return bids_app(
        small_demo, tmp_path_factory.mktemp("more") / "out", "--participant-label", "02", "--session-label", "1",
        "--masks", str(small_demo / "derivatives" / "truth"), "--isotropic", "always", "--isotropic-mm", str(EDGE),
        "--steps", "mask", "deface", "bias", "coregister", "resample", "normalize", "segment", "--profile",
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["T1w", "FLAIR"])
def test_cubic_voxels_are_the_native_ones_interpolated_once(run: Run, suffix: str) -> None:
    anat = run.output / "sub-02" / "ses-1" / "anat"
    native = nib.load(anat / f"{NAME}_desc-preproc_{suffix}.nii.gz")
    cubes = nib.load(anat / f"{NAME}_res-25_desc-preproc_{suffix}.nii.gz")
    assert np.allclose(nib.affines.voxel_sizes(cubes.affine), EDGE)
    old, new = (np.array(image.shape) * nib.affines.voxel_sizes(image.affine) for image in (native, cubes))
    assert (new > old - 0.01).all()  # the same box, rounded up to whole voxels
    assert (new < old + EDGE).all()
    matrix = np.linalg.inv(native.affine) @ cubes.affine
    face = np.asarray(nib.load(anat / f"{NAME}_res-25_label-face_desc-{suffix}_mask.nii.gz").dataobj) > 0
    expected = ndimage.affine_transform(native.get_fdata(), matrix[:3, :3], matrix[:3, 3], cubes.shape, order=1)
    inside = tuple(slice(2, -2) for _ in range(3))  # at the border ITK reaches half a voxel further
    difference = np.abs(np.where(face, 0, expected) - cubes.get_fdata())[inside]
    assert difference.max() < 1e-4 * native.get_fdata().max()


@pytest.mark.parametrize("suffix", ["T1w", "FLAIR"])
def test_cubic_voxels_have_their_own_masks_and_say_what_they_are(run: Run, suffix: str) -> None:
    anat = run.output / "sub-02" / "ses-1" / "anat"
    mask = nib.load(anat / f"{NAME}_res-25_label-brain_desc-{suffix}_mask.nii.gz")
    native = nib.load(anat / f"{NAME}_label-brain_desc-{suffix}_mask.nii.gz")
    volumes = [image.get_fdata().sum() * np.prod(nib.affines.voxel_sizes(image.affine)) for image in (mask, native)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.02)
    sidecar = json.loads((anat / f"{NAME}_res-25_desc-brainzscore_{suffix}.json").read_text())
    assert sidecar["SpatialReference"] == "orig"
    assert f"{EDGE} mm isotropic, interpolated from voxels of" in sidecar["Resolution"]


@pytest.mark.parametrize("suffix", ["T1w", "FLAIR"])
def test_segmentation_lies_on_the_raw_grid_and_in_the_skull(run: Run, suffix: str) -> None:
    anat = run.output / "sub-02" / "ses-1" / "anat"
    raw = nib.load(run.source / "sub-02" / "ses-1" / "anat" / f"{NAME}_{suffix}.nii.gz")
    labels = nib.load(anat / f"{NAME}_seg-synth_desc-{suffix}_dseg.nii.gz")
    inside = nib.load(anat / f"{NAME}_label-intracranial_desc-{suffix}_mask.nii.gz")
    assert labels.shape == inside.shape == raw.shape
    assert np.allclose(labels.affine, raw.affine, atol=1e-3)
    with (anat / f"{NAME}_seg-synth_desc-{suffix}_dseg.tsv").open() as file:
        table = {int(row["index"]): row["name"] for row in csv.DictReader(file, delimiter="\t")}
    found = np.asarray(labels.dataobj)
    assert set(np.unique(found)) <= set(table)
    assert not found[np.asarray(inside.dataobj) == 0].any()
    brain = np.asarray(nib.load(anat / f"{NAME}_label-brain_desc-{suffix}_mask.nii.gz").dataobj) > 0
    assert (found[brain] > 0).mean() > 0.9


def test_the_segmentation_is_carried_to_the_reference_grid_without_a_change(run: Run) -> None:
    anat = run.output / "sub-02" / "ses-1" / "anat"
    native = nib.load(anat / f"{NAME}_seg-synth_desc-T1w_dseg.nii.gz")
    moved = nib.load(anat / f"{NAME}_space-T1w_seg-synth_desc-T1w_dseg.nii.gz")
    assert np.array_equal(np.asarray(moved.dataobj), np.asarray(native.dataobj))
    assert not list(anat.glob("*_space-T1w_seg-synth_desc-FLAIR*"))  # in shared spaces it is the reference's


def test_the_profile_accounts_for_every_task_and_second(run: Run) -> None:
    with (run.output / "logs" / "profile.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    tasks = [row for row in rows if row["task"] != "n/a"]
    manifest = json.loads((run.output / "logs" / "sub-02" / "ses-1" / "manifest.json").read_text())
    assert {row["task"] for row in tasks} == set(manifest["tasks"])
    (whole,) = [row for row in rows if row["task"] == "n/a"]
    assert float(whole["wall_s"]) == pytest.approx(
        sum(float(row["wall_s"]) for row in tasks) + float(whole["other_s"]), abs=0.01
    )
    assert all(float(row["cpu_s"]) > 0 for row in tasks)
    assert "mask" in run.text
    assert "no task" in run.text


def test_all_of_it_is_finished_work(run: Run) -> None:
    assert run.code == 0, run.text


def test_without_an_atlas_there_is_no_tissue_and_it_is_said_why(run: Run) -> None:
    folder = run.output / "sub-02" / "ses-1"
    assert not list(folder.glob("anat/*probseg*"))
    with (folder / f"{NAME}_series.tsv").open() as file:
        reasons = {row["suffix"]: row["tissue_gate"] for row in csv.DictReader(file, delimiter="\t")}
    assert reasons == {"T1w": "it is not aligned with an atlas", "FLAIR": "n/a"}
    said = json.loads((folder / f"{NAME}_volumes.json").read_text())
    assert said["NoTissueSegmentation"] == "it is not aligned with an atlas"
    assert "no tissue segmentation: it is not aligned with an atlas" in run.text


def test_volumes_of_structures_are_the_voxels_of_their_labels(run: Run) -> None:
    folder = run.output / "sub-02" / "ses-1"
    labels = nib.load(folder / "anat" / f"{NAME}_seg-synth_desc-T1w_dseg.nii.gz")
    with (folder / "anat" / f"{NAME}_seg-synth_desc-T1w_dseg.tsv").open() as file:
        names = {row["name"]: int(row["index"]) for row in csv.DictReader(file, delimiter="\t")}
    with (folder / f"{NAME}_volumes.tsv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["method"] == "synth"]
    assert len(rows) == len(names) - 1
    voxel_ml = abs(np.linalg.det(labels.affine[:3, :3])) / 1000
    for row in rows:
        name = row["structure"] if row["hemisphere"] == "both" else f"{row['hemisphere']} {row['structure']}"
        counted = (np.asarray(labels.dataobj) == names[name]).sum() * voxel_ml
        assert float(row["volume_ml"]) == pytest.approx(counted, abs=0.006), name
