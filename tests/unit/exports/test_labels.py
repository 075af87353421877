"""What belongs together in an export: the labels of an image, the images of a channel, the atlas of all."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from derivative_tree import ATLAS, Tree, load
from PIL import Image

from bids_app.cli.main import run
from bids_app.outputs.manifest import manifest_path
from bids_app.outputs.writer import image_bytes
from bids_app.steps.images import new_image


def export(tree: Tree, *words: str, split: tuple[str, ...] = ("1", "0", "0")) -> int:
    where = [str(tree.bids), str(tree.output), "export", "--nprocs", "1", "--split", *split]
    return run([*where, *words], {**os.environ})


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add(tree: Tree, subject: str, task: str, stem: str, array: Any, table: str = "") -> None:
    """A finished task with a label, and perhaps the table of its values."""
    contents = {f"{stem}.nii.gz": image_bytes(new_image(array, tree.affine()))}
    if table:
        contents[f"{stem}.tsv"] = table.encode()
    change(tree, subject, task, contents)


def change(
    tree: Tree, subject: str, task: str, contents: Mapping[str, bytes], parents: Mapping[str, str] | None = None
) -> None:
    where = manifest_path(tree.output, subject, None)
    manifest = json.loads(where.read_text())
    files = []
    for name, content in contents.items():
        path = f"sub-{subject}/anat/{name}"
        (tree.output / path).write_bytes(content)
        files.append({"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)})
    manifest["tasks"][task] = {"key": task, "parents": dict(parents or {}), "files": files, "facts": {}}
    where.write_text(json.dumps(manifest))


@pytest.fixture
def lesions(tmp_path: Path) -> Tree:
    """Lesions that were drawn on the FLAIR of sub-01, whose reference is the T1w; sub-02 has none."""
    tree = Tree.at(tmp_path)
    for subject in ("01", "02"):
        tree.study(subject)
    lesion = np.ones(tree.shape, np.uint8)
    add(tree, "01", "lesion/sub-01_FLAIR", "sub-01_label-lesion_desc-FLAIR_mask", lesion)
    stem = f"sub-01_space-{ATLAS}_res-1_label-lesion_desc-FLAIR_mask"
    add(tree, "01", f"resample/sub-01_FLAIR/{ATLAS}_res-1/lesion", stem, lesion)
    return tree


def test_a_lesion_that_was_drawn_on_another_series_is_a_case(lesions: Tree) -> None:
    images = ("--export-images", "T1w@atlas/preproc", "FLAIR@atlas/preproc")
    assert export(lesions, "--format", "nnunet", "--export-label", "lesion", *images) == 0
    root = lesions.output / "exports" / "nnunet"
    assert [path.name for path in (root / "Dataset001_lesion" / "labelsTr").iterdir()] == ["sub-01.nii.gz"]
    assert [row["study"] for row in rows(root / "left_out.csv")] == ["sub-02"]


@pytest.mark.parametrize(("images", "labelled", "lacking"), [
    ("atlas/preproc", {"T1w", "FLAIR"}, [("sub-02", "FLAIR"), ("sub-02", "T1w")]),
    ("native/preproc", {"FLAIR"}, [("sub-01", "T1w"), ("sub-02", "FLAIR"), ("sub-02", "T1w")]),
])  # fmt: skip
def test_lesions_of_another_series_go_with_slices_and_samples(
    lesions: Tree, images: str, labelled: set[str], lacking: list[tuple[str, str]]
) -> None:
    for kind in ("slices", "webdataset"):
        assert export(lesions, "--format", kind, "--export-label", "lesion", "--export-images", images) == 0
        told = rows(lesions.output / "exports" / kind / "left_out.csv")
        assert [(row["study"], row["contrast"]) for row in told] == lacking
        assert {row["reason"] for row in told} == {"it has no label lesion: its images are there without it"}
    table = rows(lesions.output / "exports" / "slices" / "slices.csv")
    assert {row["contrast"] for row in table if row["label_path"]} == labelled
    samples = rows(lesions.output / "exports" / "webdataset" / "samples.csv")
    label = "label-lesion" if images.startswith("atlas") else "label-lesion_flair"
    assert {row["sample"]: row["label"] for row in samples} == {"sub-01": label, "sub-02": ""}


def test_series_with_labels_of_their_own_in_one_space_keep_them(lesions: Tree) -> None:
    stem = f"sub-01_space-{ATLAS}_res-1_label-lesion_desc-T1w_mask"
    add(lesions, "01", f"resample/sub-01_T1w/{ATLAS}_res-1/lesion", stem, np.zeros(lesions.shape, np.uint8))
    assert export(lesions, "--format", "webdataset", "--export-label", "lesion") == 0
    with tarfile.open(lesions.output / "exports" / "webdataset" / "train-000000.tar") as archive:
        found = {}
        for member in archive.getmembers():
            if "label" in member.name:
                stream = archive.extractfile(member)
                assert stream is not None
                found[member.name] = nib.Nifti1Image.from_bytes(gzip.decompress(stream.read())).dataobj[0, 0, 0]
    assert found == {"sub-01.label-lesion_flair.nii.gz": 1, "sub-01.label-lesion_t1w.nii.gz": 0}


@pytest.fixture
def regions(tmp_path: Path) -> Tree:
    """A parcellation with the numbers 100 to 309, and one whose numbers no PNG holds (of sub-02)."""
    tree = Tree.at(tmp_path)
    for subject in ("01", "02"):
        tree.study(subject, contrasts=("T1w",))
    numbers = np.arange(210).reshape(6, 7, 5).astype(np.int32) + 100
    table = "index\tname\n" + "".join(f"{number}\tregion {number}\n" for number in range(1, 310))
    add(tree, "01", "regions/sub-01_T1w", "sub-01_seg-X_desc-T1w_dseg", numbers, table)
    table = "index\tname\n" + "".join(f"{number}\tregion {number}\n" for number in range(70_001, 70_310))
    add(tree, "02", "regions/sub-02_T1w", "sub-02_seg-X_desc-T1w_dseg", numbers + 70_000, table)
    return tree


@pytest.mark.parametrize("size", [(), ("--png-size", "14")])
def test_slices_of_labels_over_255_have_16_bits(regions: Tree, size: tuple[str, ...]) -> None:
    assert export(regions, "--format", "slices", "--export-label", "X", "--planes", "axial", *size) == 0
    root = regions.output / "exports" / "slices"
    found: set[int] = set()
    for row in rows(root / "slices.csv"):
        with Image.open(root / row["label_path"]) as image:
            found |= set(np.asarray(image).ravel().tolist())
    assert found == set(range(100, 310))
    told = [(row["study"], row["reason"]) for row in rows(root / "left_out.csv")]
    assert told == [("sub-02", "its label has the number 70309; none over 65535 can be written")]


def test_cases_of_more_than_255_labels_have_16_bits(regions: Tree) -> None:
    images = ("--export-images", "T1w@native/preproc")
    assert export(regions, "--format", "nnunet", "--export-label", "X", *images) == 0
    labels = regions.output / "exports" / "nnunet" / "Dataset001_X" / "labelsTr"
    image = load(labels / "sub-01.nii.gz")
    assert image.get_data_dtype() == np.uint16
    np.testing.assert_array_equal(np.asanyarray(image.dataobj).ravel(), np.arange(100, 310))
    np.testing.assert_array_equal(np.asanyarray(load(labels / "sub-02.nii.gz").dataobj).ravel(), np.arange(100, 310))


@pytest.mark.parametrize("images", [(), ("--export-images", "T1w@atlas/preproc")], ids=["common", "named"])
def test_a_contrast_agent_makes_another_channel(tmp_path: Path, images: tuple[str, ...]) -> None:
    tree = Tree.at(tmp_path)
    tree.study("01", contrasts=("T1w", "acq-x_ce-gadolinium_T1w"))
    tree.study("02", contrasts=("ce-gadolinium_T1w",))
    tree.study("03", contrasts=("run-2_T1w", "ce-gadolinium_T1w", "run-1_T1w"))
    tree.study("04", contrasts=("T1w",))
    for subject in ("01", "03"):  # as the participant level sorts them
        table = tree.output / f"sub-{subject}" / f"sub-{subject}_series.tsv"
        header, *lines = table.read_text().splitlines()
        table.write_text("\n".join([header, *sorted(lines)]) + "\n")
    words = ("--format", "nnunet", "--export-label", "synth")
    root = tree.output / "exports" / "nnunet"
    if not images:
        tree.study("04", contrasts=("T1w", "ce-gadolinium_T1w"))
        assert export(tree, *words) == 0
        about = json.loads((root / "Dataset001_synth" / "dataset.json").read_text())
        assert about["channel_names"] == {"0": "T1w", "1": "T1w+ce"}
        return
    assert export(tree, *words, *images) == 0
    found = {}
    for path in (root / "Dataset001_synth" / "imagesTr").iterdir():
        anat = tree.output / path.name.partition("_")[0] / "anat"
        found |= {path.name[4:6]: one.name for one in anat.iterdir() if one.read_bytes() == path.read_bytes()}
    assert found == {
        "01": f"sub-01_space-{ATLAS}_res-1_desc-preproc_T1w.nii.gz",
        "03": f"sub-03_run-2_space-{ATLAS}_res-1_desc-preproc_T1w.nii.gz",
        "04": f"sub-04_space-{ATLAS}_res-1_desc-preproc_T1w.nii.gz",
    }
    (told,) = rows(root / "left_out.csv")
    assert told["study"] == "sub-02"
    assert "without contrast agent; name T1w+ce@" in told["reason"]
    enhanced = ("--export-images", "T1w+ce@atlas/preproc", "--export-label", "synth")
    assert export(tree, "--format", "nnunet", *enhanced, "--export-dir", str(tmp_path / "ce")) == 0
    names = {path.name[4:6] for path in (tmp_path / "ce" / "Dataset001_synth" / "imagesTr").iterdir()}
    assert names == {"01", "02", "03"}


def test_another_segmentation_does_not_stand_for_synths(tmp_path: Path) -> None:
    tree = Tree.at(tmp_path)
    tree.study("01", contrasts=("T1w",))
    tree.study("02", contrasts=("T1w",), segmented=False)
    for subject in ("01", "02"):
        stem = f"sub-{subject}_seg-AAL_desc-T1w_dseg"
        add(tree, subject, f"regions/sub-{subject}_T1w", stem, np.zeros(tree.shape, np.uint8), "index\tname\n1\ta\n")
    assert export(tree, "--format", "mr-rate", "--export-key", str(tmp_path / "key")) == 0
    (archive,) = (tree.output / "exports" / "mr-rate").rglob("*vista-seg.zip")
    with zipfile.ZipFile(archive) as opened:
        names = [name.split("_", 1)[1] for name in opened.namelist()]
    assert names == ["t1w-raw-axi_synth-seg.nii.gz", "t1w-raw-axi_synth-seg.tsv"]


def test_labels_of_one_name_stay_apart(tmp_path: Path) -> None:
    tree = Tree.at(tmp_path)
    tree.study("01", contrasts=("T1w",))
    array = (np.arange(210).reshape(tree.shape) % 6).astype(np.uint8)
    lines = ["hippocampus\tleft", "hippocampus\tright", "vermis\tn/a", "cyst\tn/a", "cyst\tn/a"]
    table = "index\tname\themisphere\n" + "".join(f"{index}\t{line}\n" for index, line in enumerate(lines, 1))
    add(tree, "01", "regions/sub-01_T1w", "sub-01_seg-X_desc-T1w_dseg", array, table)
    images = ("--export-images", "T1w@native/preproc")
    assert export(tree, "--format", "nnunet", "--export-label", "X", *images) == 0
    about = json.loads((tree.output / "exports/nnunet/Dataset001_X/dataset.json").read_text())
    names = ["background", "left hippocampus", "right hippocampus", "vermis", "cyst 4", "cyst 5"]
    assert about["labels"] == {name: index for index, name in enumerate(names)}


def in_other_atlas(tree: Tree, subject: str) -> None:
    """The same files in another atlas, which is the first by name."""
    where = manifest_path(tree.output, subject, None)
    tasks = json.loads(where.read_text())["tasks"]
    for name, task in tasks.items():
        if ATLAS in name and name.startswith("resample"):
            paths = [tree.output / file["path"] for file in task["files"]]
            contents = {path.name.replace(ATLAS, "AAA"): path.read_bytes() for path in paths}
            change(tree, subject, name.replace(ATLAS, "AAA"), contents, task["parents"])


@pytest.mark.parametrize("kind", ["webdataset", "slices", "nnunet", "mr-rate"])
def test_an_export_has_one_atlas(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    tree = Tree.at(tmp_path)
    for subject in ("01", "02", "03"):
        tree.study(subject, contrasts=("T1w",))
    for subject in ("01", "03"):
        in_other_atlas(tree, subject)
    where = manifest_path(tree.output, "03", None)  # this one has the other atlas alone
    content = json.loads(where.read_text())
    content["tasks"] = {name: task for name, task in content["tasks"].items() if f"/{ATLAS}_" not in name}
    where.write_text(json.dumps(content))
    tree.study("04", contrasts=("T1w",))
    words = {"nnunet": ("--export-label", "synth"), "mr-rate": ("--export-key", str(tmp_path / "key"))}.get(kind, ())
    images = () if kind == "mr-rate" else ("--export-images", "atlas/preproc")
    assert export(tree, "--format", kind, *words, *images) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"atlas is {ATLAS}:res-1 (3 studies) in all of the export; there is also AAA:res-1 (2 studies)" in told
    root = tree.output / "exports" / kind
    about = json.loads((root / "export.json").read_text())
    assert about["Settings"]["export_images"][-1] == f"{ATLAS}:res-1/preproc"
    left_out = rows(root / "left_out.csv")
    assert len(left_out) == 1
    if kind != "mr-rate":
        assert left_out[0]["study"] == "sub-03"
        assert not [path for path in root.rglob("*") if "sub-03" in path.name]


def test_the_table_of_participants_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree.at(tmp_path)
    for number in range(4):
        tree.study(f"{number:02d}", contrasts=("T1w",))
    tree.people({f"{number:02d}": (str(40 + number), "F") for number in range(4)})
    opened: list[str] = []
    real = Path.open

    def counted(path: Path, *words: Any, **more: Any) -> Any:
        opened.append(path.name)
        return real(path, *words, **more)

    monkeypatch.setattr(Path, "open", counted)
    assert export(tree, "--format", "slices") == 0
    assert opened.count("participants.tsv") == 1
    table = rows(tree.output / "exports" / "slices" / "slices.csv")
    assert {(row["patient"], row["age"], row["sex"]) for row in table} == {
        (f"sub-{number:02d}", str(40 + number), "F") for number in range(4)
    }


def test_series_whose_names_differ_in_case_alone_are_both_in_a_sample(tmp_path: Path) -> None:
    tree = Tree.at(tmp_path)
    tree.study("01", contrasts=("acq-MPR_T1w", "acq-mpr_T1w"))
    assert export(tree, "--format", "webdataset", "--export-images", "native/preproc", "--export-label", "brain") == 0
    root = tree.output / "exports" / "webdataset"
    (sample,) = rows(root / "samples.csv")
    assert sample["images"] == "acq-mpr_t1w acq-mpr_t1w_2"
    with tarfile.open(root / "train-000000.tar") as archive:
        names = [member.name for member in archive.getmembers()]
    assert len([name for name in names if "label-brain" in name]) == 2
