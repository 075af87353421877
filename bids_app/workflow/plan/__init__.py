"""The plan of a session: which tasks there are, what each reads and makes, and which are already finished.

A *task* is one step of one series, in one space where there are several. Its key (see `outputs.manifest`) holds
everything that its result depends on, so a plan needs headers and hashes only, and comparing keys with the manifest
tells what is left to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bids_app.inputs.diffusion import settled
from bids_app.inputs.reference import choose_reference
from bids_app.inputs.series import Session
from bids_app.outputs.manifest import InputRecord, Manifest, files_present
from bids_app.workflow.context import RunContext
from bids_app.workflow.plan import measured, morphometry, native, spaces, tissue
from bids_app.workflow.plan.ledger import Ledger
from bids_app.workflow.plan.tasks import FileInput, SessionPlan, Task


def plan_session(
    session: Session,
    inputs: Mapping[str, InputRecord],
    manifest: Manifest,
    context: RunContext,
    not_reference: frozenset[str] = frozenset(),
    failed: frozenset[str] = frozenset(),
) -> SessionPlan:
    """Plan a session.

    Parameters
    ----------
    inputs
        What is known of each accepted series' file, by its path in the dataset.
    not_reference
        Names of series that cannot serve as the reference (their mask failed, say).
    failed
        Tasks that failed in this run: what is measured is measured without them.

    Raises
    ------
    InputError
        The reference that was asked for is not among the series.
    """
    session = _without_unusable(session, inputs)
    candidates = [series for series in session.series if series.name not in not_reference and not series.follows]
    if not candidates:
        return SessionPlan(session, None)
    reference = choose_reference(candidates, context.settings.reference)
    ledger = Ledger(context, inputs, manifest, reference.series, session, failed)
    for series in session.series:
        native.lesion(ledger, series)
    for series in sorted(session.series, key=lambda one: one.follows):
        native.native(ledger, series)
        native.segment(ledger, series)
    for series in session.series:
        spaces.coregister(ledger, series)
    for atlas in context.spaces:
        spaces.atlas(ledger, atlas)
    tissue.tissue(ledger)
    morphometry.parcellate(ledger)
    morphometry.cortex(ledger)
    for series in session.series:
        for space in spaces.spaces(ledger, series):
            spaces.resample(ledger, series, space)
            spaces.resample_lesion(ledger, series, space)
            spaces.normalize(ledger, series, space)
    for space in spaces.spaces(ledger, reference.series):
        tissue.tissue_in(ledger, space)
        morphometry.vbm(ledger, space)
    for series in session.series:
        measured.measure(ledger, series)
    chosen = {name: task for name, task in ledger.tasks.items() if task.step in context.settings.steps}
    todo = frozenset(name for name, task in chosen.items() if not _finished(task, manifest, context))
    blocked = {name: missing for name, missing in ledger.blocked.items() if name in todo}
    return SessionPlan(session, reference, chosen, todo, blocked, ledger.lesion(reference.series))


def _finished(task: Task, manifest: Manifest, context: RunContext) -> bool:
    record = manifest.tasks.get(task.name)
    return record is not None and record.key == task.key and files_present(context.settings.output_dir, record)


def _without_unusable(session: Session, inputs: Mapping[str, InputRecord]) -> Session:
    """Move the series whose content cannot be used to the rejected ones, and leave out such lesion masks."""
    problems = {series.relative: inputs[series.relative].problem for series in session.series}
    judged = settled(
        [
            replace(series, rejection=problem, unreadable=problem is not None)
            for series in session.series
            for problem in (problems[series.relative],)
        ]
    )
    usable = tuple(series for series in judged if series.accepted)
    unusable = tuple(series for series in judged if not series.accepted)
    names = {series.name for series in usable}
    lesions = tuple(
        lesion
        for lesion in session.lesions
        if lesion.series in names and lesion.relative in inputs and inputs[lesion.relative].problem is None
    )
    return replace(session, series=usable, rejected=(*session.rejected, *unusable), lesions=lesions)


__all__ = ["FileInput", "SessionPlan", "Task", "plan_session"]
