"""Processes that are killed, as by a machine short of memory: a run ends, says so, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE, Running, parent_of, wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="processes are found in /proc")

STEPS = ("--steps", "mask", "deface", "bias")
#: One session with four series, whose nodes run side by side.
ONE_SESSION = ("--participant-label", "01", "--nprocs", "2", *STEPS)
#: Two sessions, each in a worker of its own.
TWO_SESSIONS = ("--participant-label", "02", "--nprocs", "2", *STEPS)

Start = Callable[..., Running]


@pytest.fixture
def start(small_demo: Path, tmp_path: Path) -> Iterator[Start]:
    """Start the command on the demo with given masks; whatever happens, nothing of it outlives the test."""
    runs: list[Running] = []

    def begin(*words: str) -> Running:
        masks = ("--masks", small_demo / "derivatives" / "truth")
        runs.append(Running.start(small_demo, tmp_path / "out", *words, *masks, scratch=tmp_path))
        return runs[-1]

    yield begin
    for run in runs:
        run.clear()


def _verify(output: Path) -> int:
    command = [sys.executable, "-m", "bids_app", "verify", str(output)]
    return subprocess.run(command, check=False, timeout=PATIENCE, capture_output=True).returncode


def test_a_killed_node_is_told_and_done_again(start: Start) -> None:
    run = start(*ONE_SESSION)
    os.kill(wait_for(run.nodes)[0], signal.SIGKILL)
    code, text = run.end()
    assert code == 1, text
    assert "its process was killed" in text
    assert "memory" in text
    wait_for(lambda: not run.processes())
    assert run.published(), "what does not stand on the killed node is there"

    code, text = start(*ONE_SESSION).end()
    assert code == 0, text
    assert _verify(run.output) == 0


def test_a_killed_worker_costs_its_own_session_alone(start: Start) -> None:
    run = start(*TWO_SESSIONS)
    workers = wait_for(lambda: run.workers() if len(run.workers()) == 2 else None)
    os.kill(workers[0], signal.SIGKILL)
    code, text = run.end()
    assert code == 1, text
    assert text.count("its process was killed (signal 9)") == 1, text
    wait_for(lambda: not run.processes())
    corrected = [path for path in run.published() if path.name.endswith(("_T1w.nii.gz", "_FLAIR.nii.gz"))]
    assert len({path.relative_to(run.output).parts[1] for path in corrected}) == 1, "the other session"
    assert len([path for path in corrected if "_desc-preproc_" in path.name]) == 2, "all of it"
    assert _verify(run.output) == 0


def test_sigterm_ends_everything_and_the_next_run_goes_on(start: Start) -> None:
    run = start(*ONE_SESSION)
    wait_for(run.published)
    os.kill(run.process.pid, signal.SIGTERM)
    code, text = run.end()
    assert code == 75, text
    assert "sub-01" in text
    wait_for(lambda: not run.processes())
    assert run.partial() == []

    code, text = start(*ONE_SESSION).end()
    assert code == 0, text
    assert run.partial() == []
    assert _verify(run.output) == 0


@pytest.mark.parametrize("victim", ["run", "worker", "fork server"])
def test_nothing_outlives_what_started_it(start: Start, victim: str) -> None:
    run = start(*ONE_SESSION)
    node = wait_for(run.nodes)[0]
    (worker,) = run.workers()
    pid = {"run": run.process.pid, "worker": worker, "fork server": parent_of(node)}[victim]
    os.kill(pid, signal.SIGKILL)
    if victim == "fork server":
        wait_for(lambda: node not in run.processes())
        return
    code, text = run.end()
    assert code == (-signal.SIGKILL if victim == "run" else 1), text
    wait_for(lambda: not run.processes())


def _value(name: str) -> str:
    import os
    import signal

    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "failed":
        raise ValueError(name)
    return name


def _graph(folder: Path) -> Any:
    """A chain that goes well, a node that is killed, one that fails, and one that stands on each of these."""
    from nipype.interfaces.utility import Function
    from nipype.pipeline.engine import Node, Workflow

    def node(name: str) -> Node:
        interface = Function(input_names=["name"], output_names=["value"], function=_value)
        return Node(interface, name=name, mem_gb=0.1)

    workflow = Workflow(name="graph", base_dir=str(folder))
    workflow.config["execution"] = {"crashdump_dir": str(folder), "poll_sleep_duration": 0.05}
    for first in ("well", "killed", "failed"):
        workflow.connect(node(first), "value", node(f"after_{first}"), "name")
        workflow.get_node(first).inputs.name = first
    return workflow


def test_a_killed_node_costs_what_stands_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bids_app.workflow.plugin import SafeMultiProcPlugin

    monkeypatch.chdir(tmp_path)
    told: set[tuple[str, str]] = set()
    arguments = {
        "n_procs": 3, "memory_gb": 1, "mp_context": "forkserver", "raise_insufficient": False,
        "status_callback": lambda node, status: told.add((node.name, status)),
    }  # fmt: skip
    plugin = SafeMultiProcPlugin(arguments)
    with pytest.raises(BrokenProcessPool, match="killed"):
        _graph(tmp_path).run(plugin=plugin)
    assert plugin.killed == {"killed"}
    assert told == {
        ("well", "start"), ("well", "end"), ("after_well", "start"), ("after_well", "end"),
        ("killed", "start"), ("killed", "exception"), ("failed", "start"), ("failed", "exception"),
    }  # fmt: skip
