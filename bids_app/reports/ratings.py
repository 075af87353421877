"""What a reviewer thinks of the series: the table that the group page writes and that a run reads back.

`qc_ratings.tsv` has a row for each series that was rated: participant_id, session_id, series, rating, note.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_app.exit_codes import NO_INPUT, USAGE
from bids_app.outputs.manifest import record_table
from bids_app.outputs.writer import json_bytes, write_if_changed
from bids_app.settings import Settings

FILE = "qc_ratings.tsv"
LEVELS: Mapping[str, str] = {
    "pass": "good enough for analysis",
    "doubtful": "to be looked at again",
    "fail": "not to be used",
}
COLUMNS = ("participant_id", "session_id", "series", "rating", "note")
DICTIONARY = {
    "participant_id": {"Description": "Participant."},
    "session_id": {"Description": "Session; n/a in datasets without sessions."},
    "series": {"Description": "Name of the raw image, without its extension."},
    "rating": {"Description": "A reviewer's judgement of the series.", "Levels": dict(LEVELS)},
    "note": {"Description": "Why, in the reviewer's words."},
}
_LONGEST_NOTE = 500


class RatingsError(Exception):
    """A table of ratings that cannot be used; `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Rating:
    """A reviewer's judgement of a series."""

    rating: str
    note: str = ""


def read_ratings(path: Path) -> dict[str, Rating]:
    """The ratings of a table, by the name of the series.

    Raises
    ------
    RatingsError
        The file is not there (66), lacks a column, has an unknown rating or a series twice (64); the message names the
        line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RatingsError(f"--qc-ratings {path}: {error.strerror}", NO_INPUT) from error
    except UnicodeDecodeError as error:
        raise RatingsError(f"--qc-ratings {path}: it is not a text file", USAGE) from error
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    missing = [name for name in ("series", "rating") if name not in (rows.fieldnames or ())]
    if missing:
        raise RatingsError(
            f"--qc-ratings {path}: there is no column {' and no column '.join(missing)}; "
            "the group page (group.html) downloads a table that fits",
            USAGE,
        )
    result: dict[str, Rating] = {}
    for number, row in enumerate(rows, start=2):
        series, rating = (row["series"] or "").strip(), (row["rating"] or "").strip()
        note = " ".join((row.get("note") or "").split())[:_LONGEST_NOTE]
        if rating in ("", "n/a") and note in ("", "n/a"):
            continue
        if rating not in LEVELS:
            raise RatingsError(f"--qc-ratings {path}, line {number}: the rating is none of {', '.join(LEVELS)}", USAGE)
        if series in result:
            raise RatingsError(f"--qc-ratings {path}, line {number}: this series is rated twice", USAGE)
        result[series] = Rating(rating, "" if note == "n/a" else note)
    return result


def take_ratings(settings: Settings) -> None:
    """Read the table of `--qc-ratings`, if there is one, and keep it in the output for this run's and later pages.

    Raises
    ------
    RatingsError, OutputError
        It cannot be used, or not be kept.
    """
    if settings.qc_ratings is not None:
        keep_ratings(settings.output_dir, read_ratings(settings.qc_ratings))


def keep_ratings(output: Path, ratings: Mapping[str, Rating]) -> None:
    """Write the ratings into the output, where later runs find them without being told.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    rows = ("\t".join(COLUMNS), *(_row(series, rating) for series, rating in sorted(ratings.items())))
    for name, content in ((FILE, "\n".join((*rows, "")).encode()), ("qc_ratings.json", json_bytes(DICTIONARY))):
        write_if_changed(output / name, content)
        record_table(output / "logs" / "manifest.json", name, content)


def kept_ratings(output: Path) -> dict[str, Rating]:
    """The ratings that an earlier run was given; none where there are none, or none that can be read."""
    try:
        return read_ratings(output / FILE)
    except RatingsError:
        return {}


def _row(series: str, rating: Rating) -> str:
    entities = dict(part.partition("-")[::2] for part in series.split("_") if "-" in part)
    session = f"ses-{entities['ses']}" if "ses" in entities else "n/a"
    return "\t".join((f"sub-{entities.get('sub', 'n/a')}", session, series, rating.rating, rating.note or "n/a"))
