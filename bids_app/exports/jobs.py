"""Working through the jobs of an export: in processes side by side, a few at a time, each failing alone."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

from bids_app.exit_codes import TRY_AGAIN
from bids_app.exports.journal import Record
from bids_app.outputs.anonymise import safe_text

log = logging.getLogger("bids_app")

#: Jobs that are waiting for each process: enough that none is idle, few enough that memory does not grow.
_AHEAD = 2
#: After so many killed processes, it is not by chance.
_MOST_KILLED = 10
_KILLED = "a process was killed, perhaps for its memory: run it again, with a smaller --nprocs"


class WorkersDieError(Exception):
    """No process lives long; `code` is the exit code."""

    code = TRY_AGAIN


class Job(Protocol):
    """What makes the files of one unit."""

    @property
    def unit(self) -> str:
        """The name of the unit."""

    @property
    def key(self) -> str:
        """A hash over everything that its files depend on."""

    @property
    def places(self) -> tuple[str, ...]:
        """The files that it writes, or the folders that hold them and nothing of another unit."""

    def make(self, root: Path) -> Record:
        """Write the files."""


def work(jobs: Iterable[Job], root: Path, nprocs: int, done: Callable[[str, Record | None, str], None]) -> None:
    """Do the jobs and tell of each: its unit, and its record or what went wrong in words.

    With one process everything is done in this one. A process that is killed costs the jobs that were being done.
    """
    if nprocs == 1:
        for job in jobs:
            done(job.unit, *_made(job, root))
        return
    waiting = iter(jobs)
    for _ in range(_MOST_KILLED):
        if not _some(waiting, root, nprocs, done):
            return
        log.warning("a process of the export was killed, perhaps for its memory; going on with the others")
    raise WorkersDieError("processes of the export are killed again and again; try --nprocs 1, which goes on from here")


def _some(jobs: Iterator[Job], root: Path, nprocs: int, done: Callable[[str, Record | None, str], None]) -> bool:
    """Do jobs until there is none, or until a process is killed; whether one was."""
    pending: dict[Future[tuple[Record | None, str]], str] = {}
    killed = False
    pool = ProcessPoolExecutor(nprocs, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        while True:
            while not killed and len(pending) < _AHEAD * nprocs and (job := next(jobs, None)) is not None:
                try:
                    pending[pool.submit(_made, job, root)] = job.unit
                except BrokenProcessPool:
                    killed = True
                    done(job.unit, None, _KILLED)
            if not pending:
                return killed
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                unit = pending.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    killed = True
                    done(unit, None, _KILLED)
                else:
                    done(unit, *future.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _made(job: Job, root: Path) -> tuple[Record | None, str]:
    try:
        return job.make(root), ""
    except Exception as error:  # one study fails alone, whatever is wrong with it
        log.debug("%s", job.unit, exc_info=True)
        return None, safe_text(str(error) or type(error).__name__)


def _begin() -> None:
    """A process of the pool: it ends with its parent, and leaves Ctrl-C, which reaches every process, to that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # Linux: PR_SET_PDEATHSIG
