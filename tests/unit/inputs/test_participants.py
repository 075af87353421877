"""Tables of a dataset as they are found in the wild."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest

from bids_app.inputs import participants
from bids_app.inputs.participants import ages, participant_rows, session_rows, table_rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_row_is_a_line_whatever_is_quoted(tmp_path: Path, encoding: str, end: str) -> None:
    lines = (
        "participant_id\tNote\tAge",
        'sub-01\t"left\t30',
        '02\t"a ""b"""\t89+',
        "",
        'sub-03\tc"\t10',
        "sub-03\t\t11",
    )
    (tmp_path / "participants.tsv").write_bytes((end.join(lines) + end).encode(encoding))
    rows = table_rows(tmp_path / "participants.tsv")
    assert [row["Note"] for row in rows] == ['"left', 'a "b"', 'c"', ""]
    assert {label: row["age"] for label, row in participant_rows(tmp_path).items()} == {
        "01": "30",
        "02": "89+",
        "03": "10",
    }
    assert ages(participant_rows(tmp_path)) == {"01": 30.0, "02": 89.0, "03": 10.0}


@pytest.mark.parametrize(
    ("units", "age", "years"),
    [
        ("Months", "30", 2.5),
        ("month", "1068+", 89.0),
        ("weeks", "26", 0.4983),
        ("DAY", "10000", 27.3785),
        ("years", "30", 30.0),
        ("Yrs", "30", 30.0),
        (3, "30", 30.0),
        ("decades", "3", None),
        ("years", "034Y", 34.0),
        (None, "018M", 1.5),
        ("months", "034Y", 34.0),
        ("decades", "026W", 0.4983),
    ],
)
def test_ages_are_in_years_whatever_unit_the_table_has(
    tmp_path: Path, units: object, age: str, years: float | None
) -> None:
    (tmp_path / "participants.tsv").write_text(f"participant_id\tage\nsub-01\t{age}\nsub-02\tn/a\n")
    (tmp_path / "participants.json").write_text(json.dumps({"Age": {"Units": units}}))
    assert ages(participant_rows(tmp_path)) == ({"01": years} if years is not None else {})


def test_sessions_are_read_as_participants_are(tmp_path: Path) -> None:
    folder = tmp_path / "sub-01"
    folder.mkdir()
    (folder / "sub-01_sessions.tsv").write_text("Session_ID\tAge\nses-1\t24\n2\t30\nses-3\tn/a\n")
    (folder / "sub-01_sessions.json").write_text('{"Age": {"Units": "months"}}')
    assert ages(session_rows(tmp_path, "01")) == {"1": 2.0, "2": 2.5}
    assert session_rows(tmp_path, "02") == {}


def test_what_is_no_table_has_no_rows(tmp_path: Path) -> None:
    assert table_rows(tmp_path / "gone.tsv") == []
    os.mkfifo(tmp_path / "pipe.tsv")  # opening it would wait for ever
    assert table_rows(tmp_path / "pipe.tsv") == []


@pytest.mark.parametrize("text", ["participant_id,age\nsub-01,34\n", "\nparticipant_id\tage\nsub-01\t34\n"], ids=str)
def test_a_table_without_its_column_is_told_once(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bids_app.inputs.participants._tell_once", cache(participants._tell_once.__wrapped__))
    (tmp_path / "participants.tsv").write_text(text)
    assert set(participant_rows(tmp_path)) == set(participant_rows(tmp_path)) == {""}, "nobody's"
    assert caplog.text.count("no column participant_id") == 1


def test_a_row_that_is_cut_short_is_no_table_without_its_column(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "participants.tsv").write_text("age\tparticipant_id\n5\n6\tsub-01\n")
    assert participant_rows(tmp_path)["01"]["age"] == "6"
    assert not caplog.text
