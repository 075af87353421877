"""All sessions of a participant as one job (`--reference subject`): native steps, their template, then the spaces."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bids_app.inputs.series import Session
from bids_app.outputs.leftovers import remove_leftovers
from bids_app.workflow.context import RunContext
from bids_app.workflow.profile import times_in
from bids_app.workflow.session import Report, SessionResult, finished_session, run_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

log = logging.getLogger("bids_app")


@dataclass(frozen=True)
class Participant:
    """The sessions that share a within-subject template: they are locked, done and accounted for together."""

    subject: str
    sessions: tuple[Session, ...]

    @property
    def label(self) -> str:
        """`sub-01`: also the name of the lock on what is the participant's and no session's."""
        return f"sub-{self.subject}"


def participants(sessions: Iterable[Session]) -> Iterator[Participant]:
    """The walk's sessions, those of a participant together."""
    for subject, group in groupby(sessions, key=lambda one: one.subject):
        yield Participant(subject, tuple(group))


def finished_participant(job: Participant, context: RunContext) -> list[SessionResult] | None:
    """The results of a participant of whom nothing is left to do; None where something may be."""
    from bids_app.workflow.individual import is_current, looking, make_individual

    if not is_current(job.subject, job.sessions, context):
        return None
    template, failures = make_individual(job.subject, job.sessions, looking(context))
    if failures:
        return None
    results = [finished_session(session, replace(context, individual=template)) for session in job.sessions]
    done = [result for result in results if result is not None]
    return done if len(done) == len(results) else None


def run_participant(
    job: Participant, context: RunContext, work: Path, nprocs: int, report: Report
) -> list[SessionResult]:
    """Do what is left of a participant's sessions: each natively, then the template, then each in the spaces.

    The template's time is counted with the first session.
    """
    from bids_app.workflow.individual import NATIVE_STEPS, make_individual

    settings = context.settings
    remove_leftovers(settings.output_dir, job.label)
    first = tuple(step for step in settings.steps if step in NATIVE_STEPS)
    alone: list[SessionResult] = []
    if len(job.sessions) > 1 and first:
        only = replace(context, settings=replace(settings, steps=first))
        alone = [run_session(session, only, work, nprocs, report) for session in job.sessions]
        if settings.stop_on_first_crash and any(result.failures for result in alone):
            return alone
    began, times = time.monotonic(), work / f"{job.label}-times"
    template, failures = make_individual(job.subject, job.sessions, context, times if settings.profile else None)
    took, made = time.monotonic() - began, times_in(times)
    if template is None:
        log.info("%s: fewer than two sessions have a reference: no within-subject template, as without it", job.label)
    within = replace(context, individual=template)
    results = [run_session(session, within, work, nprocs, report) for session in job.sessions]
    told = [_with_first(result, alone) for result in results]
    told[0] = replace(told[0], seconds=told[0].seconds + took, times=(*told[0].times, *made))
    labels = {result.label for result in told}
    for failure in failures:
        label = failure.session if failure.session in labels else told[0].label
        told = [replace(one, failures=(*one.failures, failure)) if one.label == label else one for one in told]
    return told


def _with_first(result: SessionResult, alone: Sequence[SessionResult]) -> SessionResult:
    """A session's account with what was done of it before the template; its failures are those of the end."""
    for one in alone:
        if one.label == result.label:
            unchanged = max(0, result.unchanged - one.done)
            return replace(
                result, done=result.done + one.done, unchanged=unchanged, seconds=result.seconds + one.seconds,
                times=(*one.times, *result.times),
            )  # fmt: skip
    return result
