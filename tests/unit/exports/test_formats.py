"""Slices, shards and nnU-Net's dataset: what a loader reads is what the derivatives are."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from derivative_tree import ATLAS, Tree, load
from PIL import Image

from bids_app.cli.main import run
from bids_app.exports.slicing import BrokenStackError, Grey, check_spacing, check_stack, fitted, picture, slicing_plane
from bids_app.exports.splits import assign_splits
from bids_app.outputs.manifest import manifest_path
from bids_app.steps.images import new_image

KEY = ("--export-key",)


def export(tree: Tree, *words: str) -> int:
    return run([str(tree.bids), str(tree.output), "export", "--nprocs", "1", *words], {**os.environ})


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = Tree.at(tmp_path_factory.mktemp("formats"))
    for number in range(1, 11):
        tree.study(f"{number:02d}", planes={"FLAIR": "sagittal"})
    return tree


# slices


@pytest.mark.parametrize(("bits", "scale"), [(8, "slice"), (16, "volume")])
def test_pngs_read_back_to_the_documented_values(tree: Tree, tmp_path: Path, bits: int, scale: str) -> None:
    words = ("--png-bits", str(bits), "--png-scale", scale, "--planes", "axial", "coronal", "sagittal")
    assert export(tree, "--format", "slices", "--export-dir", str(tmp_path), "--export-label", "brain", *words) == 0
    table = rows(tmp_path / "slices.csv")
    assert len(table) == 10 * 2 * (6 + 7 + 5)
    for row in table[:36]:
        anat = tree.output / row["patient"] / "anat"
        volume = nib.as_closest_canonical(load(anat / f"{row['patient']}_desc-preproc_{row['series']}.nii.gz"))
        array = np.asanyarray(volume.dataobj)
        index = int(row["index"])
        expected = {
            "axial": array[:, ::-1, index].T if row["plane"] == "axial" else None,
            "coronal": array[:, index, ::-1].T if row["plane"] == "coronal" else None,
            "sagittal": array[index, :, ::-1].T if row["plane"] == "sagittal" else None,
        }[row["plane"]]
        assert expected is not None
        with Image.open(tmp_path / row["path"]) as image:
            assert image.mode == ("L" if bits == 8 else "I;16")
            pixels = np.asarray(image).astype(float)
        low, high = float(row["low"]), float(row["high"])
        values = low + pixels / (2**bits - 1) * (high - low)
        np.testing.assert_allclose(values, expected, atol=0.5001 * (high - low) / (2**bits - 1))
        whole = array if scale == "volume" else expected
        assert (low, high) == pytest.approx((whole.min(), whole.max()), rel=1e-6)
        mask = nib.as_closest_canonical(load(anat / f"{row['patient']}_label-brain_desc-{row['series']}_mask.nii.gz"))
        with Image.open(tmp_path / row["label_path"]) as image:
            label = np.asarray(image)
        np.testing.assert_array_equal(label, picture(np.asanyarray(mask.dataobj), row["plane"], index))
        assert int(row["label_pixels"]) == (label > 0).sum()
        millimetres = {"axial": (1.5, 1, 5), "coronal": (5, 1, 1.5), "sagittal": (5, 1.5, 1)}[row["plane"]]
        assert tuple(float(row[name]) for name in ("row_mm", "column_mm", "slice_mm")) == millimetres


def test_a_data_loader_gives_batches_of_slices(tree: Tree, tmp_path: Path) -> None:
    words = ("--png-square", "--png-size", "16", "--split", "0.6", "0.2", "0.2")
    assert export(tree, "--format", "slices", "--export-dir", str(tmp_path), *words) == 0
    table = rows(tmp_path / "slices.csv")

    class Dataset(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(table)

        def __getitem__(self, index: int) -> Any:
            with Image.open(tmp_path / table[index]["path"]) as image:
                return torch.from_numpy(np.array(image)), table[index]["contrast"]

    pictures, contrasts = next(iter(torch.utils.data.DataLoader(Dataset(), batch_size=32, shuffle=True)))
    assert pictures.shape == (32, 16, 16)
    assert set(contrasts) == {"T1w", "FLAIR"}
    of_patient = {(row["patient"], row["split"]) for row in table}
    assert sorted(split for _, split in of_patient) == ["test"] * 2 + ["train"] * 6 + ["val"] * 2
    assert {row["plane"] for row in table} == {"axial"}, "across the thickest edge"


def test_stacks_that_are_not_continuous_are_refused(tmp_path: Path) -> None:
    tree = Tree.at(tmp_path)
    good = np.random.default_rng(0).normal(500, 100, (6, 7, 9)).astype(np.float32)
    hole, twice, edges = good.copy(), good.copy(), good.copy()
    hole[:, :, 4] = 0
    twice[:, :, 5] = twice[:, :, 4]
    edges[:, :, (0, 1, 8)] = 0
    for subject, array in {"hole": hole, "twice": twice, "edges": edges}.items():
        tree.study(subject, contrasts=("T1w",), image=new_image(array, tree.affine()))
    assert export(tree, "--format", "slices") == 0
    root = tree.output / "exports" / "slices"
    reasons = {row["study"]: row["reason"] for row in rows(root / "left_out.csv")}
    assert reasons == {
        "sub-hole": "its slices are no continuous stack: 1 within it are empty",
        "sub-twice": "its slices are no continuous stack: 1 are the same as the one before",
    }
    assert [row["index"] for row in rows(root / "slices.csv")] == ["2", "3", "4", "5", "6", "7"], "empty ones dropped"


def test_slicing_alone() -> None:
    volume = np.arange(24).reshape(2, 3, 4)
    assert picture(volume, "axial", 0).tolist() == [[8, 20], [4, 16], [0, 12]], "front on top, left at left"
    assert slicing_plane("acquisition", np.array([1, 1, 5.0])) == "axial"
    assert slicing_plane("acquisition", np.array([6, 1, 1.0])) == "sagittal"
    assert Grey(0, 10, 8).pixels(np.array([0, 5, 10, 11])).tolist() == [0, 128, 255, 255]
    assert fitted(np.full((2, 4), 7, np.uint8), square=True, size=None).tolist() == [[0] * 4, [7] * 4, [7] * 4, [0] * 4]
    labels = fitted(np.array([[0, 9], [9, 0]], np.uint8), square=False, size=8, labels=True)
    assert set(labels.ravel().tolist()) == {0, 9}
    with pytest.raises(BrokenStackError, match="it is empty"):
        check_stack(np.zeros((3, 3, 3)), 2)
    check_spacing(5.1, np.array([1, 1, 5.0]))
    with pytest.raises(BrokenStackError, match=r"2\.5 mm apart"):
        check_spacing(2.5, np.array([1, 1, 5.0]))


def test_splits_are_stratified_and_shares_are_kept() -> None:
    strata = {f"p{number}": [("F", "M")[number % 3 == 0], str(20 + number % 60)] for number in range(300)}
    splits = assign_splits(strata, (0.7, 0.1, 0.2), seed=3)
    counts = [sum(one == name for one in splits.values()) for name in ("train", "val", "test")]
    assert counts == [210, 30, 60]
    for sex, total in (("F", 200), ("M", 100)):
        found = [sum(splits[p] == name for p in strata if strata[p][0] == sex) for name in ("train", "val", "test")]
        assert all(abs(one - share * total) <= 2 for one, share in zip(found, (0.7, 0.1, 0.2), strict=True))
    assert assign_splits(strata, (0.7, 0.1, 0.2), seed=3) == splits != assign_splits(strata, (0.7, 0.1, 0.2), seed=4)


def test_patients_keep_their_splits_when_others_come(tmp_path: Path) -> None:
    tree = Tree.at(tmp_path)
    table = tree.output / "exports" / "webdataset" / "samples.csv"

    def splits(*words: str) -> dict[str, str]:
        assert export(tree, "--format", "webdataset", *words) == 0
        return {row["patient"]: row["split"] for row in rows(table)}

    for number in range(1, 41, 2):
        tree.study(f"{number:02d}", contrasts=("T1w",))
    before = splits()
    for number in range(0, 40, 2):
        tree.study(f"{number:02d}", contrasts=("T1w",))
    after = splits()
    assert {patient: after[patient] for patient in before} == before
    assert sorted(Counter(after.values()).values()) == [4, 4, 32]
    again = splits("--random-seed", "7")
    assert {patient: again[patient] for patient in before} != before, "another seed is another assignment"


# webdataset


def test_shards_hold_the_derivatives_and_are_bounded(tree: Tree, tmp_path: Path) -> None:
    words = ("--export-label", "brain", "--shard-mb", "0.012", "--export-key", str(tree.bids.parent / "key"))
    assert export(tree, "--format", "webdataset", "--export-dir", str(tmp_path), *words) == 0
    shards = sorted(tmp_path.glob("*.tar"))
    assert len(shards) > 5
    assert all(path.stat().st_size <= 12_000 for path in shards)
    listed = rows(tmp_path / "samples.csv")
    assert len({row["sample"] for row in listed}) == 10
    hashes = {gzip.decompress(path.read_bytes()) for path in tree.output.rglob(f"*space-{ATLAS}*.nii.gz")}
    for shard in shards:
        with tarfile.open(shard) as archive:
            for member in archive.getmembers():
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                stream = archive.extractfile(member)
                assert stream is not None
                if member.name.endswith(".nii.gz"):
                    assert gzip.decompress(stream.read()) in hashes


def test_the_webdataset_library_gives_a_batch(tree: Tree, tmp_path: Path) -> None:
    webdataset: Any = pytest.importorskip("webdataset", reason="webdataset is not installed: not read by its library")
    assert export(tree, "--format", "webdataset", "--export-dir", str(tmp_path), "--export-label", "brain") == 0

    def voxels(sample: dict[str, Any]) -> tuple[Any, ...]:
        images = [
            nib.Nifti1Image.from_bytes(gzip.decompress(sample[name]))
            for name in ("t1w.nii.gz", "flair.nii.gz", "label-brain.nii.gz")
        ]
        about = json.loads(sample["json"])
        assert about["images"]["t1w"]["label"] == "label-brain"
        return (*(torch.from_numpy(np.array(one.dataobj, dtype=np.float32)) for one in images), about["sample"])

    dataset = webdataset.WebDataset(str(tmp_path / "train-000000.tar"), shardshuffle=False).map(voxels)
    t1w, flair, label, names = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4)))
    assert t1w.shape == flair.shape == label.shape == (4, 6, 7, 5)
    for index, name in enumerate(names):
        expected = load(tree.output / name / "anat" / f"{name}_space-{ATLAS}_res-1_desc-preproc_FLAIR.nii.gz")
        np.testing.assert_array_equal(flair[index], np.asanyarray(expected.dataobj))


# nnU-Net


def test_nnunets_own_check_passes(tree: Tree, tmp_path: Path) -> None:
    words = ("--export-label", "synth", "--dataset-id", "7", "--split", "0.8", "0", "0.2")
    assert export(tree, "--format", "nnunet", "--export-dir", str(tmp_path), *words) == 0
    folder = tmp_path / "Dataset007_synth"
    about = json.loads((folder / "dataset.json").read_text())
    assert about == {
        "channel_names": {"0": "FLAIR", "1": "T1w"},
        "labels": {"background": 0, "white matter": 1, "grey matter": 2, "CSF": 3},
        "numTraining": 8,
        "file_ending": ".nii.gz",
    }
    assert len(list((folder / "imagesTs").iterdir())) == 2 * 2 == 2 * len(list((folder / "labelsTs").iterdir()))
    folds = json.loads((folder / "splits_final.json").read_text())
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(folds[0]["train"] + folds[0]["val"])
    check = (
        "from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity as verify\n"
        f"if __name__ == '__main__':\n    verify({str(folder)!r}, 1)"
    )
    (tmp_path / "check.py").write_text(check)
    done = subprocess.run([sys.executable, tmp_path / "check.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stdout


def test_a_data_loader_gives_a_case(tree: Tree, tmp_path: Path) -> None:
    images = ("--export-images", "T1w@reference/preproc")
    assert export(tree, "--format", "nnunet", "--export-dir", str(tmp_path), "--export-label", "brain", *images) == 0
    folder = tmp_path / "Dataset001_brain"
    cases = sorted((folder / "labelsTr").iterdir())

    class Dataset(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(cases)

        def __getitem__(self, index: int) -> Any:
            name = cases[index].name.replace(".nii.gz", "_0000.nii.gz")
            found = [load(folder / "imagesTr" / name), load(cases[index])]
            return tuple(torch.from_numpy(np.array(one.dataobj, dtype=np.float32)) for one in found)

    batch, labels = next(iter(torch.utils.data.DataLoader(Dataset(), batch_size=4)))
    assert batch.shape == labels.shape == (4, 6, 7, 5)
    name = cases[0].name.removesuffix(".nii.gz")
    mask = load(tree.output / name / "anat" / f"{name}_space-T1w_label-brain_desc-T1w_mask.nii.gz")
    np.testing.assert_array_equal(labels[0], np.asanyarray(mask.dataobj))


def test_cases_without_a_channel_or_label_are_left_out(tmp_path: Path) -> None:
    tree = Tree.at(tmp_path)
    tree.study("01")
    tree.study("02", contrasts=("T1w",))
    tree.study("03", segmented=False)
    images = ("--export-images", "T1w@atlas/preproc", "FLAIR@atlas/preproc")
    assert export(tree, "--format", "nnunet", "--export-label", "synth", *images) == 0
    left_out = {row["study"]: row["reason"] for row in rows(tree.output / "exports/nnunet/left_out.csv")}
    assert left_out == {
        "sub-02": f"it has no image FLAIR@{ATLAS}:res-1/preproc",
        "sub-03": "it has no label synth in the space of the images",
    }
    assert export(tree, "--format", "nnunet", "--export-label", "lesion", *images) == 18


def test_data_that_came_defaced_and_faces_that_were_allowed(tmp_path: Path) -> None:
    tree = Tree.at(tmp_path)
    tree.study("01", face_check=None)
    tree.study("02", face_check="allowed")
    assert export(tree, "--format", "webdataset") == 18
    assert export(tree, "--format", "webdataset", "--no-deface", "--allow-face") == 0
    assert len(rows(tree.output / "exports" / "webdataset" / "samples.csv")) == 2
    assert export(tree, "--format", "mr-rate", "--no-deface", *KEY, str(tmp_path / "key")) == 0


@pytest.mark.parametrize("killed", [False, True], ids=["replaced", "killed"])
def test_an_image_with_a_face_does_not_leave_by_the_verdict_of_another(tmp_path: Path, killed: bool) -> None:
    """Of a run without defacing, a bias-corrected image was left; a later run that defaced did not come to it."""
    tree = Tree.at(tmp_path)
    tree.study("01", contrasts=("T1w",))
    tree.study("02", contrasts=("T1w",))
    where = manifest_path(tree.output, "01", None)
    content = json.loads(where.read_text())
    parents = content["tasks"]["bias/sub-01_T1w"]["parents"]
    if killed:
        parents["deface/sub-01_T1w"] = "of another mask"
    else:
        del parents["deface/sub-01_T1w"]
    where.write_text(json.dumps(content))
    for images in ("native/preproc", "atlas/preproc"):
        root = tmp_path / images.partition("/")[0]
        words = ("--format", "webdataset", "--split", "1", "0", "0", "--export-dir", str(root))
        assert export(tree, *words, "--export-images", images) == 0
        assert [row["sample"] for row in rows(root / "samples.csv")] == ["sub-02"]
        reasons = {row["reason"] for row in rows(root / "left_out.csv") if row["study"] == "sub-01"}
        assert killed or "an image of it was not made from the defaced one; run the participant level again" in reasons
    words = ("--format", "webdataset", "--split", "1", "0", "0", "--export-dir", str(tmp_path / "defaced"))
    assert export(tree, *words, "--export-images", "native/defaced") == 0
    assert len(rows(tmp_path / "defaced" / "samples.csv")) == 2
    if not killed:
        assert export(tree, *words, "--export-images", "native/preproc", "--no-deface") == 0
        assert len(rows(tmp_path / "defaced" / "samples.csv")) == 2, "the data came defaced"


def test_images_of_other_kinds() -> None:
    from bids_app.exports.images import compact

    affine = np.eye(4)
    for array, dtype in (
        (np.array([[[0, 65535]]], np.int32), np.uint16),
        (np.array([[[0, -1]]], np.int16), np.float32),
        (np.array([[[0, 70000]]], np.int32), np.float32),
        (np.array([[[0.5, 1]]], np.float64), np.float32),
    ):
        image: Any = nib.Nifti1Image(array, affine, dtype=array.dtype)
        stream = io.BytesIO(gzip.compress(image.to_bytes()))
        found: Any = nib.Nifti1Image.from_bytes(gzip.decompress(compact(stream.getvalue())))
        assert found.get_data_dtype() == dtype
        np.testing.assert_array_equal(np.asanyarray(found.dataobj), array)


@pytest.mark.parametrize("words", [
    ("slices", "--export-label", "brain", "--planes", "sagittal"),
    ("webdataset", "--export-label", "brain"),
    ("nnunet", "--export-label", "brain"),
], ids=["slices", "webdataset", "nnunet"])  # fmt: skip
def test_with_a_key_nothing_tells_who_it_is(tmp_path: Path, words: tuple[str, ...]) -> None:
    tree = Tree.at(tmp_path)
    planted = {"PatientName": "Zyx Quendolin", "InstitutionName": "Quendolin Hospital", "StudyDate": "1987-06-05"}
    for subject in ("quendolin01", "quendolin02"):
        tree.study(subject, "1987", sidecar=planted, date="1987-06-05T04:03:02")
    assert export(tree, "--format", *words, *KEY, str(tmp_path / "key"), "--export-dir", str(tmp_path / "found")) == 0
    for archive in (tmp_path / "found").glob("*.tar"):
        with tarfile.open(archive) as opened:
            opened.extractall(tmp_path / "found" / "unpacked", filter="data")
    paths = [path for path in (tmp_path / "found").rglob("*") if path.is_file()]
    assert len(paths) > 6
    for path in paths:
        content = path.read_bytes()
        unpacked = gzip.decompress(content) if path.suffix == ".gz" else b""
        for raw in (content.lower(), unpacked.lower(), path.relative_to(tmp_path).as_posix().lower().encode()):
            text = re.sub(rb"[0-9a-f]{20,}", b"", raw)  # a hash can hold any number
            assert b"quendolin" not in text, path
            assert b"1987" not in text, path
            assert str(tmp_path).lower().encode() not in text, path
