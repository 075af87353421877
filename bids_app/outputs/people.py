"""The tables of participants and sessions: a few columns of the dataset's own, by an allow-list, made anonymous.

`participants.tsv` has `age` and `sex`, which analyses of a group need; `sub-<label>_sessions.tsv` has `age` and, where
there is a key, `acq_time`, shifted. Whatever else the dataset's tables say stays there. A participant is in the table
when there are outputs of it, so that jobs of one array that run at the same time end with the same tables.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from bids_app.inputs.participants import participant_rows, session_rows, table_rows
from bids_app.outputs.anonymise import AGE_CAP, capped_age, date_shift, shifted
from bids_app.outputs.leftovers import sweep_root
from bids_app.outputs.manifest import read_manifest, record_table
from bids_app.outputs.names import FOLDERS
from bids_app.outputs.scans_table import scans_dictionary
from bids_app.outputs.writer import json_bytes, write_if_changed

_AGE = {
    "Description": f"Age in whole years (below two years with one decimal); {AGE_CAP}+ from {AGE_CAP} on.",
    "Units": "year",
}
_SEX = {"Description": "Sex as the dataset has it.", "Levels": {"F": "female", "M": "male", "O": "other"}}
_ACQ_TIME = {
    "Description": "When the session was acquired, moved into the past by a secret time that is the same for all "
    "sessions of a participant: order and intervals are true."
}
_SEXES = {"f": "F", "female": "F", "m": "M", "male": "M", "o": "O", "other": "O"}
_MISSING = "n/a"


def write_people(source: Path, output: Path, subjects: Iterable[str], key: bytes | None) -> None:
    """Write the tables of all participants, and of the sessions of some, and the data dictionaries of all tables.

    Parameters
    ----------
    source, output
        The dataset and its derivatives.
    subjects
        Labels of the participants of this run. The root's lock is held.
    key
        The secret for shifting dates; without it no date is written.

    Raises
    ------
    OutputError
        A table cannot be written.
    """
    _participants(source, output)
    for label in sorted(subjects):
        _sessions(source, output, label, key)
    _dictionary(output, "sessions.json", _columns_of_sessions(output))
    scans = any(next(output.glob(place), None) for place in ("sub-*/sub-*_scans.tsv", "sub-*/ses-*/sub-*_scans.tsv"))
    _dictionary(output, "scans.json", scans_dictionary() if scans else {})


def _dictionary(output: Path, name: str, content: Mapping[str, Any]) -> None:
    """Write a data dictionary, or none where there is no table for it, which BIDS does not allow."""
    if content:
        _table(output, name, json_bytes(content))
    else:
        _remove(output, name)


def _columns_of_sessions(output: Path) -> dict[str, Any]:
    """The columns of the sessions' tables of all participants, those of earlier runs too."""
    known, found = {"age": _AGE, "acq_time": _ACQ_TIME}, set()
    for path in sorted(output.glob("sub-*/sub-*_sessions.tsv")):
        with path.open(encoding="utf-8") as stream:
            found |= set(stream.readline().rstrip("\n").split("\t")) & set(known)
        if len(found) == len(known):
            break
    return {name: known[name] for name in known if name in found}


def _participants(source: Path, output: Path) -> None:
    raw = participant_rows(source)
    rows = []
    for folder in sorted(output.glob("sub-*")):
        if folder.is_dir():
            entry = raw.get(folder.name.removeprefix("sub-"), {})
            age = capped_age(entry.get("age", "")) or _MISSING
            sex = _SEXES.get(entry.get("sex", "").strip().lower(), _MISSING)
            rows.append({"participant_id": folder.name, "age": age, "sex": sex})
    columns = _filled(rows, ("age", "sex"))
    if columns:
        _table(output, "participants.tsv", _tsv(("participant_id", *columns), rows))
        dictionary = {"age": _AGE, "sex": _SEX}
        _table(output, "participants.json", json_bytes({name: dictionary[name] for name in columns}))
    else:
        _remove(output, "participants.tsv")
        _remove(output, "participants.json")


def _sessions(source: Path, output: Path, subject: str, key: bytes | None) -> None:
    """Write the table of a participant's sessions, when there is something to say."""
    folder = source / f"sub-{subject}"
    name = f"sub-{subject}/sub-{subject}_sessions.tsv"
    sweep_root(output, (name,))
    # else it is the manifest of a session, too, and of its lock
    if not any((output / f"sub-{subject}" / name).is_dir() for name in FOLDERS):
        sweep_root(output, (f"logs/sub-{subject}/manifest.json",))
    raw = session_rows(source, subject)
    rows = []
    for session in sorted(path.name for path in (output / f"sub-{subject}").glob("ses-*") if path.is_dir()):
        entry = raw.get(session.removeprefix("ses-"), {})
        age = capped_age(entry.get("age", "")) or _MISSING
        row = {"session_id": session, "age": age, "acq_time": _MISSING}
        if key:
            shift = date_shift(key, subject)
            times = _acquisition_times(folder / session, f"sub-{subject}_{session}", entry)
            moved = [moment for time in times if (moment := shifted(time, shift))]
            row["acq_time"] = min(moved, default=_MISSING)
        rows.append(row)
    columns = _filled(rows, ("age", "acq_time"))
    if columns:
        _table(output, name, _tsv(("session_id", *columns), rows), f"logs/sub-{subject}")
    else:
        _remove(output, name, f"logs/sub-{subject}")


def visit_times(source: Path, subject: str, session: str | None) -> list[str]:
    """When a session was acquired, by the dataset's tables: true dates, to be shifted before they are written."""
    if session is None:
        return _acquisition_times(source / f"sub-{subject}", f"sub-{subject}", {})
    folder = source / f"sub-{subject}"
    entry = session_rows(source, subject).get(session, {})
    return _acquisition_times(folder / f"ses-{session}", f"sub-{subject}_ses-{session}", entry)


def _acquisition_times(folder: Path, stem: str, entry: Mapping[str, str]) -> list[str]:
    """The time in a session's row where it is one, else those of its scans."""
    time = entry.get("acq_time", "")
    if shifted(time, timedelta()) is not None:
        return [time]
    return [row.get("acq_time", "") for row in table_rows(folder / f"{stem}_scans.tsv")]


def _filled(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> list[str]:
    """The columns in which a row has a value."""
    return [column for column in columns if any(row[column] != _MISSING for row in rows)]


def _tsv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, delimiter="\t", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def _table(output: Path, name: str, content: bytes, logs: str = "logs") -> None:
    write_if_changed(output / name, content)
    record_table(output / logs / "manifest.json", name, content)


def _remove(output: Path, name: str, logs: str = "logs") -> None:
    """Remove what an earlier run wrote and the dataset has nothing for any more; at the root a user may have tables."""
    manifest = output / logs / "manifest.json"
    if "/" in name or name in read_manifest(manifest).tables:
        (output / name).unlink(missing_ok=True)
    record_table(manifest, name, None)  # also of one that was removed and not yet recorded
