"""One session, from its raw files to its products: inspect, plan, run the graph, account for what happened."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bids_app.inputs.content import check_content, file_sha256
from bids_app.inputs.errors import InputError
from bids_app.inputs.series import Session
from bids_app.outputs.manifest import (
    InputRecord,
    damaged_files,
    manifest_path,
    read_manifest,
    record_inputs,
    remove_outdated,
    stamp_of,
)
from bids_app.outputs.names import session_folder
from bids_app.outputs.series_table import write_series_table
from bids_app.outputs.writer import remove_partial_files, write_bytes
from bids_app.workflow.context import RunContext
from bids_app.workflow.plan import SessionPlan, plan_session

#: Told what a session does: its label, the name of a task, and "start", "end" or "exception".
Report = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Failure:
    """Something that did not come to its end: which series, at which step, and why, in words for a user."""

    session: str
    series: str
    step: str
    message: str


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


@dataclass(frozen=True)
class _Scratch:
    """A session's own work folder."""

    root: Path
    failures: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "failures", self.root / "failures")
        self.failures.mkdir(parents=True, exist_ok=True)


def finished_session(session: Session, context: RunContext) -> SessionResult | None:
    """The result of a session of which nothing is left to do; told from headers and the manifest, no image is read."""
    output = context.settings.output_dir
    manifest = read_manifest(manifest_path(output, session.subject, session.session))
    try:
        unchanged = all(
            series.relative in manifest.inputs and manifest.inputs[series.relative].stamp == stamp_of(series.path)
            for series in session.series
        )
        if not unchanged:
            return None
        plan = plan_session(session, manifest.inputs, manifest, context)
    except (OSError, InputError):
        return None
    if plan.todo or not session.series or (session.series and plan.reference is None):
        return None
    reference = plan.reference.series.name if plan.reference else ""
    return SessionResult(session.label, 0, len(plan.tasks), reference=reference, rejected=len(plan.session.rejected))


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
    scratch = _Scratch(Path(tempfile.mkdtemp(prefix=f"{session.label}-", dir=work)))  # mode 0700
    try:
        result = _run(session, context, scratch, nprocs, report)
    finally:
        shutil.rmtree(scratch.root, ignore_errors=True)
    return replace(result, seconds=time.monotonic() - began)


def _run(session: Session, context: RunContext, scratch: _Scratch, nprocs: int, report: Report) -> SessionResult:
    output = context.settings.output_dir
    where = manifest_path(output, session.subject, session.session)
    remove_partial_files(output / session_folder(session.subject, session.session))
    remove_partial_files(where.parent)
    inputs = inspect_inputs(session, read_manifest(where).inputs)
    failures: dict[str, Failure] = {}
    not_reference: frozenset[str] = frozenset()
    done: set[str] = set()
    while True:
        try:
            plan = plan_session(session, inputs, read_manifest(where), context, not_reference)
        except InputError as error:
            return SessionResult(session.label, failures=(Failure(session.label, "", "walk", str(error)),))
        record_inputs(where, inputs)
        plan = _repair(plan, context, where)
        before = plan.todo
        if plan.todo - set(plan.blocked):
            _execute(plan, context, scratch, nprocs, report)
        plan = plan_session(session, inputs, read_manifest(where), context, not_reference)
        done |= before - plan.todo
        failures |= _failures(session, plan, scratch)
        lost = _lost_reference(plan)
        if lost is None:
            break
        not_reference |= {lost}
    if plan.reference is not None:
        names = frozenset(series.name for series in (*session.series, *session.rejected))
        remove_outdated(output, where, names, plan.reference.series.name)
    _write_errors(session, context, scratch, failures)
    write_series_table(plan.session, plan.reference, read_manifest(where), _messages(failures), output)
    return SessionResult(
        session.label,
        len(done),
        len(plan.tasks) - len(plan.todo) - len(done & set(plan.tasks)),
        (*failures.values(), *_unusable(session, inputs)),
        reference=plan.reference.series.name if plan.reference else "",
        rejected=len(plan.session.rejected),
    )


def inspect_inputs(session: Session, known: Mapping[str, InputRecord]) -> dict[str, InputRecord]:
    """Hash and read each accepted series, unless it is unchanged since the last time."""
    result = {}
    for series in session.series:
        stamp = stamp_of(series.path)
        record = known.get(series.relative)
        if record is None or record.stamp != stamp:
            _, problem = check_content(series)
            record = InputRecord(stamp, file_sha256(series.path), problem)
        result[series.relative] = record
    return result


def _execute(plan: SessionPlan, context: RunContext, scratch: _Scratch, nprocs: int, report: Report) -> None:
    """Run the graph; what fails is told by the files that it leaves, not by Nipype's error."""
    from nipype import config

    from bids_app.workflow.graph import init_session_wf, node_name

    crashes = scratch.root / "crashes"
    crashes.mkdir(exist_ok=True)
    stop = str(context.settings.stop_on_first_crash).lower()
    config.update_config({"execution": {"crashdump_dir": str(crashes), "stop_on_first_crash": stop}})
    workflow = init_session_wf(plan, context, scratch.root, scratch.failures)
    names = {node_name(name): name for name in plan.todo}
    label = plan.session.label

    def told(node: Any, status: str) -> None:
        report(label, names.get(node.name, node.name), status)

    plugin, arguments = _plugin(context, nprocs)
    try:
        workflow.run(plugin=plugin, plugin_args={**arguments, "status_callback": told})
    except Exception as error:  # Nipype raises one error for all failed nodes; each left its own message
        logging.getLogger("bids_app").debug("session %s: %s", label, error)
        if "abruptly" in str(error) or type(error).__name__ == "BrokenProcessPool":
            (scratch.failures / "killed").write_text("", encoding="utf-8")


def _plugin(context: RunContext, nprocs: int) -> tuple[str, dict[str, Any]]:
    """Nipype's plugin: the user's, else Linear, or MultiProc where the session has processors to spare."""
    settings = context.settings
    if settings.nipype_plugin_file is not None:
        import yaml

        content = yaml.safe_load(settings.nipype_plugin_file.read_text(encoding="utf-8"))
        return content["plugin"], dict(content.get("plugin_args", {}))
    if nprocs <= 1:
        return "Linear", {}
    arguments: dict[str, Any] = {"n_procs": nprocs, "raise_insufficient": False, "mp_context": "forkserver"}
    if settings.mem_gb is not None:
        arguments["memory_gb"] = settings.mem_gb
    return "MultiProc", arguments


def _repair(plan: SessionPlan, context: RunContext, where: Path) -> SessionPlan:
    """Before new work stands on finished tasks, verify the files that it will read; what is damaged is done again."""
    manifest = read_manifest(where)
    read = {file.task for name in plan.todo for file in plan.tasks[name].files.values()} - plan.todo
    output = context.settings.output_dir
    damaged = {name for name in read if name in manifest.tasks and damaged_files(output, manifest.tasks[name])}
    damaged &= set(plan.tasks)
    if not damaged:
        return plan
    return replace(plan, todo=plan.todo | damaged)


def _failures(session: Session, plan: SessionPlan, scratch: _Scratch) -> dict[str, Failure]:
    """Why each unfinished task was not done: its own error, or that of what it stands on."""
    told = {}
    for path in sorted(scratch.failures.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        told[content["task"]] = content["message"]
    killed = (scratch.failures / "killed").exists()
    result: dict[str, Failure] = {}
    for name in (name for name in plan.tasks if name in plan.todo):
        task = plan.tasks[name]
        if name in told:
            message = told[name]
        elif name in plan.blocked:
            step = plan.blocked[name].split("/")[0]
            message = f"it needs {plan.blocked[name]}, which no run has made; add {step} to --steps"
        elif any(file.task in plan.todo for file in task.files.values()):
            continue  # what it stands on is named already
        elif killed:
            message = "its process was killed, most likely for memory; give --mem-gb or a smaller --nprocs"
        else:
            message = "it was not run: the session was stopped before"
        result[name] = Failure(session.label, task.series.name, task.step, message)
    return result


def _unusable(session: Session, inputs: Mapping[str, InputRecord]) -> list[Failure]:
    """Series whose header was good and whose content was not: an error of the dataset, told at the end of the run."""
    return [
        Failure(session.label, series.name, "read", inputs[series.relative].problem or "")
        for series in session.series
        if inputs[series.relative].problem
    ]


def _lost_reference(plan: SessionPlan) -> str | None:
    """The reference, when it failed before it could serve as one and another series could take its place."""
    if plan.reference is None or len(plan.session.series) < 2:
        return None
    name = plan.reference.series.name
    broken = any(f"{step}/{name}" in plan.todo for step in ("mask", "deface", "bias"))
    others = any(f"bias/{series.name}" not in plan.todo for series in plan.session.series if series.name != name)
    return name if broken and others and f"bias/{name}" in plan.tasks else None


def _messages(failures: Mapping[str, Failure]) -> dict[str, str]:
    """The failures of each series in one line."""
    result: dict[str, str] = {}
    for failure in failures.values():
        text = f"{failure.step}: {failure.message}"
        result[failure.series] = f"{result[failure.series]}; {text}" if failure.series in result else text
    return result


def _write_errors(session: Session, context: RunContext, scratch: _Scratch, failures: Mapping[str, Failure]) -> None:
    """Tracebacks of failed tasks, with the folders of this machine taken out, beside the manifest."""
    output = context.settings.output_dir
    where = manifest_path(output, session.subject, session.session).parent / "errors.txt"
    if not failures:
        where.unlink(missing_ok=True)
        return
    texts = []
    for path in sorted(scratch.failures.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        texts.append(f"{content['task']}: {content['message']}\n\n{content['traceback']}")
    texts += [f"{name}: {failure.message}" for name, failure in failures.items()]
    text = "\n\n".join(texts)
    package = str(Path(__file__).resolve().parents[2])
    for folder, name in (
        (str(context.settings.bids_dir), "BIDS_DIR"), (str(output), "OUTPUT_DIR"), (str(scratch.root), "WORK"),
        (package, "."),
    ):  # fmt: skip
        text = text.replace(folder, name)
    write_bytes(where, text.encode())
