"""What a run would do, without doing it: sessions, series, the reference, what is rejected and why, time and disk."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bids_app.exit_codes import ALL_WELL, SOME_FAILED
from bids_app.inputs.dataset import Dataset, Selection, walk
from bids_app.inputs.errors import InputError
from bids_app.inputs.reference import Reference, choose_reference
from bids_app.inputs.series import Session
from bids_app.outputs.manifest import InputRecord, Manifest, manifest_path, read_manifest, stamp_of
from bids_app.workflow.account import nothing_code
from bids_app.workflow.capacity import Totals, plan_nodes
from bids_app.workflow.context import IndividualSpace, RunContext
from bids_app.workflow.costs import CostModel, find_costs
from bids_app.workflow.estimate import Estimate, estimate, raw_sizes, with_template
from bids_app.workflow.graph import workers
from bids_app.workflow.participant import Participant, participants
from bids_app.workflow.plan import SessionPlan, plan_session


@dataclass(frozen=True)
class Wanted:
    """What a dry run is to tell: as text or JSON, and for a plan, on how many nodes and for how many sessions."""

    as_json: bool = False
    nodes: tuple[int, ...] = ()
    sessions: int | None = None
    cost_model: Path | None = None


@dataclass(frozen=True)
class _Outlook:
    """What a run would do of a session, and what it would tell as a failure that can be foretold.

    Attributes
    ----------
    left
        The tasks that are not finished, blocked ones included: they are done once what they need is there.
    blocked
        By the step that they need, how many tasks of which steps no run can do now.
    problems
        What else a run would fail at.
    """

    session: Session
    plan: SessionPlan
    left: Estimate
    blocked: Mapping[str, Counter[str]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether a run would tell a failure of this session."""
        return bool(self.blocked or self.problems)

    def possible(self) -> Counter[str]:
        """The tasks that a run would do, by step."""
        return self.left.tasks - sum(self.blocked.values(), Counter[str]())


def dry_run(dataset: Dataset, selection: Selection, context: RunContext, console: Console, wanted: Wanted) -> int:
    """Print the plan of every selected session, one after another.

    Returns
    -------
    The exit code that a run would end with, as far as can be foretold: 0, 1 where a session lacks what it needs, 18
    where nothing is selected. A series that is rejected as broken makes it 1 only where nothing else is there.
    """
    model = find_costs(context.settings, wanted.cost_model)
    totals, forecast = Totals(), _Forecast(context, model)
    fails = broken = False
    end = "\n]}"
    if wanted.as_json:
        print('{"sessions": [', end="")
    try:
        for number, outlook in enumerate(forecast.all(walk(dataset, selection))):
            plan = outlook.plan
            totals.add(outlook.session.subject, len(plan.session.series), len(plan.session.rejected), outlook.left)
            fails |= outlook.fails
            broken |= any(series.unreadable for series in plan.session.rejected)
            if wanted.as_json:
                print(("," if number else "") + "\n" + json.dumps(_as_dict(outlook, context)), end="")
            else:
                for line in _lines(outlook, context):
                    console.print(line, soft_wrap=True, markup=False)
        nodes = plan_nodes(totals, context, model, wanted.nodes or (1,), wanted.sessions)
        total = json.dumps(_total_as_dict(totals, model))
        end = f'\n],\n"total": {total},\n"plan": {json.dumps(nodes)}}}'
    finally:  # also where nothing is selected, which is an error: what was printed is JSON
        if wanted.as_json:
            print(end)
    if not wanted.as_json:
        _tell_total(totals, context, model, console)
        if wanted.nodes or wanted.sessions:
            _tell_plan(nodes, console)
    if fails or (broken and not totals.series):
        return SOME_FAILED
    return ALL_WELL if totals.series else nothing_code(context.settings)


@dataclass
class _Forecast:
    """What is left of sessions. Those of which nothing is done and whose series are alike are planned once."""

    context: RunContext
    model: CostModel
    _alike: dict[Any, _Outlook] = field(default_factory=dict)

    def all(self, sessions: Iterable[Session]) -> Iterator[_Outlook]:
        """Every session with its plan and what is left of it."""
        if self.context.settings.reference == "subject":
            for participant in participants(sessions):
                yield from self._together(participant)
        else:
            for session in sessions:
                yield self.of(session)

    def _together(self, participant: Participant) -> Iterator[_Outlook]:
        """The sessions of a participant, with the template in which they meet counted with the first one."""
        from bids_app.workflow.individual import expected_individual

        alone = [self._planned(session, self.context) for session in participant.sessions]
        individual, todo = expected_individual(participant.subject, alone, self.context)
        within = replace(self.context, individual=individual)
        for session in participant.sessions:
            plan = self._planned(session, within)
            left = estimate(plan, within, self.model)
            if todo and plan.reference is not None:
                count = sum(one.reference is not None for one in alone)
                left = with_template(left, todo, count, plan.reference.series, within, self.model)
                todo = Counter()
            problem = _without_template(plan, individual, within)
            yield _Outlook(session, plan, left, _blocked(plan), (problem,) if problem else ())

    def of(self, session: Session) -> _Outlook:
        """The plan, without tasks where a session alike was planned before, and what is left to do."""
        manifest = read_manifest(manifest_path(self.context.settings.output_dir, session.subject, session.session))
        try:
            if manifest.inputs or manifest.tasks or not session.series:
                return self._alone(session)
            reference = choose_reference(session.series, self.context.settings.reference)
        except InputError as error:  # one session without the reference that was asked for: none of it is done
            plan = SessionPlan(session, None)
            return _Outlook(session, plan, estimate(plan, self.context, self.model), problems=(str(error),))
        kind = self._kind(session, reference)
        if kind in self._alike:
            alike = self._alike[kind]
            left = replace(alike.left, raw_sizes=raw_sizes(session.series))
            return replace(alike, session=session, plan=SessionPlan(session, reference), left=left)
        outlook = self._alone(session)
        # what tasks there are is not kept: of many kinds of sessions it would be much
        self._alike[kind] = replace(outlook, plan=SessionPlan(session, reference))
        return outlook

    def _alone(self, session: Session) -> _Outlook:
        plan = self._planned(session, self.context)
        return _Outlook(session, plan, estimate(plan, self.context, self.model), _blocked(plan))

    def _planned(self, session: Session, context: RunContext) -> SessionPlan:
        manifest = read_manifest(manifest_path(context.settings.output_dir, session.subject, session.session))
        return plan_session(session, _known(session, manifest), manifest, context)

    def _kind(self, session: Session, reference: Reference) -> Any:
        """All that what is left of an untouched session depends on."""
        drawn_on = [series.name for series in session.series]
        lesions = tuple(drawn_on.index(lesion.series) for lesion in session.lesions if lesion.series in drawn_on)
        return (
            session.series.index(reference.series),
            lesions,
            tuple(
                (
                    tuple(pair for pair in series.entities if pair[0] not in ("sub", "ses")),
                    series.suffix,
                    series.header,
                    series.contrast_agent,
                    self.context.extraction_for(series),
                )
                for series in session.series
            ),
        )


def _blocked(plan: SessionPlan) -> dict[str, Counter[str]]:
    """By the step that no run has done and this one is not to do: how many tasks of which steps need it."""
    result: dict[str, Counter[str]] = {}
    for name, missing in plan.blocked.items():
        result.setdefault(missing.split("/")[0], Counter())[plan.tasks[name].step] += 1
    return result


def _without_template(plan: SessionPlan, individual: IndividualSpace | None, context: RunContext) -> str | None:
    """Why a session has no part in the within-subject template; None where it has, or has no reference or is alone."""
    if individual is None or plan.reference is None:
        return None
    missing = not individual.key and "template" not in context.settings.steps
    why = "no run has made the within-subject template; add template to --steps" if missing else None
    return individual.problems.get(plan.session.label, why)


def _known(session: Session, manifest: Manifest) -> dict[str, InputRecord]:
    """What an earlier run knew of the accepted files, where they are unchanged since."""
    inputs = {}
    files = [(one.relative, one.path) for one in session.series]
    files += [(one.relative, one.path) for one in session.lesions]
    for relative, path in files:
        known = manifest.inputs.get(relative)
        try:
            if known is None or known.stamp != stamp_of(path, known.sha256):
                known = InputRecord("", "not read yet")
        except OSError:  # it went away since the walk: the run will say so
            known = InputRecord("", "not read yet")
        inputs[relative] = known
    return inputs


def _work(outlook: _Outlook) -> str:
    """What a run would do of a session, in words."""
    if not outlook.plan.session.series:
        return "nothing: no series is accepted"
    nothing = "nothing: it would fail" if outlook.fails else "nothing: finished"
    return ", ".join(f"{count} {step}" for step, count in outlook.possible().items()) or nothing


def _lines(outlook: _Outlook, context: RunContext) -> Iterator[str]:
    session, plan = outlook.session, outlook.plan
    yield f"{session.label}: {len(session.series)} series, to do: {_work(outlook)}"
    for problem in outlook.problems:
        yield f"  fails      {problem}"
    for step, tasks in outlook.blocked.items():
        count = ", ".join(f"{count} {name}" for name, count in tasks.items())
        yield f"  fails      {count}: needs {step}, which no run has made or which is damaged; add {step} to --steps"
    ranks = dict(plan.reference.runners_up) if plan.reference else {}
    for series in plan.session.series:
        chosen = plan.reference is not None and series.name == plan.reference.series.name
        mark = "reference" if chosen else "series"
        why = f" (rule: {plan.reference.rule})" if chosen and plan.reference else f" ({ranks.get(series.name, '')})"
        mask = context.extraction_for(series).method
        title = f" as {series.name}" if series.title else ""
        yield f"  {mark:<9}  {series.relative}{title}{why if why != ' ()' else ''}, mask: {mask}"
        for doubt in series.doubts:
            yield f"             look at it: {doubt}"
    for series in plan.session.rejected:
        yield f"  rejected   {series.relative}{f' as {series.name}' if series.title else ''}: {series.rejection}"
    for lesion in plan.session.lesions:
        yield f"  lesion     {lesion.path.name}: drawn on {lesion.series}"


def _tell_total(totals: Totals, context: RunContext, model: CostModel, console: Console) -> None:
    side_by_side = max(1, min(workers(context), totals.sessions))
    several = f", {_duration(totals.seconds / side_by_side)} with {side_by_side} sessions side by side"
    console.print(
        f"{totals.sessions} sessions, {totals.series} series, {totals.rejected} rejected. "
        f"{_duration(totals.seconds).capitalize()} on one core{several if side_by_side > 1 else ''}; "
        f"{_size(totals.output_bytes)} of output (rough estimates, by {model.source})",
        soft_wrap=True, markup=False,
    )  # fmt: skip


def _duration(seconds: float) -> str:
    if seconds < 60:
        return "under a minute"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:,.0f} h"


def _size(count: float) -> str:
    return f"{count / 2**20:.0f} MB" if count < 10 * 2**30 else f"{count / 2**30:,.0f} GB"


def _tell_plan(nodes: dict[str, Any], console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    say(
        f"{nodes['sessions']} such sessions, {nodes['workers_per_node']} side by side on each node: "
        f"{nodes['read_bytes'] / 1e9:,.1f} GB read, {nodes['written_bytes'] / 1e9:,.1f} GB written, "
        f"{nodes['written_files']:,} files"
    )
    for block in nodes["blocks"]:
        walls = ", ".join(f"{wall:,.1f} h on {count}" for count, wall in block["wall_hours_by_nodes"].items())
        say(
            f"  {block['steps']}: {block['cpu_hours']:,.1f} processor h, {block['gpu_hours']:,.1f} GPU h; {walls} nodes"
        )


def _total_as_dict(totals: Totals, model: CostModel) -> dict[str, Any]:
    return {
        "sessions": totals.sessions,
        "sessions_to_do": totals.todo,
        "series": totals.series,
        "rejected": totals.rejected,
        "input_bytes": round(totals.input_bytes),
        "output_bytes": round(totals.output_bytes),
        "output_files": totals.files,
        "read_bytes": round(totals.read_bytes),
        "seconds_one_core": round(totals.seconds, 1),
        "seconds_longest_session": round(totals.longest, 1),
        "seconds_by_step": {name: round(value, 1) for name, value in totals.steps.items()},
        "memory_gb_by_step": {name: round(value, 2) for name, value in totals.memory_gb.items()},
        "cost_model": model.source,
    }


def _as_dict(outlook: _Outlook, context: RunContext) -> dict[str, Any]:
    session, plan, left = outlook.session, outlook.plan, outlook.left
    runners_up = dict(plan.reference.runners_up) if plan.reference else {}
    return {
        "participant": session.subject,
        "session": session.session,
        "reference": plan.reference.series.relative if plan.reference else None,
        "series": [
            {
                "path": series.relative,
                "suffix": series.suffix,
                "contrast_agent": series.contrast_agent,
                "mask": context.extraction_for(series).method,
                "behind_reference": runners_up.get(series.name),
                "warnings": [*series.warnings, *series.doubts],
            }
            for series in plan.session.series
        ],
        "rejected": [{"path": series.relative, "reason": series.rejection} for series in plan.session.rejected],
        "problems": list(outlook.problems),
        "tasks": dict(left.tasks),
        "blocked": {step: dict(tasks) for step, tasks in outlook.blocked.items()},
        "steps": {
            name: {**asdict(step), "seconds": round(step.seconds, 2), "memory_gb": round(step.memory_gb, 2)}
            for name, step in left.steps.items()
        },
        "seconds_one_core": round(left.seconds),
        "input_bytes": left.input_bytes,
        "output_bytes": round(left.bytes),
        "memory_gb": left.memory_gb,
    }
