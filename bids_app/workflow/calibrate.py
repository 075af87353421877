"""Measuring what the steps cost on this machine: they run on computed heads, and a model is fitted to their times.

Times are of the processor, so that what else the machine does counts little; with several threads to a step, and for
masks on a GPU, which a processor waits for, they are those of the clock.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bids_app.exit_codes import SOME_FAILED
from bids_app.inputs.dataset import Selection, open_dataset, walk
from bids_app.inputs.demo import write_demo
from bids_app.inputs.series import Session
from bids_app.outputs.manifest import manifest_path, read_manifest
from bids_app.outputs.writer import json_bytes, write_bytes
from bids_app.settings import Settings
from bids_app.workflow.context import RunContext
from bids_app.workflow.costs import PAGE, SESSION, Cost, Sample, cost_name, costs_as_json, fit, task_megavoxels
from bids_app.workflow.pages import Page, write_page
from bids_app.workflow.plan import plan_session
from bids_app.workflow.prepare import SetupError, prepare
from bids_app.workflow.profile import TaskTime
from bids_app.workflow.run import prepare_worker
from bids_app.workflow.session import run_session
from bids_app.workflow.work_folder import private_work_folder


@dataclass(frozen=True)
class Calibration:
    """The costs by name, how many tasks each stands on, and how much longer the clock ran than the processor."""

    costs: Mapping[str, Cost]
    tasks: Mapping[str, int]
    clock_over_processor: float


def calibrate(settings: Settings, spacings_mm: Sequence[float], console: Console) -> Calibration:
    """Run the steps on the demo's heads at several voxel sizes and fit the costs.

    Parameters
    ----------
    settings
        Those of the runs that are to be foretold: the way to brain masks, the atlas registration, threads. Where its
        folders are is of no importance.
    spacings_mm
        Voxel edges of the heads (1 to 4); the finest decides how well large images are foretold.

    Raises
    ------
    SetupError
        A session failed: what would be fitted to the rest is no cost of whole sessions.
    """
    samples: list[Sample] = []
    beside: list[float] = []
    pages: list[float] = []
    clock = processor = 0.0
    for spacing in spacings_mm:
        with tempfile.TemporaryDirectory(prefix="bids_app-calibrate-") as folder:
            console.print(f"computed heads of {spacing:g} mm", highlight=False)
            place = Path(folder)
            write_demo(place / "data", spacing_mm=spacing)
            # nobody has these faces: in coarse voxels the face check may find one left, which costs the same
            here = replace(
                settings, bids_dir=place / "data", output_dir=place / "out", profile=True, nprocs=1, allow_face=True
            )
            context = prepare(here)
            for session, times, seconds in _run(context):
                told = _samples(session, times, context)
                samples += told
                beside.append(max(0.0, seconds - sum(one.cpu_s for one in times)))
                clock += sum(one.wall_s for one in times)
                processor += sum(one.cpu_s for one in times)
                line = f"  {session.label}: {len(told)} tasks, {seconds:.0f} s of the processor"
                console.print(line, highlight=False)
            pages += _pages(context)
    by_name = defaultdict(list)
    for one in samples:
        by_name[one.name].append(one)
    costs = {name: fit(of) for name, of in by_name.items()}
    costs[SESSION] = Cost(round(min(beside), 4))  # the first one loads libraries, too
    costs[PAGE] = Cost(round(min(pages), 4))
    return Calibration(costs, {name: len(of) for name, of in by_name.items()}, clock / processor if processor else 1.0)


def write_costs(path: Path, found: Calibration, earlier: Mapping[str, Cost], spacings_mm: Sequence[float]) -> None:
    """Write the model; what was not measured now (another way to brain masks, say) keeps its earlier costs."""
    measured: dict[str, Any] = {
        "spacings_mm": list(spacings_mm),
        "tasks": dict(sorted(found.tasks.items())),
        "clock_over_processor": round(found.clock_over_processor, 2),
    }
    write_bytes(path, json_bytes(costs_as_json({**earlier, **found.costs}, measured)))


def _run(context: RunContext) -> list[tuple[Session, tuple[TaskTime, ...], float]]:
    """Every session of the demo, in this process: its tasks' times and the processor's seconds in all."""
    from bids_app.workflow.prepare import create_output

    create_output(context.settings)
    result = []
    with private_work_folder(context.settings) as work:
        prepare_worker(context.settings.omp_nthreads, work)
        for session in walk(open_dataset(context.settings.bids_dir), Selection()):
            began = time.process_time()
            found = run_session(session, context, work, 1, lambda *_: None)
            if found.failures:
                why = "; ".join(f"{one.series} {one.step}: {one.message}" for one in found.failures)
                raise SetupError(f"calibrate: {session.label} failed ({why}); nothing was written", SOME_FAILED)
            result.append((session, found.times, time.process_time() - began))
    return result


def _samples(session: Session, times: Sequence[TaskTime], context: RunContext) -> list[Sample]:
    """What the tasks took, with the voxels that they worked on."""
    where = manifest_path(context.settings.output_dir, session.subject, session.session)
    manifest = read_manifest(where)
    plan = plan_session(session, manifest.inputs, manifest, context)
    result = []
    for one in times:
        task = plan.tasks[one.task]
        name = cost_name(task, context)
        by_clock = context.settings.omp_nthreads > 1 or "cuda" in name
        seconds = one.wall_s if by_clock else one.cpu_s
        result.append(Sample(name, task_megavoxels(task, plan, context), seconds, one.peak_gb))
    return result


def _pages(context: RunContext) -> list[float]:
    """The processor's seconds of each participant's page; the libraries are loaded before."""
    subjects = sorted({session.subject for session in walk(open_dataset(context.settings.bids_dir), Selection())})
    result = []
    for subject in (subjects[0], *subjects):
        began = time.process_time()
        write_page(Page(subject), context, context.settings.omp_nthreads)
        result.append(time.process_time() - began)
    return result[1:]
