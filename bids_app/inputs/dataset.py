"""A BIDS dataset, its subjects by the file system alone, and a lazy walk over its sessions.

The walk reads folders itself: that takes a small part of the time and memory of an index of the dataset, honours
`.bidsignore`, and sees what an index hides (misnamed files). pybids answers the filter queries where its database is
given (`database`).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_app.exit_codes import IO_ERROR, NO_INPUT, NOTHING_MATCHES, USAGE
from bids_app.inputs.errors import InputError
from bids_app.inputs.metadata import read_json_object
from bids_app.inputs.places import is_folder
from bids_app.inputs.selection import Selection
from bids_app.inputs.series import LABEL, Session, printable
from bids_app.inputs.walker import Ignore, Walker, entries_of, is_place

log = logging.getLogger("bids_app")

#: Folders that look like a participant's and are not named like one.
_LIKE_A_SUBJECT = re.compile(r"(?!sub-)(?i:sub(?:j|ject)?[-_ ]?\w*\d)")


@dataclass(frozen=True)
class Dataset:
    """The root of a BIDS dataset and its `dataset_description.json`."""

    root: Path
    name: str
    description: Mapping[str, Any]


def open_dataset(root: Path) -> Dataset:
    """Open a BIDS dataset.

    Raises
    ------
    InputError
        No such folder (66), no permission (74), or no BIDS dataset in it (16); the message says what to do.
    """
    try:
        if not root.exists():
            raise InputError(f"{root}: no such folder; the first argument is the BIDS dataset", NO_INPUT)
        if not root.is_dir():
            raise InputError(f"{root} is not a folder; the first argument is the BIDS dataset", NO_INPUT)
        names = {entry.name for entry in os.scandir(root)}
    except PermissionError:
        raise InputError(f"{root}: permission denied; let the user of this process read it", IO_ERROR) from None
    if any(one != printable(one) for one in (str(root.absolute()), str(root.resolve()))):
        raise InputError(f"{printable(str(root))}: its path holds bytes that are no text; rename the folder")
    if not any(name.startswith("sub-") and is_folder(root / name) for name in names):
        raise InputError(
            f"{root} has no sub- folder: it is not the root of a BIDS dataset, or holds no participant; "
            "give the folder that dataset_description.json lies in"
        )
    if "dataset_description.json" not in names:
        raise InputError(
            f"{root} has no dataset_description.json: not a BIDS dataset; add one with at least "
            '{"Name": "...", "BIDSVersion": "1.10.0"}'
        )
    description, problem = read_json_object(root / "dataset_description.json")
    if problem and not description:
        raise InputError(f"{root / 'dataset_description.json'}: {problem}; it needs at least Name and BIDSVersion")
    name = description.get("Name")
    name = printable(name).strip() if isinstance(name, str) else ""
    return Dataset(root, name or root.resolve().name, description)


def list_subjects(dataset: Dataset, selection: Selection) -> list[str]:
    """The labels of the selected subjects (without `sub-`), sorted, by the names of the folders alone.

    A label that BIDS does not allow is left out: what is made of it would be no BIDS either.

    Raises
    ------
    InputError
        A label that the dataset does not have (18), or an impossible shard (64).
    """
    found = sorted(name.removeprefix("sub-") for name in _places(dataset) if name.startswith("sub-"))
    if selection.participants:
        labels = {label.removeprefix("sub-") for label in selection.participants}
        unknown = sorted(labels - set(found))
        if unknown:
            raise InputError(
                f"no such participant in {dataset.root}: {', '.join(unknown)}; {_some(found)}", NOTHING_MATCHES
            )
        found = [label for label in found if label in labels]
    index, count = selection.shard
    if not 1 <= index <= count:
        raise InputError(f"--shard {index}/{count}: the first number runs from 1 to the second", USAGE)
    return [label for label in found if LABEL.fullmatch(label) and shard_of(label, count) == index]


def tell_odd_names(dataset: Dataset) -> None:
    """Log which folders look like a participant's and are not looked at, for their names."""
    for name in _places(dataset):
        if _LIKE_A_SUBJECT.match(name):
            log.warning("Warning: %s is not looked at; if it is a participant, name it sub-LABEL", printable(name))
        elif name.startswith("sub-") and not LABEL.fullmatch(name.removeprefix("sub-")):
            log.warning("Warning: %s is not looked at: a label is of letters and digits; rename it", printable(name))


def _places(dataset: Dataset) -> list[str]:
    """The names of the root's folders that `.bidsignore` does not name."""
    ignored = Ignore.of(dataset.root)
    return sorted(entry.name for entry in entries_of(dataset.root) if not ignored(entry.name + "/") and is_place(entry))


def shard_of(subject: str, count: int) -> int:
    """The shard (1 to `count`) of a subject, by its label alone: it stays when other subjects come or go."""
    return int.from_bytes(hashlib.sha256(os.fsencode(subject)).digest()[:8]) % count + 1


def walk(dataset: Dataset, selection: Selection | None = None) -> Iterator[Session]:
    """The sessions of the selected subjects, one after another; nothing of a past one is kept.

    A session without any structural series, accepted or rejected, is left out.

    Raises
    ------
    InputError
        As `list_subjects`; at the end, when there was no session at all (18; not for one shard of several).
    """
    selection = selection or Selection()
    walker = Walker(dataset.root, selection)
    found = False
    told: set[str] = set()
    for session in walker.walk(list_subjects(dataset, selection)):
        found = True
        _tell(session, told)
        yield session
    if not found and selection.shard[1] == 1:
        of_sessions = f" in session(s) {', '.join(selection.sessions)}" if selection.sessions else ""
        raise InputError(f"no structural image in {dataset.root}{of_sessions}: nothing to do", NOTHING_MATCHES)


def _tell(session: Session, told: set[str]) -> None:
    """Log what is odd about the accepted series; a sidecar that many inherit from is told once."""
    for series in session.series:
        for warning in series.warnings:
            of_sidecar = ".json: " in warning
            if of_sidecar and warning in told:
                continue
            told |= {warning} if of_sidecar else set()
            log.warning("Warning: %s", warning if of_sidecar else f"{series.relative}: {warning}")


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(printable(label) for label in labels[:10])
    return f"it has {shown}" + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")
