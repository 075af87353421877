"""A run: sessions are walked, locked, given to workers, and accounted for."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bids_app.exit_codes import ALL_WELL, INTERRUPTED, NOTHING_MATCHES, SOME_FAILED, TRY_AGAIN
from bids_app.inputs.dataset import Dataset, Selection, list_subjects, walk
from bids_app.inputs.series import Session
from bids_app.outputs.anonymise import read_date_key
from bids_app.outputs.dataset import ROOT_FILES, write_root_files
from bids_app.outputs.leftovers import ROOT, remove_leftovers, sweep, sweep_root
from bids_app.outputs.lock import STALE_S, Holder, Locks
from bids_app.outputs.methods import methods_text, steps_done
from bids_app.outputs.people import write_people
from bids_app.reports.contents import session_folders
from bids_app.reports.ratings import take_ratings, tell_unknown_ratings
from bids_app.steps.brain_mask.hd_bet_engines import devices
from bids_app.stop import Terminated, stop_raises
from bids_app.workflow.account import Account, closing, not_done
from bids_app.workflow.context import RunContext
from bids_app.workflow.failures import Failure, in_words, write_lost_session
from bids_app.workflow.gone import Gone
from bids_app.workflow.gpu import gpu_processes, hd_bet_loader
from bids_app.workflow.graph import workers
from bids_app.workflow.pages import Page, Pages, write_page
from bids_app.workflow.participant import Participant, finished_participant, participants, run_participant
from bids_app.workflow.pool import Died, Finished, Pool, Reported
from bids_app.workflow.prepare import create_output
from bids_app.workflow.profile import Profile, TaskTime
from bids_app.workflow.progress import Progress
from bids_app.workflow.session import SessionResult, finished_session, run_session
from bids_app.workflow.unused import Unused
from bids_app.workflow.work_folder import private_work_folder

log = logging.getLogger("bids_app")

#: Seconds that a run with nothing else to do waits for sessions that another run has: as long as it takes to see that
#: the other one is gone (`outputs.lock`), and some more.
_PATIENCE_S = STALE_S + 30
_DATE_IN_A_LABEL = re.compile(r"(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


#: What is locked and done as a whole: a session, or with a within-subject template all of a participant.
Visit = Session | Participant


def sessions_of(job: Visit) -> tuple[Session, ...]:
    """The sessions of a job."""
    return job.sessions if isinstance(job, Participant) else (job,)


def labels_of(job: Visit) -> list[str]:
    """The locks of a job: of its sessions, and of what is the participant's alone."""
    return list(dict.fromkeys([*(one.label for one in sessions_of(job)), job.label]))


def run_participants(dataset: Dataset, selection: Selection, context: RunContext, console: Console) -> int:
    """Process the selected sessions.

    Returns
    -------
    The exit code: 0 all well, 1 something failed, 18 nothing matched, 75 or 130 ended from outside, 75 also where
    another run works on a session.
    """
    settings = context.settings
    subjects = list_subjects(dataset, selection)
    key = read_date_key(settings.date_key, settings.output_dir)
    create_output(settings)
    take_ratings(settings, processed=False)
    if settings.steps == ("report",):
        return _pages_alone(subjects, context, console)
    account = Account()
    gone, unused = Gone(settings.output_dir, selection), Unused.of(context, selection)
    with stop_raises(), Locks(settings.output_dir) as locks:
        pages = Pages(context, locks)
        try:
            with (
                private_work_folder(settings) as work,
                Progress(console, len(subjects)) as progress,
                _gpus(context, work) as context,
            ):
                sweep(settings.output_dir, locks)
                _write_root_files(dataset, context, locks)
                profile = Profile.of_shard(settings.output_dir, settings.shard) if settings.profile else None
                run = _Run(context, work, account, progress, locks, pages, profile, gone, unused)
                sessions = walk(dataset, selection)
                within = settings.reference == "subject"
                run.all(run.unfinished(participants(sessions) if within else sessions))
                if account.waiting and not account.stopped:
                    run.all(run.when_free())
                run.all(pages.rest(_PATIENCE_S))
                _write_people(subjects, context, locks, account, key)
                gone.rest(account.begun)
        except (KeyboardInterrupt, Terminated) as stop:
            told = "What is written is whole; the same command goes on from there."
            console.print(f"Stopped. {not_done(account, subjects, settings)} {told}", soft_wrap=True, markup=False)
            return TRY_AGAIN if isinstance(stop, Terminated) else INTERRUPTED
        finally:
            for label in account.running:  # whatever ended the run: their workers are gone
                remove_leftovers(settings.output_dir, label)
            sweep_root(settings.output_dir, pages.given)
    if profile is not None:
        profile.tell(console)
    tell_unknown_ratings(settings)
    if told := gone.in_words():
        console.print(told, soft_wrap=True, markup=False)
    if not account.stopped:  # else there are images that the walk did not come to
        for told in unused.in_words():
            console.print(told, soft_wrap=True, markup=False)
    return closing(account, subjects, settings, console)


def _pages_alone(subjects: list[str], context: RunContext, console: Console) -> int:
    """`--steps report`: the pages of what is there, without looking at the dataset's images."""
    settings = context.settings
    known = [subject for subject in subjects if session_folders(settings.output_dir, subject)]
    if not known:
        console.print(f"{settings.output_dir} holds none of these participants; run other steps first", soft_wrap=True)
        return NOTHING_MATCHES
    account = Account()
    with (
        stop_raises(), Locks(settings.output_dir) as locks, private_work_folder(settings) as work,
        Progress(console, len(known)) as progress,
    ):  # fmt: skip
        run = _Run(context, work, account, progress, locks, Pages(context, locks, {one: set() for one in known}))
        run.all(run.pages.rest(_PATIENCE_S))
    for failure in account.failures:
        line = f"Failed: {failure.session} {failure.step}: {failure.message}"
        console.print(line, soft_wrap=True, markup=False)
    tell_unknown_ratings(settings)
    console.print(f"Pages of {len(known) - len(account.failures)} participants: {settings.output_dir}", soft_wrap=True)
    return SOME_FAILED if account.failures else ALL_WELL


@dataclass
class _Run:
    """The sessions' way through the workers."""

    context: RunContext
    work: Path
    account: Account
    progress: Progress
    locks: Locks
    pages: Pages
    profile: Profile | None = None
    gone: Gone | None = None
    unused: Unused | None = None
    warned: bool = False

    def unfinished(self, jobs: Iterable[Visit]) -> Iterator[Visit]:
        """The jobs of which something is left to do, each with its locks held; finished ones are passed over."""
        for job in jobs:
            for session in sessions_of(job):
                self.account.walked(session)
                self.pages.walked(session)
                if self.gone is not None:
                    self.gone.walked(session)
                if self.unused is not None:
                    self.unused.walked(session)
                if not self.warned and _DATE_IN_A_LABEL.search(session.session or ""):
                    self.warned = True
                    log.warning(
                        "%s: a session's label that looks like a date is kept as it is; rename it if no date may leave",
                        session.label,
                    )
            yield from self._mine_to_do(job)

    def when_free(self) -> Iterator[Visit]:
        """The sessions that another run had, as it ends with them."""
        end = time.monotonic() + _PATIENCE_S
        while self.account.waiting:
            for job, _ in list(self.account.waiting.values()):
                yield from self._mine_to_do(job)
            if time.monotonic() > end:
                return
            time.sleep(0.5)

    def _mine_to_do(self, job: Visit) -> Iterator[Visit]:
        """The job, when this run has its locks and something is left to do."""
        label = job.label
        results: list[SessionResult] | None
        try:
            holder = self._take(job)
            if holder is not None:
                self._wait_for(job, holder)
                return
            self.account.waiting.pop(label, None)
            if isinstance(job, Participant):
                results = finished_participant(job, self.context)
            else:
                result = finished_session(job, self.context)
                results = None if result is None else [result]
        except OSError as error:  # the output is full or read-only
            message = f"the output cannot be written: {in_words(error)[0]}"
            results = [
                SessionResult(one.label, failures=(Failure(one.label, "", "", message),)) for one in sessions_of(job)
            ]
            self.account.waiting.pop(label, None)
        if results is None:
            self.account.running += labels_of(job)
            yield job
        else:
            self._ended(job, results)

    def _take(self, job: Visit) -> Holder | None:
        """Take the locks of a job, all or none; who has one of them."""
        taken: list[str] = []
        for label in labels_of(job):
            holder = self.locks.take(label)
            if holder is not None:
                for one in taken:
                    self.locks.release(one)
                return holder
            taken.append(label)
        return None

    def _ended(self, job: Visit, results: Iterable[SessionResult]) -> None:
        for result in results:
            self._finished(result)
        if isinstance(job, Participant) and job.label not in {one.label for one in job.sessions}:
            self.locks.release(job.label)

    def _wait_for(self, job: Visit, holder: Holder) -> None:
        if job.label not in self.account.waiting:
            self.progress.console.print(
                f"{job.label}: {holder} works on it; it comes last", soft_wrap=True, markup=False
            )
        self.account.waiting[job.label] = (job, holder)

    def _finished(self, result: SessionResult) -> None:
        self.account.add(result)
        self.progress.finished(result)
        if self.profile is not None and result.seconds:
            self.profile.add(result.label, result.seconds, result.times)
        self.locks.release(result.label)
        self.pages.finished(result.label)

    def all(self, jobs: Iterator[Visit] | Iterator[Page]) -> None:
        """Give sessions or pages to the workers; with fewer than processors, each runs nodes side by side.

        The pages of participants of whom all sessions are finished come between.
        """
        settings = self.context.settings
        size = workers(self.context)
        first: list[Visit | Page] = list(itertools.islice(jobs, size))
        if not first:
            return
        inner = max(1, size // len(first))
        prepare = partial(prepare_worker, settings.omp_nthreads, self.work)
        work_on = partial(_work_on, context=self.context, work=self.work, nprocs=inner * settings.omp_nthreads)
        pool = Pool(min(size, len(first)), prepare, work_on)

        def started() -> Iterator[Visit | Page]:
            for job in itertools.chain(first, jobs):
                if not isinstance(job, Page):
                    for session in sessions_of(job):
                        self.progress.started(session.label)
                yield job
                yield from self.pages.ready()

        with contextlib.closing(pool.run(started())) as events:  # ends the workers before anything else is done
            for event in events:
                if isinstance(event, Reported):
                    self.progress.task(*event.message)
                    continue
                if isinstance(event.job, Page):
                    self._page_ended(event)
                    continue
                results = self._results_of(event)
                for label in labels_of(event.job):
                    self.account.running.remove(label)
                self._ended(event.job, results)
                if any(result.failures for result in results) and settings.stop_on_first_crash:
                    self.account.stopped = True
                    return

    def _page_ended(self, event: Finished | Died) -> None:
        """A page that cannot be made costs nothing but itself."""
        page: Page = event.job
        self.pages.ended(page)
        if isinstance(event, Died):
            message, kind = _how_it_died(event.exit_code or 0), ""
        elif event.error is None:
            if self.profile is not None:
                self.profile.add_page(f"sub-{page.subject}", event.result)
            return
        else:
            log.debug("%s: %s", page.label, "".join(getattr(event.error, "__notes__", [])))
            message, kind = in_words(event.error)
        self.account.failures.append(Failure(f"sub-{page.subject}", "", "report", message, kind))

    def _results_of(self, event: Finished | Died) -> list[SessionResult]:
        if isinstance(event, Finished) and event.error is None:
            return event.result
        label = event.job.label
        if isinstance(event, Died):
            message, kind = _how_it_died(event.exit_code or 0), ""
        else:
            log.debug("%s: %s", label, "".join(getattr(event.error, "__notes__", [])))
            message, kind = in_words(event.error)
        for one in labels_of(event.job):
            remove_leftovers(self.context.settings.output_dir, one)
        lost = sessions_of(event.job)
        failures = {session.label: Failure(session.label, "", "", message, kind) for session in lost}
        for session in lost:
            write_lost_session(session, failures[session.label], self.context.settings, self.work)
        return [SessionResult(label, failures=(failure,)) for label, failure in failures.items()]


def _how_it_died(code: int) -> str:
    """The end of a worker in words, from its exit code."""
    if code == -signal.SIGKILL:
        return "its process was killed (signal 9), most likely for memory; give --mem-gb or a smaller --nprocs"
    if code < 0:
        return f"its process was ended by signal {-code} ({signal.Signals(-code).name}); run again"
    return f"its process ended too early (exit code {code}); run again"


def _work_on(
    job: Visit | Page, report: Callable[[Any], None], *, context: RunContext, work: Path, nprocs: int
) -> list[SessionResult] | TaskTime:
    """In a worker: one session, all of a participant, or one page."""
    if isinstance(job, Page):
        return write_page(job, context, nprocs)
    if isinstance(job, Participant):
        return run_participant(job, context, work, nprocs, lambda *message: report(message))
    return [run_session(job, context, work, nprocs, lambda *message: report(message))]


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


@contextlib.contextmanager
def _gpus(context: RunContext, work: Path) -> Iterator[RunContext]:
    """While this lasts, each GPU that HD-BET is to use has a process of its own; the context names where it waits.

    With a plugin of the user's the nodes may run on other machines: each loads the network itself.
    """
    settings, extraction = context.settings, context.default_extraction
    if extraction.method != "hd-bet" or extraction.device == "cpu" or settings.nipype_plugin_file is not None:
        yield context
        return
    assert extraction.weights is not None
    loaders = [
        hd_bet_loader(extraction.weights, device, extraction.engine, extraction.mirroring, settings.omp_nthreads)
        for device in devices(extraction.device)
    ]
    with gpu_processes(work / "gpu", loaders, partial(prepare_worker, settings.omp_nthreads, work)):
        yield replace(context, gpu=work / "gpu")


@contextlib.contextmanager
def _root(output: Path, locks: Locks) -> Iterator[None]:
    """Hold the lock on the root's files; go on without it when another run keeps it: each file is written whole."""
    if locks.wait(ROOT, _PATIENCE_S) is None:
        sweep_root(output, ROOT_FILES)
    try:
        yield
    finally:
        locks.release(ROOT)


def _write_root_files(dataset: Dataset, context: RunContext, locks: Locks) -> None:
    settings = context.settings
    extraction = context.default_extraction
    atlases = {atlas.label: atlas.space.brain.parent for atlas in context.spaces if not atlas.space.standard}
    with _root(settings.output_dir, locks):
        done = steps_done(settings.output_dir, settings, extraction=extraction.method, mirroring=extraction.mirroring)
        write_root_files(
            settings.output_dir, description=dataset.description, source_root=settings.bids_dir,
            settings=settings.public(), methods=methods_text(done), steps=done, atlases=atlases,
        )  # fmt: skip


def _write_people(subjects: list[str], context: RunContext, locks: Locks, account: Account, key: bytes | None) -> None:
    """The tables of participants and sessions; where they cannot be written the rest is there nevertheless."""
    settings = context.settings
    try:
        with _root(settings.output_dir, locks):
            write_people(settings.bids_dir, settings.output_dir, subjects, key)
    except OSError as error:
        account.failures.append(Failure("participants.tsv", "", "", *in_words(error)))
