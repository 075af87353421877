"""What the tables of a dataset say about its participants."""

from __future__ import annotations

import csv
import re
from pathlib import Path

_NUMBER = re.compile(r"\d+(\.\d+)?")


def ages(root: Path) -> dict[tuple[str, str | None], float]:
    """Age in years by (subject, None), from the column `age` of participants.tsv; unreadable values are left out."""
    found: dict[tuple[str, str | None], float] = {}
    path = root / "participants.tsv"
    try:
        if not path.is_file():
            return {}
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                match = _NUMBER.match((row.get("age") or "").strip())  # "89+" is 89
                if match:
                    found[(row.get("participant_id") or "").removeprefix("sub-"), None] = float(match.group())
    except (OSError, csv.Error):
        pass
    return found
