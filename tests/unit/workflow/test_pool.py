"""The pool: results, errors, reports, and a worker that is killed costs its own job alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bids_app.workflow.pool import Died, Finished, Pool, Reported


def _prepare() -> None:
    os.environ["PREPARED"] = "yes"


def _work(job: int, report: Callable[[Any], None]) -> tuple[int, str]:
    report(f"began {job}")
    if job == 3:
        raise ValueError("three")
    if job == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job, os.environ["PREPARED"]


def test_every_job_is_accounted_for() -> None:
    events = list(Pool(2, _prepare, _work).run(iter(range(1, 9))))
    results = {event.job: event.result for event in events if isinstance(event, Finished) and event.error is None}
    assert results == {job: (job * job, "yes") for job in (1, 2, 4, 6, 7, 8)}
    assert [str(event.error) for event in events if isinstance(event, Finished) and event.error] == ["three"]
    assert [(event.job, event.exit_code) for event in events if isinstance(event, Died)] == [(5, -signal.SIGKILL)]
    told = sorted(event.message for event in events if isinstance(event, Reported))
    assert told == [f"began {job}" for job in range(1, 9)]


def test_jobs_are_taken_only_when_a_worker_is_free() -> None:
    taken: list[int] = []

    def jobs() -> Any:
        for job in (10, 20, 30, 40):
            taken.append(job)
            yield job

    pool = Pool(1, _prepare, _work)
    first = next(event for event in pool.run(jobs()) if isinstance(event, Finished))
    assert first.job == 10
    assert taken == [10]


def test_workers_are_gone_after_closing() -> None:
    pool = Pool(1, _prepare, _work)
    run = pool.run(iter([1, 2]))
    next(run)
    processes = [worker.process for worker in pool._workers]
    run.close()
    assert all(not process.is_alive() for process in processes)


def _start_a_child_and_end(_job: int, report: Callable[[Any], None]) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    report(child.pid)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_worker_started_ends_with_it() -> None:
    reported, died = list(Pool(1, _prepare, _start_a_child_and_end).run(iter([1])))
    assert isinstance(reported, Reported)
    assert died == Died(1, -signal.SIGKILL)
    wait_until(lambda: not is_running(reported.message))


def test_an_idle_worker_that_is_killed_is_replaced() -> None:
    pool = Pool(1, _prepare, _work)

    def jobs() -> Iterator[int]:
        yield 1
        (worker,) = pool._workers
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.join()
        yield 2

    events = [event for event in pool.run(jobs()) if not isinstance(event, Reported)]
    assert events == [Finished(1, (1, "yes")), Finished(2, (4, "yes"))]


def _exit(job: int, _report: Callable[[Any], None]) -> None:
    sys.exit(job)


def test_the_exit_code_of_a_worker_is_its_own() -> None:
    assert list(Pool(1, _prepare, _exit).run(iter([7]))) == [Died(7, 7)]


class _OddError(Exception):
    """An error that can be sent and not be read: its arguments are not those of its constructor."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def _raise_an_odd_error(_job: int, _report: Callable[[Any], None]) -> None:
    raise _OddError("very", "odd")


def test_an_error_that_cannot_be_sent_is_told_in_words() -> None:
    (event,) = Pool(1, _prepare, _raise_an_odd_error).run(iter([1]))
    assert isinstance(event, Finished)
    assert str(event.error) == "_OddError: very odd"


def is_running(pid: int) -> bool:
    """Whether a process is there and more than an entry that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that is about to happen."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
