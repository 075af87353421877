"""The private work folder of a run; those that killed runs of this machine left are removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bids_app.exit_codes import CANNOT_CREATE, USAGE
from bids_app.settings import Settings
from bids_app.workflow.prepare import SetupError

_PREFIX = "bids_app-"
#: Locked while its run lives. It is there only where the kernel has such locks.
_ALIVE = "alive"
#: Nipype's own settings: quiet in every process (nodes tell through the run), no calls home, a short poll.
_NIPYPE = """[logging]
workflow_level = CRITICAL
interface_level = CRITICAL
utils_level = CRITICAL
[execution]
check_version = false
crashfile_format = txt
create_report = false
poll_sleep_duration = 0.05
remove_unnecessary_outputs = false
"""


@contextlib.contextmanager
def private_work_folder(settings: Settings) -> Iterator[Path]:
    """A folder of mode 0700 for this run alone, removed at the end.

    Raises
    ------
    SetupError
        It cannot be made (73), or its path is none that ANTs can read (64). (Where it may lie is `prepare`'s to say.)
    """
    place = settings.work_dir or Path(tempfile.gettempdir())
    if set("[]") & set(str(place.absolute())):
        raise SetupError(
            f"the work folder {place} has a square bracket in its path, which ANTs takes for its own; "
            "give another one with -w",
            USAGE,
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        work = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        (work / "nipype").mkdir()
        (work / "nipype" / "nipype.cfg").write_text(_NIPYPE, encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"the work folder {place} cannot be made: {error.strerror}; give one with -w", CANNOT_CREATE
        ) from error
    alive = os.open(work, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (work / _ALIVE).write_text(_boot(), encoding="ascii")
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(alive)


def _sweep(place: Path) -> None:
    """Remove the work folders of killed runs: ours, of this machine since it started, and locked by nobody."""
    for folder in sorted(place.glob(f"{_PREFIX}*")):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid != os.getuid() or (folder / _ALIVE).read_text(encoding="ascii") != _boot():
                continue
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
