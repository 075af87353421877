"""A run: sessions are walked, given to workers, and accounted for."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bids_app.exit_codes import ALL_WELL, CANNOT_CREATE, INTERRUPTED, NOTHING_MATCHES, SOME_FAILED, TRY_AGAIN
from bids_app.inputs.dataset import Dataset, Selection, list_subjects, walk
from bids_app.inputs.series import Session
from bids_app.outputs.dataset import write_root_files
from bids_app.outputs.methods import methods_text
from bids_app.outputs.writer import remove_partial_files
from bids_app.settings import Settings
from bids_app.workflow.context import RunContext
from bids_app.workflow.failures import Failure
from bids_app.workflow.graph import HD_BET_MEMORY_GB, MEMORY_GB
from bids_app.workflow.pool import Died, Finished, Pool, Reported
from bids_app.workflow.prepare import SetupError, create_output
from bids_app.workflow.progress import Progress
from bids_app.workflow.session import SessionResult, finished_session, run_session

log = logging.getLogger("bids_app")


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


class Terminated(BaseException):
    """The run was asked to end by SIGTERM."""


@dataclass
class Account:
    """What became of the sessions so far: counts and failures, nothing that grows with what went well."""

    sessions: int = 0
    series: int = 0
    failures: list[Failure] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    running: list[str] = field(default_factory=list)
    stopped: bool = False

    def add(self, result: SessionResult) -> None:
        """Count a session in."""
        self.sessions += 1
        self.failures.extend(result.failures)


def run_participants(dataset: Dataset, selection: Selection, context: RunContext, console: Console) -> int:
    """Process the selected sessions.

    Returns
    -------
    The exit code: 0 all well, 1 something failed, 18 nothing matched, 75 or 130 ended from outside.
    """
    settings = context.settings
    subjects = list_subjects(dataset, selection)
    create_output(settings)
    _write_root_files(dataset, context)
    account = Account()
    work = _private_work_folder(settings)
    try:
        with _sigterm_raises(), Progress(console, len(subjects)) as progress:
            _run_all(_unfinished(dataset, selection, context, account, progress), context, work, account, progress)
    except (KeyboardInterrupt, Terminated) as stop:
        for label in account.running:  # their workers are gone
            for folder in (Path(label.replace("_", "/")), Path("logs", label.replace("_", "/"))):
                remove_partial_files(settings.output_dir / folder)
                remove_partial_files(settings.output_dir / folder / "anat")
        told = "What is written is whole; the same command goes on from there."
        console.print(f"Stopped. {_not_done(account, subjects)} {told}", soft_wrap=True)
        return TRY_AGAIN if isinstance(stop, Terminated) else INTERRUPTED
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if account.series == 0 and not account.failures and settings.shard[1] > 1 and not subjects:
        console.print("Nothing to process in this shard")
        return ALL_WELL
    if account.series == 0 and not account.failures:
        console.print(
            "Nothing to process: no structural series is selected; --dry-run lists what was found and why not",
            soft_wrap=True,
        )
        return NOTHING_MATCHES
    if account.stopped:
        console.print(_not_done(account, subjects), soft_wrap=True)
    return _closing(account, settings, console)


def _unfinished(
    dataset: Dataset, selection: Selection, context: RunContext, account: Account, progress: Progress
) -> Iterator[Session]:
    """The sessions of which something is left to do; finished ones are counted and passed over."""
    for session in walk(dataset, selection):
        account.begun.add(session.subject)
        account.series += len(session.series)
        broken = [series for series in session.rejected if series.unreadable]
        account.failures += [
            Failure(session.label, series.name, "read", series.rejection or "") for series in broken
        ]  # fmt: skip
        result = finished_session(session, context)
        if result is None:
            yield session
        else:
            account.add(result)
            progress.finished(result)


def _run_all(
    sessions: Iterator[Session], context: RunContext, work: Path, account: Account, progress: Progress
) -> None:
    """Give the sessions to the workers; with fewer sessions than processors, each runs nodes side by side."""
    settings = context.settings
    size = _workers(context)
    first = list(itertools.islice(sessions, size))
    if not first:
        return
    inner = max(1, size // len(first))
    prepare = partial(prepare_worker, settings.omp_nthreads, work)
    work_on = partial(_work_on, context=context, work=work, nprocs=inner * settings.omp_nthreads)
    pool = Pool(min(size, len(first)), prepare, work_on)

    def started() -> Iterator[Session]:
        for session in itertools.chain(first, sessions):
            account.running.append(session.label)
            progress.started(session.label)
            yield session

    with contextlib.closing(pool.run(started())) as events:  # ends the workers before anything else is done
        for event in events:
            if isinstance(event, Reported):
                progress.task(*event.message)
                continue
            result = _result_of(event)
            account.running.remove(result.label)
            account.add(result)
            progress.finished(result)
            if result.failures and settings.stop_on_first_crash:
                account.stopped = True
                return


def _result_of(event: Finished | Died) -> SessionResult:
    label = event.job.label
    if isinstance(event, Died):
        code = event.exit_code or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        message = f"its process was killed ({how}), most likely for memory; give --mem-gb or a smaller --nprocs"
        return SessionResult(label, failures=(Failure(label, "", "", message),))
    if event.error is not None:
        log.debug("%s: %s", label, "".join(getattr(event.error, "__notes__", [])))
        message = f"{type(event.error).__name__}: {event.error}"
        return SessionResult(label, failures=(Failure(label, "", "", message),))
    return event.result


def _work_on(
    session: Session, report: Callable[[Any], None], *, context: RunContext, work: Path, nprocs: int
) -> SessionResult:
    """In a worker: one session."""
    return run_session(session, context, work, nprocs, lambda *message: report(message))


def prepare_worker(threads: int, work: Path) -> None:
    """In a worker, before any library is loaded: as many threads as were asked for, no calls home, no home folder."""
    os.environ["NIPYPE_CONFIG_DIR"] = str(work / "nipype")  # read by each process that a worker starts, too
    os.environ["TMPDIR"] = str(work)
    count = str(threads)
    for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = count
    os.environ["NO_ET"] = os.environ["NIPYPE_NO_ET"] = "1"
    os.environ.setdefault("MPLBACKEND", "Agg")
    for name in ("nipype", "nibabel.global"):  # what they have to say of an odd header is in the series table
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _workers(context: RunContext) -> int:
    """How many sessions run side by side: by processors, and by the memory of their largest step."""
    settings = context.settings
    size = max(1, settings.nprocs // settings.omp_nthreads)
    if settings.mem_gb is None:
        return size
    heaviest = HD_BET_MEMORY_GB if context.default_extraction.method == "hd-bet" else max(MEMORY_GB.values())
    return max(1, min(size, int(settings.mem_gb // heaviest)))


def _write_root_files(dataset: Dataset, context: RunContext) -> None:
    settings = context.settings
    extraction = context.default_extraction
    text = methods_text(settings, extraction=extraction.method, mirroring=extraction.mirroring)
    atlases = {atlas.label: atlas.space.brain.parent for atlas in context.spaces if not atlas.space.standard}
    write_root_files(
        settings.output_dir, source_name=dataset.name, source_root=settings.bids_dir, settings=settings.public(),
        methods=text, atlases=atlases,
    )  # fmt: skip


def _private_work_folder(settings: Settings) -> Path:
    """A folder of mode 0700 for this run alone."""
    try:
        if settings.work_dir is not None:
            settings.work_dir.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="bids_app-", dir=settings.work_dir))
        (work / "nipype").mkdir()
        (work / "nipype" / "nipype.cfg").write_text(_NIPYPE, encoding="utf-8")
    except OSError as error:
        place = settings.work_dir or tempfile.gettempdir()
        raise SetupError(
            f"the work folder {place} cannot be made: {error.strerror}; give one with -w", CANNOT_CREATE
        ) from error
    return work


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _not_done(account: Account, subjects: list[str]) -> str:
    """The sessions that were under way and the participants that had not begun, in words."""
    missing = [f"sub-{label}" for label in subjects if label not in account.begun]
    more = f" and {len(missing) - 20} more" if len(missing) > 20 else ""
    return f"Not finished: {', '.join([*account.running, *missing[:20]]) or 'nothing'}{more}."


def _closing(account: Account, settings: Settings, console: Console) -> int:
    """The last words: what failed and why, or where the results are."""
    if not account.failures:
        console.print(f"{account.sessions} sessions finished. Results: {settings.output_dir}", soft_wrap=True)
        return ALL_WELL
    rows = [
        (failure.session, failure.series.removeprefix(f"{failure.session}_"), failure.step, failure.message)
        for failure in account.failures
    ]
    if console.is_terminal:
        table = Table("session", "series", "step", "why", title="Failed", title_justify="left", show_edge=False)
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)
    else:  # one line each, to be searched in a log
        for row in rows:
            console.print(
                "Failed: " + " ".join(cell for cell in row[:3] if cell) + f": {row[3]}", soft_wrap=True, markup=False
            )
    console.print(
        f"{len(account.failures)} failures in {account.sessions} sessions; everything else is in "
        f"{settings.output_dir}. Details: errors.txt under its logs",
        soft_wrap=True,
    )
    return SOME_FAILED
