"""Time and memory of exports by the number of studies: both must not grow faster, and not at all, with it.

    python benchmarks/exports.py [--studies 250 500 1000] [--nprocs 1] > exports.tsv

Studies are small (two series of 6 x 7 x 5 voxels), so that what is measured is the app's own part. Memory is the
largest resident set of the process. Exits with 1 where a study of the largest output takes more than
1.5 times as long as one of the smallest, or memory grows by more than 10 %.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from derivative_tree import Tree

FORMATS = {
    "mr-rate": (),
    "slices": ("--export-label", "brain"),
    "webdataset": ("--export-label", "brain", "--shard-mb", "1"),
    "nnunet": ("--export-label", "brain"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--nprocs", type=int, default=1)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    arguments = parser.parse_args()
    print("format\tstudies\tseconds\tprocessor_seconds\tms_a_study\tpeak_mb", flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        tree = Tree.at(Path(scratch))
        made = 0
        found: dict[str, list[tuple[float, float]]] = {}
        for count in sorted(arguments.studies):
            for number in range(made, count):
                tree.study(f"{number // 2:05d}", str(number % 2))
            made = count
            for name in arguments.formats:
                seconds, processor, peak_mb = _measured(tree, name, count, arguments.nprocs)
                print(f"{name}\t{count}\t{seconds:.1f}\t{processor:.1f}\t{1000 * processor / count:.1f}\t{peak_mb:.0f}",
                      flush=True)  # fmt: skip
                found.setdefault(name, []).append((processor / count, peak_mb))
    for (first, small), *_, (last, large) in (one for one in found.values() if len(one) > 1):
        failed |= last > 1.5 * first or large > 1.1 * small
    return int(failed)


def _measured(tree: Tree, name: str, count: int, nprocs: int) -> tuple[float, float, float]:
    """Seconds, processor seconds (of all processes) and the largest resident set of a process (MB)."""
    folder = tree.output / "exports" / f"{name}-{count}"
    command = [sys.executable, "-m", "bids_app", tree.bids, tree.output, "export", "--format", name]
    command += ["--export-key", tree.bids.parent / "key", "--export-dir", folder, "--nprocs", str(nprocs)]
    began = time.monotonic()
    process = subprocess.Popen([*map(str, command), *FORMATS[name]], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
