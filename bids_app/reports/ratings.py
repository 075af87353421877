"""What a reviewer thinks of the series: the table that the group page writes and that a run reads back.

`qc_ratings.tsv` has a row for each series that was rated: participant_id, session_id, series, rating, note.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bids_app.exit_codes import NO_INPUT, USAGE
from bids_app.inputs.series import printable
from bids_app.outputs.manifest import record_table
from bids_app.outputs.names import session_folder
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
_SUBJECT = re.compile("sub-([A-Za-z0-9+]+)_")
_SESSION = re.compile("_ses-([A-Za-z0-9+]+)_")
_SHOWN = 10

log = logging.getLogger("bids_app")


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


def take_ratings(settings: Settings, *, processed: bool = True) -> None:
    """Read the table of `--qc-ratings`, if there is one, and keep it in the output for this run's and later pages.

    Ratings that it takes the place of are told, and series that the output does not have.

    Parameters
    ----------
    processed
        Whether the output has its series by now; else `tell_unknown_ratings` is to be called when it has.

    Raises
    ------
    RatingsError, OutputError
        It cannot be used, or not be kept.
    """
    if settings.qc_ratings is None:
        return
    ratings, earlier = read_ratings(settings.qc_ratings), kept_ratings(settings.output_dir)
    _warn("these series were rated otherwise, and get the new ratings",
          [series for series in earlier if series in ratings and ratings[series] != earlier[series]])  # fmt: skip
    _warn("these series were rated, are not in the new table and lose their ratings", earlier.keys() - ratings.keys())
    keep_ratings(settings.output_dir, ratings)
    if processed:
        _warn_of_unknown(settings.output_dir, ratings)


def tell_unknown_ratings(settings: Settings) -> None:
    """Warn of ratings whose series the output does not have, after a run of the whole dataset."""
    partial = settings.participant_label or settings.session_label or settings.bids_filter_file
    if settings.qc_ratings is not None and not partial and settings.shard == (1, 1):
        _warn_of_unknown(settings.output_dir, kept_ratings(settings.output_dir))


def _warn_of_unknown(output: Path, ratings: Mapping[str, Rating]) -> None:
    series_in = cache(_series_in)  # a session's table is read once
    unknown = [series for series in ratings if series not in series_in(output, _session_of(series))]
    _warn("the output has no such series", unknown)


def _warn(what: str, series: Iterable[str]) -> None:
    names = sorted(series)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        log.warning("Warning: --qc-ratings: %s: %s%s", what, ", ".join(map(printable, names[:_SHOWN])), more)


def _session_of(series: str) -> tuple[str, str]:
    """The labels of a series' participant and session, without one where its name has none."""
    subject, session = _SUBJECT.match(series), _SESSION.search(series)
    return subject[1] if subject else "", session[1] if session else ""


def _series_in(output: Path, session: tuple[str, str]) -> frozenset[str]:
    """The series of a session's table; none where there is no table."""
    folder = session_folder(session[0], session[1] or None)
    try:
        text = (output / folder / f"{'_'.join(folder.parts)}_series.tsv").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    return frozenset(row["series"] for row in rows)


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
