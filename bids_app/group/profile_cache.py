"""Rows of raw datasets, kept: a participant whose files are as they were is not walked again.

One line a participant with a stamp of its folders. A file's time can tell when a patient was scanned, so the stamp has
only 24 bits: enough to see a change, too few to find the times by trying (each of them fits to one moment in 2^24).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bids_app import __version__
from bids_app.group.columns import Row, raw_rows
from bids_app.inputs.dataset import Selection, list_subjects, open_dataset, tell_odd_names
from bids_app.inputs.errors import InputError
from bids_app.inputs.series import printable
from bids_app.inputs.walker import DATATYPES, Walker, entries_of
from bids_app.outputs.writer import write_pieces

VERSION = "1"
_STAMP_DIGITS = 6


def cached_rows(root: Path, selection: Selection, cache: Path) -> Iterator[list[Row]]:
    """The rows of one participant after another, sorted; the cache is brought up to date when all were taken.

    Raises
    ------
    InputError
        The folder is no dataset, or a label is not in it.
    OutputError
        The cache cannot be written.
    """
    dataset = open_dataset(root)
    tell_odd_names(dataset)
    subjects = list_subjects(dataset, selection)
    walker = Walker(root, selection)
    of_root = _root_stamp(root, selection)
    known = _read(cache, of_root)
    lines: list[bytes] = [json.dumps({"root": of_root}).encode() + b"\n"]
    changed = len(known) != len(subjects)
    for subject in subjects:
        stamp = _stamp(root / f"sub-{subject}", of_root)
        line = known.get(subject)
        entry = json.loads(line) if line is not None else {}
        if entry.get("stamp") != stamp:
            changed = True
            rows = _walked(walker, subject)
            entry = {"subject": subject, "stamp": stamp, "rows": rows}
            line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        assert line is not None
        lines.append(line)
        yield entry["rows"]
    if changed:
        write_pieces(cache, lines)


def _walked(walker: Walker, subject: str) -> list[Row]:
    rows = []
    for session in walker.walk((subject,)):
        label = f"ses-{session.session}" if session.session is not None else None
        series = sorted((*session.series, *session.rejected), key=lambda one: one.relative)
        found = raw_rows(f"sub-{session.subject}", label, series)
        rows += [{key: value for key, value in row.items() if value is not None} for row in found]
    return rows


def _read(cache: Path, of_root: str) -> dict[str, bytes]:
    """The lines of an earlier run, by participant; none where what all inherit has changed since."""
    try:
        with cache.open("rb") as stream:
            if json.loads(next(stream)).get("root") != of_root:
                return {}
            return {_subject_of(line): line for line in stream if line.endswith(b"\n")}
    except (OSError, ValueError, StopIteration, AttributeError, KeyError):
        return {}


def _subject_of(line: bytes) -> str:
    """The participant of a line, without parsing what it holds: its first member is `subject`."""
    text, _ = json.JSONDecoder().raw_decode(line[: line.index(b',"stamp"')].decode().removeprefix('{"subject":'))
    return str(text)


def _root_stamp(root: Path, selection: Selection) -> str:
    """Hash of what every participant depends on: our version, the rules, the folder, what the root's sidecars say.

    The folder, since another one can have files of the same names, sizes and times, such as a copy that was changed.
    """
    digest = hashlib.sha256(f"{__version__} {VERSION} {selection.acceptance}".encode())
    digest.update(hashlib.sha256(os.fsencode(root.resolve())).digest())
    names = sorted(entry.name for entry in entries_of(root) if entry.name.endswith(".json"))
    for name in (".bidsignore", *(("participants.tsv",) if selection.acceptance == "mr-rate" else ()), *names):
        digest.update(name.encode(errors="surrogateescape"))
        try:
            digest.update((root / name).read_bytes())
        except OSError:
            digest.update(b"?")
    return digest.hexdigest()[:16]


def _stamp(folder: Path, of_root: str) -> str:
    """Hash of names, sizes and times of everything in a participant's folders that can hold a series."""
    digest = hashlib.sha256(of_root.encode())
    for place in _places(folder):
        digest.update(printable(str(place.relative_to(folder))).encode())
        try:
            entries: Sequence[os.DirEntry[str]] = sorted(entries_of(place), key=lambda entry: entry.name)
        except InputError:
            digest.update(b"unreadable")
            continue
        for entry in entries:
            digest.update(f"{printable(entry.name)} {_status(entry)}\n".encode())
    return digest.hexdigest()[:_STAMP_DIGITS]


def _places(folder: Path) -> Iterator[Path]:
    try:
        sessions = sorted(entry.name for entry in entries_of(folder) if entry.name.startswith("ses-"))
    except InputError:
        sessions = []
    for place in (folder, *(folder / name for name in sessions)):
        yield place
        yield from (place / datatype for datatype in DATATYPES)


def _status(entry: os.DirEntry[str]) -> str:
    """Size and time of a file; the time of a folder, which changes with the names in it."""
    try:
        found = entry.stat()
        if entry.is_dir():
            return f"folder {found.st_mtime_ns}"
    except OSError:
        return "not here"
    return f"{found.st_size} {found.st_mtime_ns}"
