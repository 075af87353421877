"""The data dictionary of the numbers, and the tables that are made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trees import Nifti, write_tree

from bids_app.group.columns import raw_rows
from bids_app.group.measures import write_group_measures
from bids_app.inputs.dataset import open_dataset, walk
from bids_app.inputs.series import Header, Series, Session
from bids_app.outputs.manifest import FileRecord, Manifest, TaskRecord, manifest_path, record_task
from bids_app.outputs.measures import Measure, load_measures, measures_of
from bids_app.outputs.scans_table import scans_dictionary, write_scans_table
from bids_app.outputs.series_table import COLUMNS, write_series_table
from bids_app.outputs.writer import OutputError, write_pieces

UNITS = {"", "mL", "mm^2/s", "mm", "1/mm", "cm2", "deg", "nats", "%"}


def _series(name: str = "sub-01_FLAIR", spacing: tuple[float, float, float] = (0.9, 0.9, 5.0)) -> Series:
    header = Header((256, 256, 30), spacing, "RAS", "axial", (230.0, 230.0, 150.0), "int16")
    relative = f"sub-01/anat/{name}.nii.gz"
    pairs = tuple(tuple(part.split("-")) for part in name.split("_")[:-1])
    return Series(
        Path("/d") / relative,
        relative,
        pairs,
        name.split("_")[-1],
        "anat",
        ".nii.gz",
        header=header,  # type: ignore[arg-type]
    )


def _task(*files: str, **facts: object) -> TaskRecord:
    return TaskRecord("k", {}, tuple(FileRecord(file, "h", 1) for file in files), facts)


MASK = "sub-01/anat/sub-01_label-brain_desc-FLAIR_mask.nii.gz"
DEFACED = "sub-01/anat/sub-01_desc-defaced_FLAIR.nii.gz"
TASKS = {
    "mask/sub-01_FLAIR": _task(MASK, mask_method="synth", mask_volume_ml=300.5),
    "deface/sub-01_FLAIR": _task("sub-01/anat/sub-01_label-face_desc-FLAIR_mask.nii.gz", DEFACED, face_check="passed"),
    "coregister/sub-01_FLAIR": _task(rotation_deg=2.5, attempts=1, mutual_information=0.4),
    "measure/sub-01_FLAIR": _task(snr_gm=12.5, snr_wm=None, mask_reference_dice=0.5, not_measured={"snr_wm": "no map"}),
    "measure/sub-01_T1w": _task(snr_gm=20.25),
}


def test_every_measure_is_explained() -> None:
    measures = load_measures()
    assert len(measures) > 70
    for name, measure in measures.items():
        assert isinstance(measure, Measure)
        assert name == measure.name
        assert measure.group in ("image", "mask", "bias", "registration", "normalization", "face", "tissue")
        assert measure.better in ("higher", "lower", "none")
        assert measure.unit in UNITS
        assert measure.meaning.endswith(".")
        assert measure.label
        assert measure.source
    assert len({measure.label for measure in measures.values()}) == len(measures)


def test_numbers_are_found_by_their_own_name_or_by_their_step_s() -> None:
    found = measures_of("sub-01_FLAIR", Manifest({}, TASKS))
    assert found == {
        "snr_gm": 12.5, "snr_wm": None, "mask_volume_ml": 300.5, "mask_reference_dice": 0.5,
        "coregister_rotation_deg": 2.5, "coregister_mutual_information": 0.4, "coregister_attempts": 1,
    }  # fmt: skip
    assert list(found) == [name for name in load_measures() if name in found]
    assert measures_of("sub-01_T2w", Manifest({}, TASKS)) == {}


def test_the_scans_table_names_the_best_image_and_has_a_column_for_every_measure(tmp_path: Path) -> None:
    session = Session("01", None, (_series(), _series("sub-01_T2w")), ())
    name, content = write_scans_table(session, Manifest({}, TASKS), tmp_path)
    assert name == "sub-01/sub-01_scans.tsv"
    assert content == (tmp_path / name).read_bytes()
    header, row = (line.split("\t") for line in content.decode().splitlines())
    assert header == ["filename", *load_measures()] == list(scans_dictionary())
    cells = dict(zip(header, row, strict=True))
    assert cells["filename"] == "anat/sub-01_desc-defaced_FLAIR.nii.gz"
    assert (cells["snr_gm"], cells["snr_wm"], cells["cjv"], cells["coregister_attempts"]) == ("12.5", "n/a", "n/a", "1")
    gone = {name: task for name, task in TASKS.items() if not name.startswith("measure")}
    assert write_scans_table(session, Manifest({}, gone), tmp_path) == (name, None)
    assert not (tmp_path / name).exists()


def test_the_series_table_warns_in_plain_words(tmp_path: Path) -> None:
    session = Session("01", None, (_series(), _series("sub-01_T1w", (1.0, 1.0, 1.0))), ())
    _, content = write_series_table(session, None, Manifest({}, TASKS), {}, tmp_path)
    header, *rows = (line.split("\t") for line in content.decode().splitlines())
    assert header == list(COLUMNS)
    table = {row[2]: dict(zip(header, row, strict=True)) for row in rows}
    assert table["sub-01_FLAIR"]["warnings"] == (
        "the brain mask is implausibly small (300 ml); the brain mask disagrees with the reference's (Dice 0.50)"
    )
    assert table["sub-01_FLAIR"]["anisotropy"] == "high"
    assert (table["sub-01_T1w"]["warnings"], table["sub-01_T1w"]["anisotropy"]) == ("n/a", "isotropic")
    allowed = {**TASKS, "deface/sub-01_T1w": _task(face_check="allowed")}
    _, content = write_series_table(session, None, Manifest({}, allowed), {}, tmp_path)
    assert "a face is left" in content.decode().splitlines()[2]


@pytest.mark.parametrize(
    ("suffix", "named"),
    [("MuellerHans19500101", False), ("T2map", True), ("t1w", True), ("bold", True)],
)
def test_a_suffix_that_nobody_knows_is_not_written(tmp_path: Path, suffix: str, named: bool) -> None:
    """It can be a person's name and birthday."""
    file = f"sub-01/anat/sub-01_acq-x_{suffix}.nii.gz"
    write_tree(tmp_path / "data", {"sub-01/anat/sub-01_T1w.nii.gz": Nifti(), file: Nifti()})
    (session,) = walk(open_dataset(tmp_path / "data"))
    assert [one.relative for one in session.rejected] == [file]  # the terminal tells it
    _, content = write_series_table(session, None, Manifest({}, {}), {}, tmp_path)
    assert (suffix in content.decode()) == named
    assert ("misnamed" in content.decode()) != named
    assert (suffix in str(raw_rows("sub-01", None, session.rejected))) == named


def test_the_group_s_table_has_a_row_for_every_number(tmp_path: Path) -> None:
    for subject, visit in (("02", "1"), ("01", None)):
        where = manifest_path(tmp_path, subject, visit)
        for name, task in TASKS.items():
            if name.startswith(("measure", "mask")):
                record_task(tmp_path, where, name.replace("sub-01", f"sub-{subject}"), task)
    record_task(tmp_path, tmp_path / "logs" / "manifest.json", "other/sub-09_T1w", _task(snr_gm=1.0))
    write_group_measures(tmp_path)
    rows = [line.split("\t") for line in (tmp_path / "group_measures.tsv").read_text().splitlines()]
    assert rows[0] == ["participant_id", "session_id", "series", "suffix", "measure", "value"]
    assert rows[1:6] == [
        ["sub-01", "n/a", "sub-01_FLAIR", "FLAIR", "snr_gm", "12.5"],
        ["sub-01", "n/a", "sub-01_FLAIR", "FLAIR", "snr_wm", "n/a"],
        ["sub-01", "n/a", "sub-01_FLAIR", "FLAIR", "mask_volume_ml", "300.5"],
        ["sub-01", "n/a", "sub-01_FLAIR", "FLAIR", "mask_reference_dice", "0.5"],
        ["sub-01", "n/a", "sub-01_T1w", "T1w", "snr_gm", "20.25"],
    ]
    assert [row[:2] for row in rows[6:]] == [["sub-02", "ses-1"]] * 5
    dictionary = json.loads((tmp_path / "group_measures.json").read_text())
    assert set(dictionary["measure"]["Levels"]) == set(load_measures())


def test_pieces_make_one_whole_file_or_none(tmp_path: Path) -> None:
    import hashlib

    def broken():
        yield b"first"
        raise OSError("no more")

    assert write_pieces(tmp_path / "a.txt", iter([b"one ", b"two"])) == hashlib.sha256(b"one two").hexdigest()
    assert (tmp_path / "a.txt").read_bytes() == b"one two"
    with pytest.raises(OutputError):
        write_pieces(tmp_path / "b.txt", broken())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt"]
