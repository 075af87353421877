"""One session, from its raw files to its products: inspect, plan, run the graph, account for what happened."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bids_app.inputs.content import check_content, file_sha256
from bids_app.inputs.errors import InputError
from bids_app.inputs.headers import unreadable
from bids_app.inputs.lesions import check_lesion
from bids_app.inputs.series import Series, Session
from bids_app.outputs.leftovers import remove_leftovers
from bids_app.outputs.lesions_table import write_lesions_table
from bids_app.outputs.manifest import (
    InputRecord,
    Manifest,
    damaged_files,
    manifest_path,
    read_manifest,
    record_inputs,
    record_table,
    remove_outdated,
    stamp_of,
)
from bids_app.outputs.scans_table import write_scans_table
from bids_app.outputs.series_table import write_series_table
from bids_app.outputs.volumes_table import write_volumes_table
from bids_app.workflow.context import RunContext
from bids_app.workflow.failures import (
    Failure,
    failures_of,
    in_words,
    messages_by_series,
    unreadable_series,
    unusable_series,
    write_errors,
)
from bids_app.workflow.fork_server import start_fork_server, start_method
from bids_app.workflow.plan import SessionPlan, Task, plan_session
from bids_app.workflow.plan.tissue import TISSUE
from bids_app.workflow.profile import TaskTime, times_in

#: Told what a session does: its label, the name of a task, and "start", "end" or "exception".
Report = Callable[[str, str, str], None]


@dataclass(frozen=True)
class SessionResult:
    """What became of a session."""

    label: str
    done: int = 0
    unchanged: int = 0
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0
    reference: str = ""
    rejected: int = 0
    times: tuple[TaskTime, ...] = ()


@dataclass(frozen=True)
class _Scratch:
    """A session's own work folder."""

    root: Path
    failures: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "failures", self.root / "failures")
        self.failures.mkdir(parents=True, exist_ok=True)


def finished_session(session: Session, context: RunContext) -> SessionResult | None:
    """The result of a session of which nothing is left to do, told from headers and the manifest; no image is read.

    What needs no worker is done here: outputs of series that are gone are removed, the table is brought up to date.
    """
    where = manifest_path(context.settings.output_dir, session.subject, session.session)
    manifest = read_manifest(where)
    try:
        read = [(one.relative, one.path) for one in session.series]
        read += [(one.relative, one.path) for one in session.lesions]
        for relative, path in read:
            record = manifest.inputs.get(relative)
            if record is None or record.problem or record.stamp != stamp_of(path, record.sha256):
                return None
        aside = _inputs_set_aside(session, manifest.inputs)
        refused = {series.relative for series in session.rejected if not series.unreadable}
        if refused & set(manifest.inputs) - set(aside):  # another image took the place of one that was processed
            return None
        plan = plan_session(session, manifest.inputs, manifest, context)
    except (OSError, InputError):
        return None
    if plan.todo or plan.reference is None:
        return None
    write_errors(where.parent / "errors.txt", {}, unreadable_series(session), session, context.settings)
    _close(session, plan, context, where, (), manifest)
    return _result(session, plan, manifest.inputs, 0, ())


def run_session(session: Session, context: RunContext, work: Path, nprocs: int, report: Report) -> SessionResult:
    """Do what is left of a session.

    Parameters
    ----------
    work
        Folder in which the session gets a private folder of its own, removed at the end.
    nprocs
        Nodes that may run side by side.
    """
    began = time.monotonic()
    if nprocs > context.settings.omp_nthreads and context.settings.nipype_plugin_file is None:
        start_fork_server()
    scratch = _Scratch(Path(tempfile.mkdtemp(prefix=f"{session.label}-", dir=work)))  # mode 0700
    try:
        result = _run(session, context, scratch, nprocs, report)
        times = times_in(scratch.root / "times")
    finally:
        shutil.rmtree(scratch.root, ignore_errors=True)
    return replace(result, seconds=time.monotonic() - began, times=times)


def _run(session: Session, context: RunContext, scratch: _Scratch, nprocs: int, report: Report) -> SessionResult:
    output = context.settings.output_dir
    where = manifest_path(output, session.subject, session.session)
    remove_leftovers(output, session.label)
    known = read_manifest(where).inputs
    inputs = inspect_inputs(session, known)
    record_inputs(where, {**_inputs_set_aside(session, known), **inputs})
    failures: dict[str, Failure] = {}
    not_reference: frozenset[str] = frozenset()
    done: set[str] = set()
    while True:
        try:
            plan = plan_session(session, inputs, read_manifest(where), context, not_reference)
        except InputError as error:
            return SessionResult(session.label, failures=(Failure(session.label, "", "reference", str(error)),))
        plan = _without_damage(plan, context, where)
        before, blocked = plan.todo, plan.blocked
        if before - set(blocked):
            _execute(plan, context, scratch, nprocs, report)
        plan = plan_session(session, inputs, read_manifest(where), context, not_reference)
        plan = replace(plan, blocked={**plan.blocked, **blocked})
        done |= before - plan.todo
        failures |= failures_of(plan, scratch.failures, _made_otherwise(plan, output, where))
        lost = _lost_reference(plan)
        if lost is None:
            break
        not_reference |= {lost}
    failed = _not_needed_to_measure(plan, context, scratch)
    if failed:
        rest = plan_session(session, inputs, read_manifest(where), context, not_reference, failed)
        measures = _can_do_without(rest)
        _execute(replace(rest, todo=measures), context, scratch, nprocs, report)
        plan = plan_session(session, inputs, read_manifest(where), context, not_reference, failed)
        plan = replace(plan, blocked={**plan.blocked, **blocked})
        done |= measures - plan.todo
        failures |= failures_of(plan, scratch.failures, _made_otherwise(plan, output, where))
    try:
        errors = where.parent / "errors.txt"
        unusable = unusable_series(session, inputs)
        broken = [*unreadable_series(session), *unusable]
        write_errors(errors, failures, broken, session, context.settings, scratch.failures, scratch.root)
        _close(session, plan, context, where, [*unusable, *failures.values()])
    except OSError as error:  # the disk is full by now, say: what is whole stays, and the reasons are told
        failures["close"] = Failure(session.label, "", "table", *in_words(error))
    return _result(session, plan, inputs, len(done), tuple(failures.values()))


def _close(
    session: Session,
    plan: SessionPlan,
    context: RunContext,
    where: Path,
    failures: Iterable[Failure],
    known: Manifest | None = None,
) -> None:
    """Remove what is outdated, and write the tables; `known` is the manifest where it was read just now."""
    output = context.settings.output_dir
    problems = any(one.problem for one in (known or read_manifest(where)).inputs.values())
    if plan.reference is not None or not (problems or any(series.unreadable for series in session.rejected)):
        names = frozenset(series.name for series in (*session.series, *session.rejected))
        aside = frozenset(series.name for series in session.rejected if not series.unreadable)
        reference = plan.reference.series.name if plan.reference else ""
        lesions = frozenset(lesion.series for lesion in session.lesions) | aside
        defaces = context.settings.deface and "deface" in context.settings.steps
        defacing = frozenset(series.name for series in session.series if defaces)
        if remove_outdated(output, where, names, reference, aside, known, lesions, defacing):
            known = None
    manifest, messages = known or read_manifest(where), messages_by_series(failures)
    name, content = write_series_table(plan.session, plan.reference, manifest, messages, output)
    record_table(where, name, content, known)
    record_table(where, *write_scans_table(plan.session, manifest, output), known)
    record_table(where, *write_lesions_table(plan.session, manifest, output), known)
    for table in write_volumes_table(plan.session, plan.reference, manifest, output):
        record_table(where, *table, known)


def _result(
    session: Session,
    plan: SessionPlan,
    inputs: Mapping[str, InputRecord],
    done: int,
    failures: tuple[Failure, ...],
) -> SessionResult:
    """A session's account. A series whose content cannot be used is a failure in every run, until it is mended."""
    return SessionResult(
        session.label,
        done,
        len(plan.tasks) - len(plan.todo) - done,
        (*failures, *unusable_series(session, inputs)),
        reference=plan.reference.series.name if plan.reference else "",
        rejected=sum(not series.unreadable for series in plan.session.rejected),
    )


def _inputs_set_aside(session: Session, known: Mapping[str, InputRecord]) -> dict[str, InputRecord]:
    """What is known of the files that this run was told to leave out: their outputs stay valid while they do."""
    return {
        series.relative: record
        for series in session.rejected
        if not series.unreadable and (record := known.get(series.relative)) and _is_unchanged(series.path, record)
    }


def _is_unchanged(path: Path, record: InputRecord) -> bool:
    try:
        return record.stamp == stamp_of(path, record.sha256)
    except OSError:
        return True  # it cannot be looked at now: what is known of it stands


def inspect_inputs(session: Session, known: Mapping[str, InputRecord]) -> dict[str, InputRecord]:
    """Hash and read each accepted series, unless it was good the last time and is unchanged since.

    What could not be used is read again: the trouble may have been the disk's or the memory's.
    """
    result: dict[str, InputRecord] = {}
    for series in session.series:
        if series.relative not in result:  # a 4-D file is more than one series
            check = partial(_problem_of, series)
            result[series.relative] = _inspected(series.path, known.get(series.relative), check)
    by_name = {series.name: series for series in session.series}
    for lesion in session.lesions:
        series = by_name[lesion.series]
        if all(result[file].problem is None for file in series.files if file in result):
            check = partial(check_lesion, lesion, series)
            result[lesion.relative] = _inspected(lesion.path, known.get(lesion.relative), check)
    return result


def _problem_of(series: Series) -> str | None:
    return check_content(series)[1]


def _inspected(path: Path, record: InputRecord | None, check: Callable[[], str | None]) -> InputRecord:
    try:
        if record is None or record.problem or record.stamp != stamp_of(path, record.sha256):
            problem = check()
            content = file_sha256(path)
            record = InputRecord(stamp_of(path, content), content, problem)
    except OSError as error:  # it went away or broke since the walk
        record = InputRecord("", "", unreadable(error))
    except MemoryError:
        record = InputRecord("", "", "it does not fit into the memory; use a machine with more, or fewer --nprocs")
    return record


def _not_needed_to_measure(plan: SessionPlan, context: RunContext, scratch: _Scratch) -> frozenset[str]:
    """What failed and kept numbers from being measured that can do without it; none where the run is to stop."""
    if context.settings.stop_on_first_crash or (scratch.failures / "killed").exists():
        return frozenset()
    waiting = [plan.tasks[name] for name in plan.todo if _does_without(plan.tasks[name])]
    read = [file.task for task in waiting for field, file in task.files.items() if field not in ("brain_mask", "image")]
    return frozenset(read) & plan.todo


def _can_do_without(plan: SessionPlan) -> frozenset[str]:
    """The tasks that can do without what failed, and of which all that they still read is there or among them."""
    names = {name for name in plan.todo if _does_without(plan.tasks[name])}
    while True:
        lacking = plan.todo - names
        kept = {name for name in names if not any(file.task in lacking for file in plan.tasks[name].files.values())}
        if kept == names:
            return frozenset(names)
        names = kept


def _does_without(task: Task) -> bool:
    """Whether a task measures, or says why there is no tissue segmentation."""
    return task.step == "measure" or task.variant == TISSUE


def _execute(plan: SessionPlan, context: RunContext, scratch: _Scratch, nprocs: int, report: Report) -> None:
    """Run the graph; what fails is told by the files that it leaves, not by Nipype's error."""
    from nipype import config

    from bids_app.workflow.graph import init_session_wf, node_name
    from bids_app.workflow.plugin import SafeMultiProcPlugin

    crashes = scratch.root / "crashes"
    crashes.mkdir(exist_ok=True)
    stop = str(context.settings.stop_on_first_crash).lower()
    config.update_config({"execution": {"crashdump_dir": str(crashes), "stop_on_first_crash": stop}})
    names = {node_name(name): name for name in plan.todo}
    label = plan.session.label

    def told(node: Any, status: str) -> None:
        report(label, names.get(node.name, node.name), status)

    plugin, arguments = _plugin(context, nprocs)
    try:
        workflow = init_session_wf(plan, context, scratch.root, scratch.failures)
        arguments = {**arguments, "status_callback": told}
        runner = SafeMultiProcPlugin(arguments) if plugin == "MultiProc" else plugin
        workflow.run(plugin=runner, plugin_args=arguments)
    except Exception as error:  # Nipype raises one error for all failed nodes; each left its own message
        logging.getLogger("bids_app").debug("session %s: %s", label, error)
        if "abruptly" in str(error) or type(error).__name__ == "BrokenProcessPool":
            (scratch.failures / "killed").write_text("", encoding="utf-8")
        else:
            (scratch.failures / "graph").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")


def _plugin(context: RunContext, nprocs: int) -> tuple[str, dict[str, Any]]:
    """Nipype's plugin: the user's, else Linear, or MultiProc where the session has processors to spare."""
    settings = context.settings
    if settings.nipype_plugin_file is not None:
        import yaml

        content = yaml.safe_load(settings.nipype_plugin_file.read_text(encoding="utf-8"))
        return content["plugin"], dict(content.get("plugin_args", {}))
    if nprocs <= settings.omp_nthreads:
        return "Linear", {}
    arguments: dict[str, Any] = {"n_procs": nprocs, "raise_insufficient": False, "mp_context": start_method()}
    if settings.mem_gb is not None:
        arguments["memory_gb"] = settings.mem_gb
    return "MultiProc", arguments


def _without_damage(plan: SessionPlan, context: RunContext, where: Path) -> SessionPlan:
    """Before new work stands on finished tasks, verify the files that it will read.

    What is damaged is done again, or, where its step was not chosen, blocks what would read it.
    """
    manifest, output = read_manifest(where), context.settings.output_dir
    todo, blocked = set(plan.todo), dict(plan.blocked)
    verified: set[str] = set()
    while True:
        read = {file.task for name in todo if name in plan.tasks for file in plan.tasks[name].files.values()}
        new = (read & set(manifest.tasks)) - todo - verified
        if not new:
            return replace(plan, todo=frozenset(todo), blocked=blocked)
        verified |= new
        damaged = {name for name in new if damaged_files(output, manifest.tasks[name].files)}
        todo |= damaged & set(plan.tasks)
        for name in todo:
            for file in plan.tasks[name].files.values():
                if file.task in damaged - set(plan.tasks):
                    blocked[name] = file.task


def _made_otherwise(plan: SessionPlan, output: Path, where: Path) -> frozenset[str]:
    """What the plan lacks although an earlier run made it and it is whole: it was made with other options."""
    tasks, missing = read_manifest(where).tasks, set(plan.blocked.values())
    return frozenset(name for name in missing & set(tasks) if not damaged_files(output, tasks[name].files))


def _lost_reference(plan: SessionPlan) -> str | None:
    """The reference, when it failed before it could serve as one and another series could take its place."""
    if plan.reference is None or len(plan.session.series) < 2:
        return None
    name = plan.reference.series.name
    broken = any(f"{step}/{name}" in plan.todo for step in ("mask", "deface", "bias"))
    others = any(f"bias/{series.name}" not in plan.todo for series in plan.session.series if series.name != name)
    return name if broken and others and f"bias/{name}" in plan.tasks else None
