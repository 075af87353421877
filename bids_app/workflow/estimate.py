"""What is left of a session in numbers: tasks, seconds, memory, bytes read and written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bids_app.inputs.series import Series
from bids_app.outputs.products import PRODUCTS
from bids_app.workflow.context import RunContext
from bids_app.workflow.costs import SESSION, CostModel, series_megavoxels, task_megavoxels
from bids_app.workflow.graph import MEMORY_GB, memory_gb
from bids_app.workflow.plan import SessionPlan, Task

#: Compressed bytes per byte (guesses): masks, and float32 images of brains.
_MASK_RATIO, _IMAGE_RATIO = 0.02, 0.5
#: Compressed bytes of an affine transform, a sidecar, a row of tables.
_SMALL_BYTES = 1500


@dataclass
class StepEstimate:
    """The tasks of one step: seconds on one processor, and the memory of the heaviest."""

    tasks: int = 0
    seconds: float = 0.0
    memory_gb: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What is left to do of a session.

    Attributes
    ----------
    seconds
        On one processor (and one GPU where masks are made on one), one task after another.
    bytes, files
        That will be written.
    read_products
        Bytes of products that tasks read.
    raw_reads, raw_sizes
        How often tasks read the raw image of each series, and its bytes.
    memory_gb
        What its heaviest task declares.
    """

    tasks: Counter[str]
    seconds: float
    bytes: float
    memory_gb: float
    steps: dict[str, StepEstimate] = field(default_factory=dict)
    files: int = 0
    read_products: float = 0.0
    raw_reads: tuple[int, ...] = ()
    raw_sizes: tuple[int, ...] = ()

    @property
    def read_bytes(self) -> float:
        """Bytes that tasks read: the raw images, some of them several times, and the products of earlier tasks."""
        return self.read_products + sum(n * size for n, size in zip(self.raw_reads, self.raw_sizes, strict=True))

    @property
    def input_bytes(self) -> int:
        """Bytes of the accepted raw images."""
        return sum(self.raw_sizes)


def estimate(plan: SessionPlan, context: RunContext, model: CostModel) -> Estimate:
    """Time on one core, disk and memory for what is left of a session, one task after another."""
    todo = [plan.tasks[name] for name in plan.tasks if name in plan.todo]
    steps: dict[str, StepEstimate] = {}
    sizes = {task.name: _bytes(task, plan, context) for task in plan.tasks.values()} if todo else {}
    reads = Counter(task.series.name for task in todo if _reads_raw(task))
    for task in todo:
        cost, voxels = model.of(task, context), task_megavoxels(task, plan, context)
        step = steps.setdefault(task.step, StepEstimate())
        step.tasks += 1
        step.seconds += cost.seconds_of(voxels)
        step.memory_gb = max(step.memory_gb, cost.memory_gb_of(voxels) or memory_gb(task, context))
    seconds = sum(step.seconds for step in steps.values()) + (model.seconds(SESSION) if todo else 0.0)
    return Estimate(
        Counter(task.step for task in todo),
        seconds,
        sum(sizes[task.name] for task in todo),
        max((memory_gb(task, context) for task in todo), default=0.0),
        steps,
        2 * sum(len(task.targets) for task in todo),  # each with its sidecar
        sum(sizes.get(name, 0.0) for task in todo for name in {file.task for file in task.files.values()}),
        tuple(reads[series.name] for series in plan.session.series),
        raw_sizes(plan.session.series),
    )


def with_template(
    left: Estimate, todo: Counter[str], sessions: int, reference: Series, context: RunContext, model: CostModel
) -> Estimate:
    """What is left of a session, and with it of its participant's within-subject template (`todo`, by step)."""
    voxels, steps, added = series_megavoxels(reference), dict(left.steps), 0.0
    atlas = f"atlas:{context.settings.atlas_registration}"
    for step, cost, times in (("template", "coregister", _registrations(sessions)), ("atlas", atlas, todo["atlas"])):
        if todo[step]:
            seconds = times * model.costs[cost].seconds_of(voxels)
            memory = max(model.costs[cost].memory_gb_of(voxels), MEMORY_GB[step])
            sofar = steps.get(step, StepEstimate())
            steps[step] = StepEstimate(sofar.tasks + todo[step], sofar.seconds + seconds, max(sofar.memory_gb, memory))
            added += seconds
    files = (2 + sessions) * todo["template"] + todo["atlas"]
    images = 1e6 * voxels * np.dtype(np.float32).itemsize * (_IMAGE_RATIO + _MASK_RATIO) * todo["template"]
    return replace(
        left, tasks=left.tasks + todo, steps=steps, seconds=left.seconds + added,
        bytes=left.bytes + images + files * _SMALL_BYTES, files=left.files + 2 * files,
        memory_gb=max([left.memory_gb, *(MEMORY_GB[step] for step in todo)]),
    )  # fmt: skip


def _registrations(sessions: int) -> int:
    """How often a template of so many sessions registers: pairs with one of them in both directions, two rounds."""
    return 2 * (sessions - 1) + 2 * sessions


def _reads_raw(task: Task) -> bool:
    """Whether a task reads the raw image; one that is given another image in its stead has its hash in the key only."""
    return "image" not in task.files and any(name.startswith("raw:") for name in task.parents)


def raw_sizes(series: Sequence[Series]) -> tuple[int, ...]:
    """Bytes of the series' raw images."""
    return tuple(_size(one) for one in series)


def _size(series: Series) -> int:
    try:
        return series.path.stat().st_size
    except OSError:  # it went away since the walk
        return 0


def _bytes(task: Task, plan: SessionPlan, context: RunContext) -> float:
    """Bytes that a task writes."""
    voxels = 1e6 * task_megavoxels(task, plan, context)
    return sum(_SMALL_BYTES + voxels * each for each in _bytes_per_voxel(task))


def _bytes_per_voxel(task: Task) -> Iterable[float]:
    for target in task.targets.values():
        row = PRODUCTS[target.product]
        if row.extension != ".nii.gz":
            yield 0.0
            continue
        dtype = row.dtype or (task.series.header.dtype if task.series.header else "float32")
        ratio = _MASK_RATIO if row.suffix in ("mask", "dseg") else _IMAGE_RATIO
        yield np.dtype(dtype).itemsize * ratio
