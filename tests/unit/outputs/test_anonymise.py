"""Dates that are shifted, ages that are capped, messages that quote nothing."""

from __future__ import annotations

import json
import re
import traceback
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from trees import write_tree

from bids_app.outputs.anonymise import (
    DateKeyError,
    capped_age,
    date_shift,
    read_date_key,
    safe_text,
    safe_traceback,
    shifted,
)
from bids_app.outputs.manifest import read_manifest
from bids_app.outputs.people import visit_times, write_people
from bids_app.outputs.writer import PARTIAL

KEY = b"a secret of sixteen bytes or more"
_TIMES = some.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1)).map(lambda time: time.replace(microsecond=0))


@given(_TIMES, _TIMES, some.text("abc019", min_size=1))
def test_order_and_intervals_stay_and_the_date_does_not(one: datetime, other: datetime, label: str) -> None:
    shift = date_shift(KEY, label)
    moved = [datetime.fromisoformat(shifted(time.isoformat(), shift) or "") for time in (one, other)]
    assert moved[1] - moved[0] == other - one
    assert all(time.year < 1925 for time in moved)


def test_the_shift_is_the_participants_and_the_keys() -> None:
    shifts = {date_shift(key, label) for key in (KEY, KEY + b"!") for label in ("01", "02", "1")}
    assert len(shifts) == 6
    assert date_shift(KEY, "01") == date_shift(KEY, "01")


@pytest.mark.parametrize("text", ["", "n/a", "2024-05-06", "T", "05/06/2024", "0001-01-01T00:00:00", "x" * 999])
def test_what_is_no_time_is_dropped(text: str) -> None:
    assert shifted(text, date_shift(KEY, "01")) is None


@pytest.mark.parametrize(
    ("age", "written"),
    [
        ("35", "35"), ("35.71", "35"), ("88.9", "88"), ("89", "89+"), ("89+", "89+"), ("93", "89+"), ("101.5", "89+"),
        ("1.27", "1.2"), ("0.5", "0.5"), ("0", "0"), ("n/a", None), ("", None), ("born 1931", None), ("19310101", None),
        ("-3", None), ("nan", None),
    ],
)  # fmt: skip
def test_ages(age: str, written: str | None) -> None:
    assert capped_age(age) == written


def test_a_key_is_a_secret_outside_the_output(tmp_path: Path) -> None:
    assert read_date_key(None, tmp_path) is None
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert read_date_key(tmp_path / "key", tmp_path / "out") == KEY
    with pytest.raises(DateKeyError, match="lies in the output"):
        read_date_key(tmp_path / "key", tmp_path)
    with pytest.raises(DateKeyError, match="No such file"):
        read_date_key(tmp_path / "none", tmp_path / "out")
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(DateKeyError, match="at least 16 bytes"):
        read_date_key(tmp_path / "key", tmp_path / "out")


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("/data/Jane Doe/sub-01/anat/x.nii.gz is broken", "BIDS_DIR/sub-01/anat/x.nii.gz is broken"),
        ("cannot open /mnt/doe_jane/x.nii, or ~/doe", "cannot open …, or …"),
        ("KeyError: 'Jane Doe'", "KeyError: '…'"),
        ('bad magic b"Doe" and “Jane”', 'bad magic "…" and “…”'),
        ("the head's mask isn't its own", "the head's mask isn't its own"),
        ("scanned 1970-01-02 at 10:11:12, 02.01.1970, 19700102", "scanned … at …, …, …"),
        ("2.5 mm, 26 slices, 5.5 x 1 x 1 mm, 3/100", "2.5 mm, 26 slices, 5.5 x 1 x 1 mm, 3/100"),
        ("Ward Seven has no brain", "… has no brain"),
    ],
)
def test_messages_quote_nothing(said: str, written: str) -> None:
    assert safe_text(said, {Path("/data/Jane Doe"): "BIDS_DIR"}, ["Ward Seven", "MR"]) == written


def test_tracebacks_keep_their_frames_alone() -> None:
    def fails(name: str) -> None:
        try:
            raise ValueError(f'{name}\n  File "{name}", line 3, in {name} {name}\n    {name}\n  {name}')
        except ValueError as error:
            raise KeyError(name) from error

    secret = "Ja" + "ne"
    try:
        fails(secret)
    except KeyError:
        text = safe_traceback(traceback.format_exc())
    assert "Jane" not in text
    assert "in fails" in text
    assert "ValueError" in text
    assert text.splitlines()[-1] == "KeyError"


def _tables(source: Path) -> Path:
    people = "participant_id\tage\tsex\tname\nsub-01\t93\tMale\tJane\nsub-02\t40.5\tx\tJane\nsub-03\t1\tF\tJane\n"
    sessions = "session_id\tacq_time\tage\tward\n"
    sessions += "ses-1\t2020-02-03T04:05:06\t93\tSeven\nses-2\t2021-02-03T04:05:06\t94\tSeven\n"
    scans = "filename\tacq_time\nanat/a.nii.gz\t2022-02-03T04:05:07\nanat/b.nii.gz\t2022-02-03T04:05:06\n"
    files = {
        "participants.tsv": people,
        "sub-01/sub-01_sessions.tsv": sessions,
        "sub-01/ses-3/sub-01_ses-3_scans.tsv": scans,
    }
    return write_tree(source, files)


def test_tables_have_what_is_allowed_of_those_who_have_outputs(tmp_path: Path) -> None:
    source, output = _tables(tmp_path / "data"), tmp_path / "out"
    for folder in ("sub-01/ses-1", "sub-01/ses-2", "sub-01/ses-3", "sub-02"):
        (output / folder).mkdir(parents=True)
    write_people(source, output, ["01", "02"], None)
    assert (output / "participants.tsv").read_text() == "participant_id\tage\tsex\nsub-01\t89+\tM\nsub-02\t40\tn/a\n"
    table = output / "sub-01" / "sub-01_sessions.tsv"
    assert table.read_text() == "session_id\tage\nses-1\t89+\nses-2\t89+\nses-3\tn/a\n"
    assert not (output / "sub-02" / "sub-02_sessions.tsv").exists()
    assert "sub-01/sub-01_sessions.tsv" in read_manifest(output / "logs" / "sub-01" / "manifest.json").tables

    write_people(source, output, ["01", "02"], KEY)
    header, *rows = [line.split("\t") for line in table.read_text().splitlines()]
    assert header == ["session_id", "age", "acq_time"]
    times = [datetime.fromisoformat(row[2]) for row in rows]
    assert (times[1] - times[0]).days == 366
    assert times[2] - times[1] == datetime(2022, 2, 3, 4, 5, 6) - datetime(2021, 2, 3, 4, 5, 6)
    assert times[0] != datetime(2020, 2, 3, 4, 5, 6)

    (source / "sub-01" / "sub-01_sessions.tsv").unlink()
    (source / "participants.tsv").unlink()
    write_people(source, output, ["01", "02"], None)
    assert not table.exists()
    assert not (output / "participants.tsv").exists()
    assert "participants.tsv" not in read_manifest(output / "logs" / "manifest.json").tables


def test_dictionaries_are_there_while_their_tables_are_and_have_their_columns(tmp_path: Path) -> None:
    source, output = _tables(tmp_path / "data"), tmp_path / "out"
    sessions = (source / "sub-01/sub-01_sessions.tsv").read_text()
    write_tree(source, {"sub-02/sub-02_sessions.tsv": sessions})
    for folder in ("sub-01/ses-1", "sub-02/ses-1"):
        (output / folder).mkdir(parents=True)
    write_people(source, output, ["01"], KEY)
    write_people(source, output, ["02"], None)  # drops the dates of its own table only
    assert list(json.loads((output / "sessions.json").read_text())) == ["age", "acq_time"]
    write_people(source, output, ["01", "02"], None)
    assert list(json.loads((output / "sessions.json").read_text())) == ["age"]
    assert not (output / "scans.json").exists()
    for subject in ("01", "02"):
        (source / f"sub-{subject}/sub-{subject}_sessions.tsv").unlink()
    (output / "sub-02/ses-1/sub-02_ses-1_scans.tsv").write_text("filename\n")
    write_people(source, output, ["01", "02"], None)
    assert not (output / "sessions.json").exists()
    assert (output / "scans.json").exists()
    (output / "sub-02/ses-1/sub-02_ses-1_scans.tsv").unlink()
    write_people(source, output, ["01"], None)
    assert not (output / "scans.json").exists()
    assert not {"sessions.json", "scans.json"} & set(read_manifest(output / "logs" / "manifest.json").tables)


def test_ages_in_months_are_written_in_years(tmp_path: Path) -> None:
    source, output = _tables(tmp_path / "data"), tmp_path / "out"
    (output / "sub-01" / "ses-1").mkdir(parents=True)
    for name in ("participants.json", "sub-01/sub-01_sessions.json"):
        (source / name).write_text('{"age": {"Units": "months"}}')
    write_people(source, output, ["01"], None)
    assert (output / "participants.tsv").read_text() == "participant_id\tage\tsex\nsub-01\t7\tM\n"
    assert (output / "sub-01/sub-01_sessions.tsv").read_text() == "session_id\tage\nses-1\t7\n"


@pytest.mark.parametrize("columns", ["session_id\tacq_time\tage", "Session_ID\tAcq_Time\tAge"])
@pytest.mark.parametrize("label", ["ses-1", "1"])
def test_sessions_are_found_whatever_the_case_of_columns_and_without_prefix(
    tmp_path: Path, columns: str, label: str
) -> None:
    tables = {"sub-01/sub-01_sessions.tsv": f"{columns}\n{label}\t2020-02-03T04:05:06\t40\n"}
    source, output = write_tree(tmp_path / "data", tables), tmp_path / "out"
    (output / "sub-01" / "ses-1").mkdir(parents=True)
    write_people(source, output, ["01"], KEY)
    header, row = (output / "sub-01/sub-01_sessions.tsv").read_text().splitlines()
    assert (header, row.split("\t")[:2]) == ("session_id\tage\tacq_time", ["ses-1", "40"])
    assert datetime.fromisoformat(row.split("\t")[2]).year < 1925
    assert visit_times(source, "01", "1") == ["2020-02-03T04:05:06"]


def test_a_table_of_participants_that_is_not_ours_stays(tmp_path: Path) -> None:
    source, output = write_tree(tmp_path / "data", {}), tmp_path / "out"
    write_tree(output, {"sub-01": None, "participants.tsv": "participant_id\nsub-01\n"}, described=False)
    write_people(source, output, ["01"], None)
    assert (output / "participants.tsv").read_text() == "participant_id\nsub-01\n"


def test_what_a_killed_run_left_of_a_table_is_removed(tmp_path: Path) -> None:
    source, output = _tables(tmp_path / "data"), tmp_path / "out"
    (output / "sub-01" / "ses-1").mkdir(parents=True)
    half = output / "sub-01" / f"{PARTIAL}x-sub-01_sessions.tsv"
    half.write_text("half")
    write_people(source, output, ["01"], KEY)
    assert not half.exists()


@pytest.mark.parametrize(
    "date", ["1945-03-12T10:11:12", "20200131T101010", "1945-03-12T10:11:12.5Z", "acq_19450312", "a_1945-03-12_b"]
)
def test_no_part_of_a_date_with_its_time_is_left(date: str) -> None:
    assert not re.search(r"\d", safe_text(f"read of {date} failed"))
