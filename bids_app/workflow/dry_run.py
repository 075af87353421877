"""What a run would do, without doing it: sessions, series, the reference, what is rejected and why, time and disk."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from rich.console import Console

from bids_app.assets import Space, space_grid
from bids_app.inputs.dataset import Dataset, Selection, walk
from bids_app.inputs.errors import InputError
from bids_app.inputs.series import Series, Session
from bids_app.outputs.manifest import InputRecord, manifest_path, read_manifest, stamp_of
from bids_app.outputs.products import PRODUCTS
from bids_app.workflow.context import RunContext
from bids_app.workflow.graph import memory_gb
from bids_app.workflow.plan import SessionPlan, Task, plan_session

#: Seconds that a task takes: medians of 15 real and 8 demo series on two busy cores, so on the high side.
SECONDS = {
    "mask": 20.0,
    "segment": 15.0,  # a guess
    "deface": 2.0,
    "lesion": 0.5,
    "bias": 4.0,
    "coregister": 4.0,
    "atlas": 8.0,
    "resample": 1.3,
    "normalize": 1.1,
    "measure": 4.0,
}  # fmt: skip
#: Seconds of HD-BET without mirroring on a core and on a GPU: guesses, until they are measured.
_HD_BET_SECONDS = {"cpu": 400.0, "cuda": 5.0}
#: Seconds of the network that ships, at 256 x 256 x 256 or less, on two busy cores.
_SYNTH_SECONDS = 5.0
#: Compressed bytes per byte (guesses): masks, and float32 images of brains.
_MASK_RATIO, _IMAGE_RATIO = 0.02, 0.5


@dataclass(frozen=True)
class Estimate:
    """What is left to do of a session."""

    tasks: Counter[str]
    seconds: float
    bytes: float
    memory_gb: float


def dry_run(dataset: Dataset, selection: Selection, context: RunContext, console: Console, *, as_json: bool) -> int:
    """Print the plan of every selected session. The exit code is 0, or 18 when nothing matches."""
    sessions = [_planned(session, context) for session in walk(dataset, selection)]
    if as_json:
        print(json.dumps({"sessions": [_as_dict(*each, context) for each in sessions]}, indent=2))
    else:
        for session, plan in sessions:
            for line in _lines(session, plan, context):
                console.print(line, soft_wrap=True, markup=False)
        _total([plan for _, plan in sessions], context, console)
    return 0 if any(plan.session.series for _, plan in sessions) else 18


def _planned(session: Session, context: RunContext) -> tuple[Session, SessionPlan]:
    manifest = read_manifest(manifest_path(context.settings.output_dir, session.subject, session.session))
    inputs = {}
    for series in session.series:
        known = manifest.inputs.get(series.relative)
        try:
            if known is None or known.stamp != stamp_of(series.path, known.sha256):
                known = InputRecord("", "not read yet")
        except OSError:  # it went away since the walk: the run will say so
            known = InputRecord("", "not read yet")
        inputs[series.relative] = known
    try:
        return session, plan_session(session, inputs, manifest, context)
    except InputError as error:  # one session without the reference that was asked for
        told = tuple(replace(series, rejection=str(error)) for series in session.series)
        return session, SessionPlan(replace(session, series=(), rejected=(*session.rejected, *told)), None)


def estimate(plan: SessionPlan, context: RunContext) -> Estimate:
    """Time on one core, disk and memory for what is left of a session, one task after another."""
    todo = [plan.tasks[name] for name in plan.tasks if name in plan.todo]
    seconds = sum(_seconds(task, context) for task in todo)
    size = sum(_bytes(task, plan, context) for task in todo)
    memory = max((memory_gb(task, context) for task in todo), default=0.0)
    return Estimate(Counter(task.step for task in todo), seconds, size, memory)


def _seconds(task: Task, context: RunContext) -> float:
    extraction = context.extraction_for(task.series)
    if task.step == "mask" and extraction.method == "hd-bet":
        return _HD_BET_SECONDS[extraction.device.split(":")[0]] * (8 if extraction.mirroring else 1)
    if task.step == "mask" and extraction.method == "shared":
        return SECONDS["lesion"]
    if task.step == "mask" and extraction.method == "synth":
        return _SYNTH_SECONDS
    return SECONDS[task.step]


def _bytes(task: Task, plan: SessionPlan, context: RunContext) -> float:
    reference = plan.reference.series if plan.reference else task.series
    if task.space.kind == "atlas":
        atlas = next(each for each in context.spaces if each.label == task.space.label)
        voxels = _grid_voxels(atlas.space)
    else:
        voxels = _voxels(reference if task.space.kind == "reference" else task.series)
    if task.space.kind == "isotropic" and task.series.header:
        voxels *= math.prod(task.series.header.spacing_mm) / context.settings.isotropic_mm**3
    total = 0.0
    for target in task.targets.values():
        row = PRODUCTS[target.product]
        if row.extension == ".nii.gz":
            dtype = row.dtype or (task.series.header.dtype if task.series.header else "float32")
            size = np.dtype(dtype).itemsize
            is_mask = row.suffix in ("mask", "dseg")
            total += voxels * size * (_MASK_RATIO if is_mask else _IMAGE_RATIO)
    return total


@cache
def _grid_voxels(space: Space) -> float:
    """Voxels of an atlas' grid; its image is read once, not for every task."""
    return float(np.prod(space_grid(space)[0]))


def _voxels(series: Series) -> float:
    return float(np.prod(series.header.shape)) if series.header else 0.0


def _lines(session: Session, plan: SessionPlan, context: RunContext) -> Iterator[str]:
    left = estimate(plan, context)
    work = ", ".join(f"{count} {step}" for step, count in left.tasks.items()) or "nothing: finished"
    yield f"{session.label}: {len(session.series)} series, to do: {work}"
    ranks = dict(plan.reference.runners_up) if plan.reference else {}
    for series in plan.session.series:
        chosen = plan.reference is not None and series.name == plan.reference.series.name
        mark = "reference" if chosen else "series"
        why = f" (rule: {plan.reference.rule})" if chosen and plan.reference else f" ({ranks.get(series.name, '')})"
        mask = context.extraction_for(series).method
        title = f" as {series.name}" if series.title else ""
        yield f"  {mark:<9}  {series.relative}{title}{why if why != ' ()' else ''}, mask: {mask}"
    for series in plan.session.rejected:
        yield f"  rejected   {series.relative}{f' as {series.name}' if series.title else ''}: {series.rejection}"
    for lesion in plan.session.lesions:
        yield f"  lesion     {lesion.relative}: drawn on {lesion.series}"


def _total(plans: list[SessionPlan], context: RunContext, console: Console) -> None:
    estimates = [estimate(plan, context) for plan in plans]
    seconds, size = sum(each.seconds for each in estimates), sum(each.bytes for each in estimates)
    rejected = sum(len(plan.session.rejected) for plan in plans)
    series = sum(len(plan.session.series) for plan in plans)
    console.print(
        f"{len(plans)} sessions, {series} series, {rejected} rejected. About {seconds / 60:.0f} min on one core, "
        f"{seconds / 60 / context.settings.nprocs:.0f} min on {context.settings.nprocs}; "
        f"{size / 2**20:.0f} MB of output (rough estimates)",
        soft_wrap=True,
    )


def _as_dict(session: Session, plan: SessionPlan, context: RunContext) -> dict[str, Any]:
    left = estimate(plan, context)
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
                "behind_reference": dict(plan.reference.runners_up).get(series.name) if plan.reference else None,
                "warnings": list(series.warnings),
            }
            for series in plan.session.series
        ],
        "rejected": [{"path": series.relative, "reason": series.rejection} for series in plan.session.rejected],
        "tasks": dict(left.tasks),
        "seconds_one_core": round(left.seconds),
        "output_bytes": round(left.bytes),
        "memory_gb": left.memory_gb,
    }
