"""What this process may use of the machine: the control group's limits, not the machine's size."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """Processors that this process may run on, by its affinity and its control group's quota."""
    count = len(os.sched_getaffinity(0))
    quota = _read("cpu.max").split()  # cgroup v2: "quota period", in microseconds
    if len(quota) == 2 and quota[0].isdigit():
        count = min(count, max(1, int(quota[0]) // int(quota[1])))
    return max(1, count)


def available_memory_gb() -> float:
    """Memory that this process may use: the control group's limit or what the machine has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("memory.max")  # cgroup v2
    if limit.isdigit():
        total = min(total, int(limit))
    return total / 2**30


def _read(name: str) -> str:
    try:
        return (_CGROUP / name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
