"""A pool of worker processes in which a worker that dies costs its own job alone.

Each worker has a pipe of its own: nothing is shared between workers that a killed one could leave locked. Python's
own pools end as a whole when one of their processes is killed, which on a cluster is what running out of memory does.

No process outlives the one that started it: the kernel ends a child when its parent is gone, and each worker leads a
process group that is ended with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from bids_app.stop import stop_waits

#: Seconds that workers have to end by themselves when they are told to; what is left is killed.
_PATIENCE_S = 1.5

#: Runs one job in a worker: (job, report) -> result; `report` sends anything to the parent in between.
Work = Callable[[Any, Callable[[Any], None]], Any]


@dataclass(frozen=True)
class Reported:
    """Something that a job told while it ran."""

    job: Any
    message: Any


@dataclass(frozen=True)
class Finished:
    """The result of a job, or the error that it raised."""

    job: Any
    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Died:
    """A job whose worker ended under it."""

    job: Any
    exit_code: int | None


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: Any = None


class Pool:
    """Workers that take jobs one after another.

    Parameters
    ----------
    size
        How many workers.
    prepare
        Called once in each worker before anything else (environment, threads); must be importable.
    work
        Called in a worker for each job; must be importable.
    """

    def __init__(self, size: int, prepare: Callable[[], Any], work: Work) -> None:
        self._context = multiprocessing.get_context("spawn")  # forking a process that has threads is not safe
        self._prepare = prepare
        self._work = work
        self._size = size
        self._workers: list[_Worker] = []

    def run(self, jobs: Iterator[Any]) -> Generator[Reported | Finished | Died, None, None]:
        """Do all jobs and yield what happens, as it happens. A job is taken from the iterator when a worker is free."""
        try:
            exhausted = False
            while True:
                while not exhausted and len(self._busy()) < self._size:
                    job = next(jobs, None)
                    if job is None:
                        exhausted = True
                    else:
                        self._give(job)
                if not self._busy():
                    return
                yield from self._events()
        finally:
            self.close()

    def close(self) -> None:
        """End all workers at once: idle ones by themselves, busy ones by a signal."""
        for worker in self._workers:
            if worker.job is not None:
                _signal(worker, signal.SIGTERM)
            worker.pipe.close()
        end = time.monotonic() + _PATIENCE_S
        while self._workers:
            self._end(self._workers[-1], patience=max(0.0, end - time.monotonic()))

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    def _give(self, job: Any) -> None:
        while idle := [worker for worker in self._workers if worker.job is None]:
            try:
                idle[0].pipe.send(job)
            except OSError:  # it was killed while it had nothing to do
                self._end(idle[0], patience=0)
                continue
            idle[0].job = job
            return
        worker = self._start()
        worker.job = job
        with contextlib.suppress(OSError):  # ended already: `_events` tells of it
            worker.pipe.send(job)

    def _start(self) -> _Worker:
        resource_tracker.ensure_running()  # by the first start otherwise, which would let signals through again
        with stop_waits():  # between its start and its place in the list, a worker would be nobody's
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(theirs, self._prepare, self._work), daemon=False)
            process.start()
            theirs.close()
            worker = _Worker(process, ours)
            self._workers.append(worker)
        return worker

    def _end(self, worker: _Worker, patience: float) -> int | None:
        """Wait some seconds for a worker to end, kill what is left of it and of what it started; its exit code."""
        wait([worker.process.sentinel], patience)  # not `join`: its number is not free for others until it is joined
        _signal(worker, signal.SIGKILL)
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        return worker.process.exitcode

    def _events(self) -> Iterator[Reported | Finished | Died]:
        by_pipe = {worker.pipe: worker for worker in self._busy()}
        for ready in wait(list(by_pipe)):
            worker = by_pipe[ready]  # type: ignore[index]
            job = worker.job
            try:
                kind, content = worker.pipe.recv()
            except (EOFError, OSError):
                yield Died(job, self._end(worker, patience=5))
                continue
            if kind == "report":
                yield Reported(job, content)
            else:
                worker.job = None
                yield Finished(job, content) if kind == "result" else Finished(job, error=content)


def _signal(worker: _Worker, number: int) -> None:
    """Signal a worker and the processes that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        try:
            os.killpg(worker.process.pid, number)
        except ProcessLookupError:  # it is gone, or did not come so far as to lead a group
            if worker.process.exitcode is None:
                os.kill(worker.process.pid, number)


def _serve(pipe: Connection, prepare: Callable[[], Any], work: Work) -> None:
    """A worker's life."""
    os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which ends its workers and what they started
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))  # held back while it was started
    die_with_parent()
    name_process("bids_app worker")
    prepare()
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(("result", work(job, lambda message: pipe.send(("report", message)))))
        except (BrokenPipeError, ConnectionError):
            return
        except Exception as error:
            import traceback

            error.add_note(traceback.format_exc())
            try:
                pickle.loads(pickle.dumps(error))
                pipe.send(("error", error))
            except Exception:  # an error that cannot be pickled, or not be read again
                pipe.send(("error", RuntimeError(f"{type(error).__name__}: {error}")))


def name_process(name: str) -> None:
    """Name this process for `top` and `ps`, by at most 15 characters (Linux: PR_SET_NAME)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(15, name.encode())


def die_with_parent() -> None:
    """Let the kernel end this process when its parent is gone, killed for instance (Linux: PR_SET_PDEATHSIG).

    To the kernel, the parent is the thread that started this process, and children do not inherit the setting.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # gone before the kernel was asked
        os._exit(1)
