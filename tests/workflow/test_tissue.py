"""Tissue of a demo head, from the raw image to the maps in the atlas and the table of volumes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from runs import Run, bids_app

NAME = "sub-02_ses-1"
TISSUES = ("GM", "WM", "CSF")


@pytest.fixture(scope="module")
def run(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One session of two series, true masks given."""
    return bids_app(
        small_demo, tmp_path_factory.mktemp("tissue") / "out", "--participant-label", "02", "--session-label", "1",
        "--masks", str(small_demo / "derivatives" / "truth"), "--variants", "preproc", "--steps", "default", "segment",
    )  # fmt: skip


def _load(run: Run, name: str) -> nib.Nifti1Image:
    return nib.load(run.output / "sub-02" / "ses-1" / "anat" / f"{NAME}_{name}.nii.gz")


def _ml(image: nib.Nifti1Image) -> float:
    return float(image.get_fdata().sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000)


def test_maps_lie_on_the_raw_grid_and_are_those_of_the_stack(run: Run) -> None:
    assert run.code == 0, run.text
    raw = nib.load(run.source / "sub-02" / "ses-1" / "anat" / f"{NAME}_T1w.nii.gz")
    stack = _load(run, "desc-T1w_probseg")
    assert stack.shape == (*raw.shape, 3)
    assert np.allclose(stack.affine, raw.affine, atol=1e-3)
    maps = [_load(run, f"label-{tissue}_desc-T1w_probseg").get_fdata() for tissue in TISSUES]
    assert np.array_equal(np.stack(maps, axis=-1), stack.get_fdata())
    labels = np.asarray(_load(run, "seg-tissue_desc-T1w_dseg").dataobj)
    assert np.array_equal(labels, np.where(np.sum(maps, axis=0) > 0.5, np.argmax(maps, axis=0) + 1, 0))
    assert not labels[np.asarray(_load(run, "label-intracranial_desc-T1w_mask").dataobj) +
                      np.asarray(_load(run, "label-brain_desc-T1w_mask").dataobj) == 0].any()  # fmt: skip


def test_volumes_are_the_sums_of_the_maps_and_plausible(run: Run) -> None:
    with (run.output / "sub-02" / "ses-1" / f"{NAME}_volumes.tsv").open() as file:
        rows = {(row["structure"], row["hemisphere"]): float(row["volume_ml"])
                for row in csv.DictReader(file, delimiter="\t") if row["method"] == "tissue"}  # fmt: skip
    for tissue in TISSUES:
        assert rows[tissue, "both"] == pytest.approx(_ml(_load(run, f"label-{tissue}_desc-T1w_probseg")), abs=0.01)
    brain = _ml(_load(run, "label-brain_desc-T1w_mask"))
    assert 0.85 * brain < rows["GM", "both"] + rows["WM", "both"] < 1.02 * brain
    left, right = rows["lateral ventricle", "left"], rows["lateral ventricle", "right"]
    assert left == pytest.approx(right, rel=0.3)


def test_the_atlas_gets_the_same_volumes_by_a_rigid_transform(run: Run) -> None:
    for tissue in TISSUES:
        native = _ml(_load(run, f"label-{tissue}_desc-T1w_probseg"))
        moved = _load(run, f"space-MNI152NLin2009aSym_res-1_label-{tissue}_desc-T1w_probseg")
        assert _ml(moved) == pytest.approx(native, rel=0.02), tissue
    labels = np.asarray(_load(run, "space-MNI152NLin2009aSym_seg-tissue_res-1_desc-T1w_dseg").dataobj)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    stack = _load(run, "space-MNI152NLin2009aSym_res-1_desc-T1w_probseg")
    assert stack.shape == (*labels.shape, 3)


def test_it_is_told_how_it_was_made_and_shown(run: Run) -> None:
    anat = run.output / "sub-02" / "ses-1" / "anat"
    said = json.loads((anat / f"{NAME}_desc-T1w_probseg.json").read_text())
    assert said["LabelMap"] == list(TISSUES)
    assert said["Method"]["CoverageOfAtlas"] > 0.97
    assert any("seg-synth" in uri for uri in said["Sources"])
    with (run.output / "sub-02" / "ses-1" / f"{NAME}_scans.tsv").open() as file:
        rows = {row["filename"].rpartition("_")[2]: row for row in csv.DictReader(file, delimiter="\t")}
    assert float(rows["T1w.nii.gz"]["tissue_contrast_gm_wm"]) > 1.5
    assert float(rows["T1w.nii.gz"]["gm_ml"]) > 300
    assert rows["FLAIR.nii.gz"]["gm_ml"] == "n/a"
    assert float(rows["FLAIR.nii.gz"]["snr_gm"]) > 0
    page = (run.output / "sub-02.html").read_text()
    assert "with the borders of grey and white matter and the ventricles (tissue)" in page
    assert "with the borders of grey and white matter and the ventricles (synth)" in page
