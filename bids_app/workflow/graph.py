"""The session graph: one Nipype node for each unfinished task, connected by the files that flow between them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bids_app.workflow.context import RunContext
from bids_app.workflow.plan import SessionPlan, Task

if TYPE_CHECKING:
    from nipype.pipeline.engine import Node, Workflow

#: Memory (GB) that a node of each step declares. Peaks measured on a 256 x 256 x 256 volume of 1 mm, each in a process
#: of its own: mask 1.3, deface 1.6, bias 0.7, coregister 0.7, atlas 0.7 (SyN 0.8), resample 0.4, normalize 0.6; the
#: rest is for what a worker has loaded before.
MEMORY_GB = {
    "mask": 2.0,
    "deface": 2.0,
    "bias": 1.5,
    "coregister": 1.5,
    "atlas": 1.5,
    "resample": 1.5,
    "normalize": 1.5,
    "segment": 2.0,  # the benchmark of the network peaked at 1.5 with everything loaded
}
#: Measured with a small network in HD-BET's place: 4.0; not yet with one of its real size.
HD_BET_MEMORY_GB = 6.0


def init_session_wf(plan: SessionPlan, context: RunContext, work: Path, failures: Path) -> Workflow:
    """Build the workflow of a session.

    Parameters
    ----------
    plan
        Its unfinished tasks become nodes; a finished task's files are read from the output.
    work
        Folder of the workflow's own files; no image is ever written there.
    failures
        Folder in which a failed task leaves its message.
    """
    from nipype.pipeline.engine import Workflow

    workflow = Workflow(name="session", base_dir=str(work))
    nodes: dict[str, Node] = {}
    for name, task in plan.tasks.items():
        if name not in plan.todo or name in plan.blocked:
            continue
        if any(file.task in plan.todo and file.task not in nodes for file in task.files.values()):
            continue  # what it reads is blocked
        node = nodes[name] = _node(task, context, failures)
        workflow.add_nodes([node])
        for field, file in task.files.items():
            if file.task in nodes:
                workflow.connect(nodes[file.task], file.role, node, field)
            elif file.task not in plan.todo:
                setattr(node.inputs, field, str(context.settings.output_dir / file.path))
    return workflow


def node_name(task: str) -> str:
    """A task's name as Nipype allows it for a node."""
    return re.sub(r"[^A-Za-z0-9]+", "_", task)


def memory_gb(task: Task, context: RunContext) -> float:
    """The memory that a task declares."""
    if task.step == "mask" and context.extraction_for(task.series).method == "hd-bet":
        return HD_BET_MEMORY_GB
    return MEMORY_GB[task.step]


def _node(task: Task, context: RunContext, failures: Path) -> Node:
    from nipype.pipeline.engine import Node

    from bids_app.workflow.interfaces import INTERFACES

    interface = INTERFACES[task.step](task=task, context=context, failures=str(failures))
    return Node(
        interface,
        name=node_name(task.name),
        mem_gb=memory_gb(task, context),
        n_procs=context.settings.omp_nthreads,
    )
