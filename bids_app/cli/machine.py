"""What this process may use of the machine: the control groups' limits, not the machine's size.

A process is in a control group below others (of its container, its SLURM job, its user), and the limits of all of them
hold: the smallest counts. With version 1 of control groups each controller has a hierarchy of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MOUNT = Path("/sys/fs/cgroup")
#: Lines such as `0::/system.slice/job_1` (version 2) and `4:memory:/job_1` (version 1).
_OWN = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """Processors that this process may run on, by its affinity and its control groups' quotas."""
    count = len(os.sched_getaffinity(0))
    quotas = [_read(folder / "cpu.max").split() for folder in _groups("")]  # "quota period", in microseconds
    quotas += [
        [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")] for folder in _groups("cpu")
    ]  # fmt: skip
    for quota in quotas:
        if len(quota) == 2 and all(number.isdigit() for number in quota):  # "max" and -1 are no limit
            count = min(count, int(quota[0]) // max(1, int(quota[1])))
    return max(1, count)


def available_memory_gb() -> float:
    """Memory that this process may use: the smallest limit of its control groups or what the machine has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_read(folder / "memory.max") for folder in _groups("")]
    limits += [_read(folder / "memory.limit_in_bytes") for folder in _groups("memory")]
    return min([total, *(int(limit) for limit in limits if limit.isdigit())]) / 2**30


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the control groups that this process is in, from its own to the root; version 2 is "".

    In a container the root may be its own group, below which there is nothing of the path: such folders are not there.
    """
    mount = _MOUNT / controller
    for line in _read(_OWN).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(",") and ".." not in PurePosixPath(path).parts:
            below = PurePosixPath(path.lstrip("/"))
            yield from (mount / one for one in (below, *below.parents))
    yield mount  # also where the path is not to be had, or is beside what is mounted here


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
