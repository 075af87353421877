"""Nodes of one session side by side, where a node whose process is killed costs itself and what stands on it alone.

Nipype's MultiProc keeps one pool of processes for all nodes. When one of them is killed, which is what running out of
memory does, Python gives up the whole pool, and Nipype waits for ever for results that will not come.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exception
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

from bids_app.workflow.fork_server import start_fork_server
from bids_app.workflow.pool import die_with_parent, name_process

#: What a process that runs nodes is called.
NODE = "bids_app node"


@dataclass(frozen=True)
class _Task:
    node: str
    executor: ProcessPoolExecutor
    future: Future[dict[str, Any]]


class SafeMultiProcPlugin(MultiProcPlugin):
    """MultiProc with an executor of one process for each node that runs; an executor is used again while it is whole.

    Takes the arguments of MultiProc, as `plugin_args`; give an instance to `Workflow.run(plugin=...)`. The processes
    end with the one that runs the workflow, whatever ends that one. It has to be run by a thread that lasts as long as
    its process: to the kernel, the thread that started a process is its parent.

    Attributes
    ----------
    killed
        Names of the nodes whose process was killed under them.
    """

    def __init__(self, plugin_args: dict[str, Any] | None = None) -> None:
        super().__init__(plugin_args=plugin_args)
        self.pool.shutdown()  # Nipype's own, in which no process was started yet
        self.killed: set[str] = set()
        self._tasks: dict[int, _Task] = {}
        self._idle: list[ProcessPoolExecutor] = []
        self._context = multiprocessing.get_context(self.plugin_args.get("mp_context", "forkserver"))
        if self._context.get_start_method() == "forkserver":
            start_fork_server()  # where it does not run yet

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run the graph to its end.

        Raises
        ------
        BrokenProcessPool
            A node's process was killed; the others were run nevertheless.
        RuntimeError
            A node failed.
        """
        try:
            super().run(graph, config, updatehash)
        except Exception as error:
            if self.killed:
                raise BrokenProcessPool(f"killed: {', '.join(sorted(self.killed))}") from error
            raise
        finally:  # nodes that still run come to their end first: what they publish is whole
            for executor in [*self._idle, *(task.executor for task in self._tasks.values())]:
                executor.shutdown()

    # what Nipype's loop asks of a plugin; all of it runs in the loop's thread

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        while True:
            executor = self._idle.pop() if self._idle else self._executor()
            try:
                future = executor.submit(run_node, node, updatehash, self._taskid)
            except BrokenProcessPool:  # its process was killed while it had nothing to do
                continue
            self._tasks[self._taskid] = _Task(node.name, executor, future)
            return self._taskid

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        """What became of a task; nothing while it runs."""
        task = self._tasks[taskid]
        if not task.future.done():
            return None
        error = task.future.exception()
        if error is None:
            return task.future.result()
        if isinstance(error, BrokenProcessPool):
            self.killed.add(task.node)
        return {"result": None, "traceback": format_exception(error), "taskid": taskid}

    def _clear_task(self, taskid: int) -> None:
        task = self._tasks.pop(taskid)
        if isinstance(task.future.exception(), BrokenProcessPool):
            task.executor.shutdown()
        else:
            self._idle.append(task.executor)

    def _postrun_check(self) -> None:
        """Nothing: `run` ends the executors, also after an error."""

    def _executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self._context, _prepare_node_process, (str(Path.cwd()),))


def _prepare_node_process(folder: str) -> None:
    die_with_parent()
    name_process(NODE)
    process_initializer(folder)
