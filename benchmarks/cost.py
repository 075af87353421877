"""What a command costs: wall time, processor time and memory of it and all of its descendants."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PAUSE_S = 0.2
#: The kernel counts every page of a process, with its memory locked: 0.1 s for 4 GB. So it pauses for 20
#: times as long as it looked, or what is measured would pay for being watched.
_PAUSE_IN_LOOKS = 20
_SET_CHILD_SUBREAPER = 36  # prctl(2)
#: How long processes that outlive their command by a moment, such as the server that workers come from, are waited for.
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Cost:
    """What a way of doing something took."""

    wall_s: float
    cpu_s: float
    peak_gb: float


def measured(commands: list[list[str]], work: Path, environment: Mapping[str, str] | None = None) -> Cost:
    """Run commands one after another in `work`, which is their home too, and say what they took together.

    Raises
    ------
    SystemExit
        A command failed.
    """
    # Processes whose parent ends become our children, or their time would be nobody's.
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    inherited = {**os.environ, "HOME": str(work), **(environment or {})}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall, peak = 0.0, 0.0
    for command in commands:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=work, env=inherited, stdout=subprocess.DEVNULL)
        watch = _Memory(process.pid)
        watch.start()
        if process.wait() != 0:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        wall += time.monotonic() - began
        watch.ended.set()
        watch.join()
        _reap()
        peak = max(peak, watch.peak_gb)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak)


def _reap() -> None:
    """Take note of what descendants took that outlived the command."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # there is none left
            return
        if not ended:
            time.sleep(0.02)


class _Memory(threading.Thread):
    """Watches the memory of a process and its descendants: what they share is counted once."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.peak_gb = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        pause = _PAUSE_S
        while not self.ended.wait(pause):
            began = time.monotonic()
            self.peak_gb = max(self.peak_gb, sum(_memory_gb(one) for one in _family(self.process)))
            pause = max(_PAUSE_S, _PAUSE_IN_LOOKS * (time.monotonic() - began))


def _family(process: int) -> list[int]:
    found, new = [process], [process]
    while new:
        parent = new.pop()
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
        except OSError:  # it has ended
            continue
        found += children
        new += children
    return found


def _memory_gb(process: int) -> float:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0) / 1e6
