"""What the tables of a dataset say about its participants."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from bids_app.inputs.metadata import read_json_object
from bids_app.inputs.places import is_file

log = logging.getLogger("bids_app")

_NUMBER = re.compile(r"\d+(\.\d+)?")
#: An age as DICOM has it (PS3.5, value representation AS), which says its own unit.
_DICOM_AGE = re.compile(r"(\d{3})([DWMY])")
_DICOM_UNITS = {"D": "day", "W": "week", "M": "month", "Y": "year"}
#: How many of a unit make a year; a plural has an s.
_IN_A_YEAR = {"year": 1.0, "yr": 1.0, "y": 1.0, "month": 12.0, "week": 365.25 / 7, "day": 365.25}


def table_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table of a dataset by the names of its columns; none where there is no table.

    BIDS knows no quoting: a cell ends at the next tab, and a quotation mark in one row is no matter of the next ones.
    Marks around a whole cell, as spreadsheets write them, are taken off.
    """
    if not is_file(path):  # opening a pipe would wait for ever
        return []
    try:
        raw = path.read_bytes()
    except OSError:
        return []
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = re.split(r"\r\n|\r|\n", raw.decode(encoding, errors="replace"))
    columns = _cells(lines[0])
    return [dict(zip(columns, _cells(line), strict=False)) for line in lines[1:] if line.strip()]


def _cells(line: str) -> list[str]:
    cells = (cell.strip() for cell in line.split("\t"))
    return [cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in cells]


def participant_rows(root: Path) -> dict[str, dict[str, str]]:
    """The rows of participants.tsv by the label, which the table may have with or without `sub-`; the first counts.

    The names of the columns are in small letters: `Age` is the age, in years whatever unit the table has.
    """
    units, rows = age_units(root / "participants.json"), table_rows(root / "participants.tsv")
    if rows and "participant_id" not in {name.lower() for row in rows for name in row}:  # rows can be cut short
        _tell_once(
            "participants.tsv says nothing of anybody: it has no column participant_id; a table begins with the names "
            "of its columns, separated by tabs"
        )
    return _by_label(rows, "participant_id", "sub-", units)


def session_rows(root: Path, subject: str) -> dict[str, dict[str, str]]:
    """The rows of a participant's sessions.tsv by the label, in the same way."""
    table = root / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
    return _by_label(
        table_rows(table), "session_id", "ses-", age_units(root / "sessions.json", table.with_suffix(".json"))
    )


def _by_label(rows: Iterable[Mapping[str, str]], column: str, prefix: str, units: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for written in rows:
        row = {name.lower(): text for name, text in written.items()}
        row["age"] = age_in_years(row.get("age", ""), units)
        found.setdefault(row.get(column, "").removeprefix(prefix), row)
    return found


def age_units(*dictionaries: Path) -> str:
    """The unit of the column `age` by the data dictionaries of a table, the last one that has one; else years."""
    units = "year"
    for path in dictionaries:
        for column, entry in read_json_object(path)[0].items() if is_file(path) else ():
            said = entry.get("Units") if column.lower() == "age" and isinstance(entry, dict) else None
            units = said if isinstance(said, str) and said.strip() else units
    return units


def age_in_years(text: str, units: str) -> str:
    """An age as a table has it ("30", "89+", DICOM's "018M") in years; empty where the unit is unknown."""
    if dicom := _DICOM_AGE.fullmatch(text):
        text, units = str(int(dicom[1])), _DICOM_UNITS[dicom[2]]
    count = _in_a_year(units)
    number = _NUMBER.match(text)
    if count == 1 or number is None:
        return text
    return "" if count is None else f"{float(number.group()) / count:.4f}{text[number.end() :]}"


@cache
def _in_a_year(units: str) -> float | None:
    """How many of a unit make a year; one that is not known is told once."""
    name = units.strip().lower()
    count = _IN_A_YEAR.get(name, _IN_A_YEAR.get(name.removesuffix("s")))
    if count is None:
        log.warning("Warning: ages are left out: their unit is %r; years, months, weeks and days are known", units)
    return count


@cache
def _tell_once(message: str) -> None:
    log.warning("Warning: %s", message)


def ages(rows: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    """Age in years by the label of the participants or sessions of these rows; unreadable values are left out."""
    numbers = {label: _NUMBER.match(row.get("age", "")) for label, row in rows.items()}
    return {label: float(number.group()) for label, number in numbers.items() if number}  # "89+" is 89
