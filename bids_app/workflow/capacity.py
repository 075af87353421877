"""What a dataset costs on a number of machines: processor and GPU hours, wall time, bytes; in two blocks.

The first block (`mask`, `deface`) is the one that GPUs help; the second is for processors alone, and can run on other
machines (`docs/clusters.md`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bids_app.workflow.context import RunContext
from bids_app.workflow.costs import PAGE, SESSION, CostModel
from bids_app.workflow.estimate import Estimate
from bids_app.workflow.graph import workers

#: The steps of the first block; what else there is belongs to the second.
FIRST_BLOCK = ("mask", "deface")


@dataclass
class Totals:
    """Sums over the sessions of a dry run; nothing of a single session is kept.

    Attributes
    ----------
    longest
        Seconds of the longest session: no number of machines does it faster.
    """

    sessions: int = 0
    series: int = 0
    rejected: int = 0
    todo: int = 0
    participants: set[str] = field(default_factory=set)
    steps: dict[str, float] = field(default_factory=dict)
    memory_gb: dict[str, float] = field(default_factory=dict)
    input_bytes: float = 0.0
    output_bytes: float = 0.0
    read_bytes: float = 0.0
    files: int = 0
    seconds: float = 0.0
    longest: float = 0.0

    def add(self, participant: str, series: int, rejected: int, left: Estimate) -> None:
        """Count a session in."""
        self.sessions += 1
        self.series += series
        self.rejected += rejected
        self.input_bytes += left.input_bytes
        if not left.tasks:
            return
        self.todo += 1
        self.participants.add(participant)
        for name, step in left.steps.items():
            self.steps[name] = self.steps.get(name, 0.0) + step.seconds
            self.memory_gb[name] = max(self.memory_gb.get(name, 0.0), step.memory_gb)
        self.output_bytes += left.bytes
        self.read_bytes += left.read_bytes + left.input_bytes  # each raw image is read once more for its hash
        self.files += left.files
        self.seconds += left.seconds
        self.longest = max(self.longest, left.seconds)


@dataclass(frozen=True)
class Block:
    """Steps that run together: seconds of processors, and of GPUs, in all."""

    name: str
    cpu_seconds: float
    gpu_seconds: float = 0.0


def blocks_of(totals: Totals, context: RunContext, model: CostModel, factor: float = 1.0) -> tuple[Block, Block]:
    """The two blocks; `factor` times the dataset. A session's own overhead is in both: each block starts it anew."""
    on_gpu = context.default_extraction.method == "hd-bet" and context.default_extraction.device != "cpu"
    overhead = model.seconds(SESSION) * totals.todo
    first = {name: seconds for name, seconds in totals.steps.items() if name in FIRST_BLOCK}
    gpu = first.pop("mask", 0.0) if on_gpu else 0.0
    rest = sum(seconds for name, seconds in totals.steps.items() if name not in FIRST_BLOCK)
    pages = model.seconds(PAGE) * len(totals.participants) if "report" in context.settings.steps else 0.0
    return (
        Block("mask deface", factor * (sum(first.values()) + overhead * bool(first or gpu)), factor * gpu),
        Block("the other steps", factor * (rest + pages + overhead * bool(rest))),
    )


def plan_nodes(
    totals: Totals, context: RunContext, model: CostModel, nodes: Sequence[int], sessions: int | None = None
) -> dict[str, Any]:
    """The plan: hours of each block in all and on so many nodes like this one.

    Parameters
    ----------
    nodes
        Numbers of nodes, each with the run's `--nprocs` processors (and its GPU, where masks are made on one).
    sessions
        As if there were so many sessions like those that were found.

    Returns
    -------
    As JSON can hold it. Wall time is the mean load of a worker and the longest session, which may come last.
    """
    factor = sessions / totals.todo if sessions and totals.todo else 1.0
    side_by_side = workers(context)
    result: dict[str, Any] = {
        "sessions": round(totals.todo * factor),
        "workers_per_node": side_by_side,
        "read_bytes": round(totals.read_bytes * factor),
        "written_bytes": round(totals.output_bytes * factor),
        "written_files": round(totals.files * factor),
        "blocks": [],
    }
    for block in blocks_of(totals, context, model, factor):
        walls: Mapping[str, float] = {
            str(count): max(block.cpu_seconds / (count * side_by_side), block.gpu_seconds / count) + totals.longest
            for count in nodes
        }
        result["blocks"].append(
            {
                "steps": block.name,
                "cpu_hours": round(block.cpu_seconds / 3600, 3),
                "gpu_hours": round(block.gpu_seconds / 3600, 3),
                "wall_hours_by_nodes": {count: round(wall / 3600, 3) for count, wall in walls.items()},
            }
        )
    return result
