"""The limits of control groups, in made-up trees of their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bids_app.cli import machine

GB = 2**30
JOB = "system.slice/slurmstepd.scope/job_1/step_0"


def _tree(root: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: Mapping[str, object]) -> None:
    for name, content in files.items():
        (root / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "cgroup" / name).write_text(f"{content}\n")
    (root / "own").write_text(own)
    monkeypatch.setattr(machine, "_MOUNT", root / "cgroup")
    monkeypatch.setattr(machine, "_OWN", root / "own")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 64 * GB // 4096)


@pytest.mark.parametrize(
    ("own", "files", "gb", "cpus"),
    [
        ("0::/\n", {"memory.max": 8 * GB, "cpu.max": "300000 100000"}, 8, 3),
        (f"0::/{JOB}\n", {f"{JOB}/memory.max": 4 * GB, f"{JOB}/cpu.max": "200000 100000"}, 4, 2),
        (
            f"0::/{JOB}\n",
            {f"{JOB}/memory.max": "max", "system.slice/memory.max": 6 * GB, f"{JOB}/cpu.max": "max 100000",
             "system.slice/cpu.max": "50000 100000"},
            6, 1,
        ),
        (
            "9:name=systemd:/\n4:memory:/job/step\n1:cpu,cpuacct:/job\n0::/\n",
            {"memory/job/step/memory.limit_in_bytes": 9223372036854771712, "memory/job/memory.limit_in_bytes": 5 * GB,
             "cpu/job/cpu.cfs_quota_us": 400000, "cpu/job/cpu.cfs_period_us": 100000, "cpu/cpu.cfs_quota_us": -1},
            5, 4,
        ),
        # a container that sees its own group as the root, and the host's path
        ("4:memory:/docker/abc\n", {"memory/memory.limit_in_bytes": 7 * GB}, 7, 16),
        ("0::/../other\n", {"memory.max": 9 * GB}, 9, 16),
        ("", {"memory.max": 3 * GB}, 3, 16),
        ("0::/gone\n", {}, 64, 16),
    ],
    ids=["root", "nested", "above", "version 1", "container", "beside", "no path", "nothing"],
)  # fmt: skip
def test_the_smallest_limit_of_all_groups_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: Mapping[str, object], gb: int, cpus: int
) -> None:
    _tree(tmp_path, monkeypatch, own, files)
    assert machine.available_memory_gb() == gb
    assert machine.available_cpus() == cpus
