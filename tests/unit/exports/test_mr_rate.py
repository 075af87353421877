"""MR-RATE's layout: what is unpacked equals the derivatives, names are keyed, tables are as published."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from derivative_tree import ATLAS, Tree, load

from bids_app.cli.main import run

#: The published columns, in their order (MR-RATE dataset guide, section 3), written down a second time.
PUBLISHED = [
    "patient_uid", "study_uid", "series_id", "classified_modality", "is_derived", "acquisition_plane", "SeriesNumber",
    "is_localizer", "is_subtraction", "is_center_modality", "anon_study_date", "classification_rule",
    "sequence_family", "dwi_sub_type", "array_shape", "array_spacing_mm", "array_fov_mm", "Patient'sAge",
    "Patient'sSex", "FlipAngle", "TI_ms", "TE_ms", "TR_ms", "FieldStrength_T", "Manufacturer",
    "Manufacturer'sModelName",
]  # fmt: skip
SIX = ("01", "02", "03", "04", "05", "06")


def export(tree: Tree, *words: str) -> int:
    return run([str(tree.bids), str(tree.output), "export", "--nprocs", "1", *words], {**os.environ})


def mr_rate(tree: Tree, *words: str) -> int:
    return export(tree, "--format", "mr-rate", "--export-key", str(tree.bids.parent / "key"), *words)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = Tree.at(tmp_path_factory.mktemp("mr-rate"))
    for number, subject in enumerate(SIX, 1):
        sidecar = {"PatientName": "Zyx Quendolin", "StudyDate": "1987-06-05", "ImageType": ["ORIGINAL", "PRIMARY"]}
        tree.study(subject, "1", ("T1w", "FLAIR", "acq-b_FLAIR", "PDw"), date=f"2015-03-{number:02d}T23:59:12",
                   sidecar=sidecar)  # fmt: skip
        tree.study(subject, "2", ("T1w", "angio"), date=f"2015-04-{number:02d}T00:00:01", segmented=False)
    tree.study("07", "1", face_check="failed")
    tree.people({subject: ("89+" if subject == "01" else "40", "FM"[int(subject) % 2]) for subject in SIX})
    assert mr_rate(tree, "--stratify", "sex", "--split", "0.5", "0.5", "0", "--batch-studies", "8") == 0
    return tree


@pytest.fixture(scope="module")
def merged(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four repositories unpacked into one folder, as the public merge script does; nothing is overwritten."""
    root = tmp_path_factory.mktemp("merged")
    for path in sorted((tree.output / "exports" / "mr-rate").rglob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                assert not (root / member.filename).exists(), f"{member.filename} is there twice"
                archive.extract(member, root)
    return root


def studies(tree: Tree) -> Iterator[tuple[str, str, list[dict[str, str]]]]:
    """Subject, session and rows of each study: told apart by the day and the age, which only the test knows."""
    metadata = [row for path in sorted((tree.output / "exports").rglob("*_metadata.csv")) for row in rows(path)]
    by_study: dict[str, list[dict[str, str]]] = {}
    for row in metadata:
        by_study.setdefault(row["study_uid"], []).append(row)
    from bids_app.exports.identity import Names

    names = Names((tree.bids.parent / "key").read_bytes().strip())
    for subject in SIX:
        for session in ("1", "2"):
            yield subject, session, by_study[names.study(subject, session)]


def test_what_is_unpacked_equals_the_derivatives(tree: Tree, merged: Path) -> None:
    names = {"1": {"t1w-raw-axi": "T1w", "flair-raw-axi": "FLAIR", "flair-raw-axi-2": "acq-b_FLAIR"},
             "2": {"t1w-raw-axi": "T1w", "mra-raw-axi": "angio"}}  # fmt: skip
    compared = 0
    for subject, session, found in studies(tree):
        uid = found[0]["study_uid"]
        stem = tree.output / f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}"
        assert {row["series_id"] for row in found} == set(names[session])
        for identifier, contrast in names[session].items():
            entities, _, suffix = f"_{contrast}".rpartition("_")
            center = contrast == "T1w"
            pairs = {
                f"img/{uid}_{identifier}.nii.gz": f"_desc-defaced_{suffix}.nii.gz",
                f"seg/{uid}_{identifier}_brain-mask.nii.gz": f"_label-brain_desc-{suffix}_mask.nii.gz",
                f"seg/{uid}_{identifier}_defacing-mask.nii.gz": f"_label-face_desc-{suffix}_mask.nii.gz",
                f"atlas_img/{uid}_atlas_{identifier}.nii.gz": f"_space-{ATLAS}_res-1_desc-preproc_{suffix}.nii.gz",
            }
            if center:
                shared = f"_space-{ATLAS}_res-1_label-"
                pairs |= {
                    f"coreg_img/{uid}_{identifier}.nii.gz": "_desc-defaced_T1w.nii.gz",
                    f"coreg_seg/{uid}_{identifier}_brain-mask.nii.gz": "_label-brain_desc-T1w_mask.nii.gz",
                    f"coreg_seg/{uid}_{identifier}_defacing-mask.nii.gz": "_label-face_desc-T1w_mask.nii.gz",
                    f"atlas_seg/{uid}_atlas_{identifier}_brain-mask.nii.gz": f"{shared}brain_desc-T1w_mask.nii.gz",
                    f"atlas_seg/{uid}_atlas_{identifier}_defacing-mask.nii.gz": f"{shared}face_desc-T1w_mask.nii.gz",
                    f"transform/M_atlas_{identifier}.mat": f"_from-T1w_to-{ATLAS}_mode-image_xfm.mat",
                }
                if session == "1":
                    pairs[f"seg/{uid}_{identifier}_synth-seg.nii.gz"] = "_seg-synth_desc-T1w_dseg.nii.gz"
                    pairs[f"seg/{uid}_{identifier}_synth-seg.tsv"] = "_seg-synth_desc-T1w_dseg.tsv"
            else:
                pairs |= {
                    f"coreg_img/{uid}_coreg_{identifier}.nii.gz": f"_space-T1w_desc-preproc_{suffix}.nii.gz",
                    f"transform/M_coreg_{identifier}.mat": f"_from-{suffix}_to-T1w_mode-image_xfm.mat",
                }
            for exported, derivative in pairs.items():
                compared += _equal(merged / uid / exported, Path(f"{stem}{entities}{derivative}"))
    assert compared == sum(1 for path in merged.rglob("*") if path.is_file())


def _equal(exported: Path, derivative: Path) -> int:
    if not exported.name.endswith(".nii.gz"):
        assert exported.read_bytes() == derivative.read_bytes()
        return 1
    one, other = load(exported), load(derivative)
    np.testing.assert_array_equal(np.asanyarray(one.dataobj), np.asanyarray(other.dataobj), str(exported))
    np.testing.assert_array_equal(one.affine, other.affine)
    dtype = one.header.get_data_dtype()
    if "mask" in exported.name or "seg." in exported.name:
        assert dtype == np.uint8
    elif "/img/" in exported.as_posix():
        assert dtype == (np.float32 if np.asanyarray(other.dataobj).dtype == np.float32 else np.uint16)
    else:
        assert dtype in (np.float32, np.uint16)
    return 1


def test_the_metadata_has_the_published_columns(tree: Tree) -> None:
    paths = sorted((tree.output / "exports" / "mr-rate" / "MR-RATE" / "metadata").iterdir())
    assert [path.name for path in paths] == ["batch00_metadata.csv", "batch01_metadata.csv"]
    for path in paths:
        with path.open(newline="") as file:
            assert next(csv.reader(file)) == PUBLISHED
    for subject, _, found in studies(tree):
        assert sum(row["is_center_modality"] == "True" for row in found) == 1
        for row in found:
            assert re.fullmatch(r"(t1w|t2w|flair|swi|mra)-(raw|der)-(axi|sag|cor|obl)(-[2-9])?", row["series_id"])
            assert row["classified_modality"] in ("T1w", "T2w", "FLAIR", "SWI", "MRA")
            assert row["acquisition_plane"] in ("AXIAL", "CORONAL", "SAGITTAL", "OBLIQUE")
            assert {row["is_derived"], row["is_localizer"], row["is_subtraction"]} == {"False"}
            assert (row["array_shape"], row["array_spacing_mm"]) == ("[6, 7, 5]", "[1, 1.5, 5]")
            assert (row["TE_ms"], row["FieldStrength_T"], row["Manufacturer"]) == ("3", "3", "Siemens")
            assert row["Patient'sAge"] == ("89+" if subject == "01" else "40")
            assert row["Patient'sSex"] == "FM"[int(subject) % 2]
            assert int(row["SeriesNumber"]) in (2, 3, 4)


def test_days_are_moved_alike_for_a_patient(tree: Tree) -> None:
    import datetime

    days = {(subject, session): found[0]["anon_study_date"] for subject, session, found in studies(tree)}
    dates = {key: datetime.date.fromisoformat(day) for key, day in days.items()}
    assert {(dates[one, "2"] - dates[one, "1"]).days for one in SIX} == {31}, "the true interval, in days"
    assert all(date.year < 1925 for date in dates.values())
    shifts = {(datetime.date(2015, 3, int(one)) - dates[one, "1"]).days for one in SIX}
    assert len(shifts) == 6, "each patient's own"


def test_a_patient_is_in_one_split_and_batches_are_full(tree: Tree) -> None:
    splits = rows(tree.output / "exports" / "mr-rate" / "MR-RATE" / "splits.csv")
    assert list(splits[0]) == ["batch_id", "patient_uid", "study_uid", "split"]
    of_patient: dict[str, set[str]] = {}
    for row in splits:
        of_patient.setdefault(row["patient_uid"], set()).add(row["split"])
    assert [len(one) for one in of_patient.values()] == [1] * 6
    assert sorted(min(one) for one in of_patient.values()) == ["train"] * 3 + ["val"] * 3
    assert [row["batch_id"] for row in splits] == ["batch00"] * 8 + ["batch01"] * 4


def test_what_is_left_out_is_told(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    left_out = rows(tree.output / "exports" / "mr-rate" / "left_out.csv")
    assert sorted({row["reason"] for row in left_out}) == ["MR-RATE has no PDw", "it did not pass the face check"]
    assert len(left_out) == 6 + 2
    assert mr_rate(tree, "--participant-label", "07", "--export-dir", str(tree.bids.parent / "none")) == 18
    assert "left out, 2 times: it did not pass the face check" in capsys.readouterr().out


def test_a_key_gives_the_same_names_and_another_one_others(tree: Tree, tmp_path: Path) -> None:
    first = tree.output / "exports" / "mr-rate"
    words = ("--stratify", "sex", "--split", "0.5", "0.5", "0", "--batch-studies", "8")
    assert mr_rate(tree, *words, "--export-dir", str(tmp_path / "again")) == 0
    assert contents(tmp_path / "again") == contents(first)
    (tmp_path / "other-key").write_text("another secret, long enough as well")
    other = ("--format", "mr-rate", "--export-key", str(tmp_path / "other-key"))
    assert export(tree, *other, "--export-dir", str(tmp_path / "other")) == 0
    names = [
        {row[column] for row in rows(root / "MR-RATE" / "splits.csv") for column in ("patient_uid", "study_uid")}
        for root in (first, tmp_path / "other")
    ]
    assert len(names[0]) == len(names[1]) == 18
    assert not names[0] & names[1]


def test_nothing_tells_who_it_is(tree: Tree) -> None:
    for path in (tree.output / "exports" / "mr-rate").rglob("*"):
        texts: list[Any] = [path.name.encode()]
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                texts += [part for one in archive.infolist() for part in (one.filename.encode(), archive.read(one))]
        elif path.is_file():
            texts.append(path.read_bytes())
        for text in texts:
            found = re.search(
                rb"sub-0|ses-\d|quendolin|1987|2015|a face\b(?! )|secret|" + str(tree.bids).encode(), text, re.I
            )
            assert found is None or b"the face check" in text or path.name == "export.json", (path, found)


def test_the_manifest_does_not_tell_by_trial_whose_a_study_is(tree: Tree, tmp_path: Path) -> None:
    """Everything that is hashed but for the secret can be guessed: with another secret all keys are others."""
    from bids_app.exports.journal import read_records, unit_key

    (tmp_path / "other-key").write_text("another secret, long enough as well")
    other = ("--format", "mr-rate", "--export-key", str(tmp_path / "other-key"))
    assert export(tree, *other, "--export-dir", str(tmp_path / "other")) == 0
    keys = [
        {one.key for one in read_records(root) if one.unit != "tables"}
        for root in (tree.output / "exports" / "mr-rate", tmp_path / "other")
    ]
    assert not keys[0] & keys[1]
    assert len({unit_key("a"), unit_key("a", secret=b"1"), unit_key("a", secret=b"2")}) == 3


def test_other_folders_are_left_alone(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("not an export")
    assert export(tree, "--format", "webdataset", "--export-dir", str(tmp_path)) == 73
    assert export(tree, "--format", "webdataset", "--export-dir", str(tree.bids / "exports")) == 64
    assert "lies in the dataset" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_keys_are_asked_for_and_kept_apart(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tree, "--format", "mr-rate") == 64
    assert "needs --export-key FILE" in capsys.readouterr().err
    inside = tree.output / "key"
    inside.write_text("a secret that lies in the output")
    assert export(tree, "--format", "mr-rate", "--export-key", str(inside)) == 66
    assert "lies in the output" in capsys.readouterr().err
    inside.unlink()


def test_an_altered_derivative_costs_its_study_alone(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = tree.output / "sub-02/ses-1/anat/sub-02_ses-1_label-brain_desc-T1w_mask.nii.gz"
    good = mask.read_bytes()
    mask.write_bytes(good[:-1] + b"x")
    try:
        assert mr_rate(tree, "--export-dir", str(tmp_path / "bad")) == 1
    finally:
        mask.write_bytes(good)
    assert "is not what its manifest says" in capsys.readouterr().out
    assert len(list((tmp_path / "bad" / "MR-RATE" / "mri").rglob("*.zip"))) == 11
    assert mr_rate(tree, "--export-dir", str(tmp_path / "bad")) == 0
    assert len(list((tmp_path / "bad" / "MR-RATE" / "mri").rglob("*.zip"))) == 12


def test_what_is_gone_from_the_output_goes_from_the_export(tmp_path: Path) -> None:
    tree = Tree.at(tmp_path)
    tree.study("01")
    tree.study("02")
    assert mr_rate(tree) == 0
    assert mr_rate(tree, "--participant-label", "02") == 0
    assert len(list((tree.output / "exports" / "mr-rate").rglob("*.zip"))) == 4


@pytest.mark.parametrize(("words", "code", "message"), [
    ((), 64, "export needs --format"),
    (("--format", "nnunet"), 64, "needs --export-label"),
    (("--format", "slices", "--export-images", "preproc"), 64, "is no kind of image"),
    (("--format", "slices", "--split", "0.5", "0.6", "0"), 64, "of sum 1"),
    (("--format", "slices", "--embed", "nowhere.pt"), 66, "no such file"),
    (("--format", "slices", "--probe", "sex"), 64, "need --embed"),
    (("--format", "slices", "--shard", "1/2"), 64, "all participants at once"),
    (("--format", "webdataset", "--stratify", "height"), 64, "no study has such a column"),
])  # fmt: skip
def test_wrong_words(
    tree: Tree, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, message: str
) -> None:
    assert export(tree, *words) == code
    assert message in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mr_rate(tree, "--export-dir", str(tmp_path / "none"), "--dry-run") == 0
    assert "12 studies would be exported" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_options_can_stand_in_a_file(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "export.toml").write_text(
        f'format = "mr-rate"\nsplit = [1, 0, 0.0]\nexport-key = "{tree.bids.parent / "key"}"\n'
        f'export-dir = "{tmp_path / "found"}"\nparticipant-label = ["03"]\n'
    )
    assert export(tree, "--config-file", str(tmp_path / "export.toml")) == 0
    assert {row["split"] for row in rows(tmp_path / "found" / "MR-RATE" / "splits.csv")} == {"train"}


def test_export_options_belong_to_the_level(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(tree.bids), str(tree.output), "group", "--format", "slices"], {}) == 64
    assert "--format goes with the level export" in capsys.readouterr().err
