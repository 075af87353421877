"""What killed runs left half-written, and removing it where no live run is at work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from bids_app.outputs.lock import Locks
from bids_app.outputs.names import FOLDERS
from bids_app.outputs.writer import PARTIAL, remove_partial_files

#: The lock on the files at the root of the output, which all runs share.
ROOT = "root"


def session_folders(label: str) -> tuple[Path, Path]:
    """Where a session's files are and where its logs are, below the output, by its label (`sub-01_ses-1`)."""
    subject, _, session = label.partition("_ses-")
    folder = Path(subject, f"ses-{session}") if session else Path(subject)
    return folder, Path("logs") / folder


def remove_leftovers(output: Path, label: str) -> None:
    """Remove what is half-written of a session whose lock is held by us and in which nobody works any more."""
    data, logs = session_folders(label)
    with contextlib.suppress(OSError):  # an output that is read-only by now: the run says so elsewhere
        for folder in (
            output / data,
            *(output / data / name for name in FOLDERS),
            output / logs,
            output / logs / "individual",
        ):
            remove_partial_files(folder)


def sweep(output: Path, locks: Locks) -> None:
    """Remove what is half-written of every session whose run was killed: its lock is there, and nobody's.

    Sessions without a lock file have nothing half-written: it costs nothing to sweep an output of any size.
    """
    for label in locks.left():
        with contextlib.suppress(OSError):
            if label != ROOT and locks.take(label) is None:
                remove_leftovers(output, label)
                locks.release(label)


def sweep_root(output: Path, names: Iterable[str]) -> None:
    """Remove what is half-written of files at the root, by their names; the root's lock must be held."""
    for name in names:
        path = output / name
        with contextlib.suppress(OSError):
            for partial in path.parent.glob(f"{PARTIAL}*-{path.name}"):
                partial.unlink(missing_ok=True)
