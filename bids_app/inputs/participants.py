"""What the tables of a dataset say about its participants."""

from __future__ import annotations

import re
from pathlib import Path

from bids_app.inputs.places import is_file

_NUMBER = re.compile(r"\d+(\.\d+)?")


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

    The names of the columns are in small letters: `Age` is the age.
    """
    found: dict[str, dict[str, str]] = {}
    for written in table_rows(root / "participants.tsv"):
        row = {name.lower(): text for name, text in written.items()}
        found.setdefault(row.get("participant_id", "").removeprefix("sub-"), row)
    return found


def ages(root: Path) -> dict[tuple[str, str | None], float]:
    """Age in years by (subject, None), from the column `age` of participants.tsv; unreadable values are left out."""
    numbers = {label: _NUMBER.match(row.get("age", "")) for label, row in participant_rows(root).items()}
    return {(label, None): float(number.group()) for label, number in numbers.items() if number}  # "89+" is 89
