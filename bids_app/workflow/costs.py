"""What a step costs in seconds and memory, as a function of voxels: the model that dry runs and plans stand on.

Each cost is a constant and a rate, `fixed + rate * megavoxels`, where the voxels are those of the grid that the step
works on (`task_megavoxels`). What ships was measured on one machine, mostly by `bids_app calibrate`, which
writes the model of a machine to `BIDS_APP_HOME/costs.json`, where dry runs find it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.assets import Space, space_grid
from bids_app.exit_codes import NO_INPUT, USAGE
from bids_app.inputs.errors import InputError
from bids_app.inputs.series import Series
from bids_app.settings import Settings
from bids_app.workflow.context import RunContext
from bids_app.workflow.plan import SessionPlan, Task
from bids_app.workflow.plan.tissue import TISSUE

#: Name of the model under `BIDS_APP_HOME`.
FILE = "costs.json"
_SHIPPED = "data/costs.json"
#: Not of a step: what a session costs beside its tasks (reading, planning, Nipype, tables), and a participant's page.
SESSION, PAGE = "session", "page"


class CostError(Exception):
    """A cost model that does not know a step; no fault of a session's."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = USAGE


@dataclass(frozen=True)
class Cost:
    """`seconds` on one processor and peak memory of a task: a constant, and a rate by a million voxels."""

    seconds: float
    seconds_per_megavoxel: float = 0.0
    memory_gb: float = 0.0
    memory_gb_per_megavoxel: float = 0.0

    def seconds_of(self, megavoxels: float) -> float:
        return self.seconds + self.seconds_per_megavoxel * megavoxels

    def memory_gb_of(self, megavoxels: float) -> float:
        return self.memory_gb + self.memory_gb_per_megavoxel * megavoxels


#: Transforms that are composed and not searched for.
_COMPOSED = Cost(0.3)


@dataclass(frozen=True)
class CostModel:
    """The costs by their names (`cost_name`), and in words where they come from."""

    costs: Mapping[str, Cost]
    source: str

    def of(self, task: Task, context: RunContext) -> Cost:
        """The cost of a task; that of its step in general where its method was never measured."""
        if "through" in task.parameters:
            return _COMPOSED
        name = cost_name(task, context)
        found = self.costs.get(name) or self.costs.get(name.split(":")[0])
        if found is None:
            raise CostError(f"the cost model ({self.source}) has no {name}; make it anew with bids_app calibrate")
        return found

    def seconds(self, name: str) -> float:
        """The constant cost of what is no task."""
        return self.costs[name].seconds if name in self.costs else 0.0


@dataclass(frozen=True)
class Sample:
    """A task that was measured."""

    name: str
    megavoxels: float
    seconds: float
    memory_gb: float = 0.0


def cost_name(task: Task, context: RunContext) -> str:
    """What a task's cost is called: its step, with the method and where it computes when that matters."""
    if task.step == "atlas":
        return f"atlas:{context.settings.atlas_registration}"
    if task.step == "segment" and task.variant == TISSUE:
        return f"segment:{TISSUE}"
    if task.step != "mask":
        return task.step
    extraction = context.extraction_for(task.series)
    if extraction.method != "hd-bet":
        return f"mask:{extraction.method}"
    mirrored = ":mirroring" if extraction.mirroring else ""
    return f"mask:hd-bet:{extraction.device.split(':')[0]}{mirrored}"


def task_megavoxels(task: Task, plan: SessionPlan, context: RunContext) -> float:
    """Millions of voxels of the grid that a task works on."""
    reference = plan.reference.series if plan.reference else task.series
    if task.step in ("coregister", "atlas") or task.space.kind == "native":
        return series_megavoxels(task.series)
    if task.space.kind == "atlas":
        atlas = next(each for each in context.spaces if each.output == task.space)
        return _grid_megavoxels(atlas.space)
    if task.space.kind == "isotropic" and task.series.header:
        finer = math.prod(task.series.header.spacing_mm) / context.settings.isotropic_mm**3
        return series_megavoxels(task.series) * finer
    return series_megavoxels(reference)


def series_megavoxels(series: Series) -> float:
    """Millions of voxels of a series; 0 where its header is not known."""
    return math.prod(series.header.shape) / 1e6 if series.header else 0.0


@cache
def _grid_megavoxels(space: Space) -> float:
    """Of an atlas' grid; its image is read once, not for every task."""
    return math.prod(space_grid(space)[0]) / 1e6


def fit(samples: Sequence[Sample]) -> Cost:
    """The constant and the rate of tasks of one name: least squares, neither below zero.

    Memory is an envelope, not a mean: no sample needs more than the model says.
    """
    voxels = np.array([one.megavoxels for one in samples])
    seconds = _line(voxels, np.array([one.seconds for one in samples]))
    peaks = np.array([one.memory_gb for one in samples])
    memory = _line(voxels, peaks)
    above = float((peaks - memory[0] - memory[1] * voxels).max())
    return Cost(*(round(value, 4) for value in (*seconds, memory[0] + max(above, 0.0), memory[1])))


def _line(x: Any, y: Any) -> tuple[float, float]:
    """Constant and rate of least squares, neither below zero: on the border of what is allowed where it must be."""
    if np.ptp(x) < 1e-9:  # one size: there is no rate to be found
        return float(y.mean()), 0.0
    rate, constant = np.polyfit(x, y, 1)
    if rate < 0:
        return float(y.mean()), 0.0
    if constant < 0:
        return 0.0, float((x * y).sum() / (x * x).sum())
    return float(constant), float(rate)


def find_costs(settings: Settings, path: Path | None = None) -> CostModel:
    """The model in a file, else that of `BIDS_APP_HOME`, else the one that ships.

    Raises
    ------
    InputError
        The file that was asked for is not there (66), or one holds no cost model (64).
    """
    if path is not None:
        return read_costs(path)
    calibrated = settings.app_home / FILE if settings.app_home else None
    if calibrated is not None and calibrated.is_file():
        return read_costs(calibrated)
    content = resources.files("bids_app").joinpath(_SHIPPED).read_text(encoding="utf-8")
    return _parsed(content, "what ships with bids_app; bids_app calibrate measures this machine")


def read_costs(path: Path) -> CostModel:
    """The model in a file."""
    try:
        return _parsed(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise InputError(f"the cost model {path} cannot be read: {error.strerror}", NO_INPUT) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no cost model ({error}); make it with bids_app calibrate", USAGE) from None


def _parsed(content: str, source: str) -> CostModel:
    costs = {name: Cost(**entry) for name, entry in json.loads(content)["costs"].items()}
    for name, cost in costs.items():
        if not all(
            isinstance(value, int | float) and math.isfinite(value) and value >= 0 for value in vars(cost).values()
        ):
            raise ValueError(f"{name} has a number that is none, or below 0")
    return CostModel(costs, source)


def costs_as_json(costs: Mapping[str, Cost], measured: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of costs holds; `measured` says how they were found."""
    return {"measured": dict(measured), "costs": {name: asdict(cost) for name, cost in sorted(costs.items())}}
