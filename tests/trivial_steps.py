"""Steps that cost nothing, in the place of the real ones: what is left of a run is the app's own work.

Everything else is real: the walk, the locks, the workers, the plan, Nipype's graph, the atomic writing of each file
with its sidecar, the manifests and the tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bids_app.workflow import run

#: What every step makes: a few bytes, which no later step reads.
CONTENT = b"made by no step"


def _nothing(step: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {role: (CONTENT, {}) for role in step.task.targets}, {}


def prepare_worker(threads: int, work: Path) -> None:
    """In a worker: as `run.prepare_worker`, and the steps are trivial."""
    run_prepare_worker(threads, work)
    from bids_app.workflow.interfaces import INTERFACES

    for interface in INTERFACES.values():
        interface.compute = _nothing  # type: ignore[method-assign]


run_prepare_worker = run.prepare_worker


def take_over() -> None:
    """Let the runs of this process give trivial steps to their workers."""
    run.prepare_worker = prepare_worker
