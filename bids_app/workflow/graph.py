"""The session graph: one Nipype node for each unfinished task, connected by the files that flow between them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bids_app.workflow.context import Extraction, RunContext
from bids_app.workflow.plan import SessionPlan, Task

if TYPE_CHECKING:
    from nipype.pipeline.engine import Node, Workflow

#: Memory (GB) that a node of each step declares. Peaks measured on a 256 x 256 x 256 volume of 1 mm, each in a process
#: of its own: mask 1.3, deface 1.6, bias 0.7, coregister 0.7, atlas 0.7 (SyN 0.8), resample 0.4, normalize 0.6, measure
#: 0.7; template 0.7 (two sessions of 3 mm slices; a guess for larger ones); the rest is for what a worker has loaded.
MEMORY_GB = {
    "mask": 2.0,
    "deface": 2.0,
    "lesion": 1.0,
    "denoise": 1.5,
    "bias": 1.5,
    "coregister": 1.5,
    "template": 2.0,
    "atlas": 1.5,
    "resample": 1.5,
    "normalize": 1.5,
    "measure": 1.5,
    "vbm": 1.5,
    "regions": 1.5,
    "thickness": 3.0,
    "segment": 2.0,  # the benchmark of the network peaked at 1.5 with everything loaded
}
#: The same for HD-BET by what computes it; peaks with a network of its real size: torch 3.9, OpenVINO 3.2 (float32). On
#: a GPU a worker only prepares and exports; that is a guess.
HD_BET_MEMORY_GB = {"torch": 6.0, "openvino": 4.0, "gpu": 3.0}


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
    extraction = context.extraction_for(task.series) if task.step == "mask" else None
    if extraction is not None and extraction.method == "hd-bet":
        return hd_bet_memory_gb(extraction)
    return MEMORY_GB[task.step]


def hd_bet_memory_gb(extraction: Extraction) -> float:
    """The memory that a mask by HD-BET declares."""
    on_gpu = extraction.device.startswith("cuda")
    return HD_BET_MEMORY_GB["gpu" if on_gpu else "openvino" if extraction.engine.startswith("openvino") else "torch"]


def workers(context: RunContext) -> int:
    """How many sessions run side by side: by processors, and by the memory of the largest of the run's steps."""
    settings = context.settings
    size = max(1, settings.nprocs // settings.omp_nthreads)
    if settings.mem_gb is None:
        return size
    heaviest = max((MEMORY_GB[step] for step in settings.steps if step in MEMORY_GB), default=1.0)
    extraction = context.default_extraction
    if extraction.method == "hd-bet" and "mask" in settings.steps:
        heaviest = max(heaviest, hd_bet_memory_gb(extraction))
    return max(1, min(size, int(settings.mem_gb // heaviest)))


def _node(task: Task, context: RunContext, failures: Path) -> Node:
    from nipype.pipeline.engine import Node

    from bids_app.workflow.interfaces import interface_of

    interface = interface_of(task)(task=task, context=context, failures=str(failures))
    return Node(
        interface,
        name=node_name(task.name),
        mem_gb=memory_gb(task, context),
        n_procs=context.settings.omp_nthreads,
    )
