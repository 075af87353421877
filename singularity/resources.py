"""What the tasks of an array have to ask a scheduler for, from the dry run of the whole dataset.

In the container: bids_app ... --dry-run --json | python resources.py --shards N --cpus C

Prints the options of sbatch, or nothing where no shard has anything left to do. One request serves all tasks of an
array, so it is that of the largest shard.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from bids_app.inputs.dataset import shard_of

#: The dry run's seconds are medians: other machines are slower, and some series take longer.
TIME_FACTOR = 3.0
#: Minutes for the start of container and workers, and for SLURM's signal ahead of the limit.
EXTRA_MINUTES = 10
#: Memory (GB) beside the steps': the run's own process and the container.
EXTRA_GB = 1.0


def request(sessions: Iterable[Mapping[str, Any]], shards: int, cpus: int) -> tuple[list[int], int, int]:
    """Shards with work, and the minutes and whole GB that the largest of them needs on `cpus` processors.

    Sessions are done side by side, one on each processor; no session is done faster than one processor does it.
    """
    total: dict[int, float] = defaultdict(float)
    longest = memory_gb = 0.0
    for session in sessions:
        if not session["tasks"]:
            continue
        total[shard_of(session["participant"], shards)] += session["seconds_one_core"]
        longest = max(longest, session["seconds_one_core"])
        memory_gb = max(memory_gb, session["memory_gb"])
    seconds = max([longest, *(each / cpus + longest for each in total.values())])
    minutes = math.ceil((TIME_FACTOR * seconds / 60 + EXTRA_MINUTES) / 10) * 10
    return sorted(total), minutes, math.ceil(cpus * memory_gb + EXTRA_GB)


def ranges(numbers: list[int]) -> str:
    """Numbers as an array's indices: `1-3,5`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def main() -> None:
    """Read the dry run's JSON and print the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--cpus", type=int, required=True)
    arguments = parser.parse_args()
    sessions = json.load(sys.stdin)["sessions"]
    busy, minutes, memory_gb = request(sessions, arguments.shards, arguments.cpus)
    if busy:
        print(
            f"--array={ranges(busy)} --time={minutes // 60:02d}:{minutes % 60:02d}:00 --mem={memory_gb}G "
            f"--cpus-per-task={arguments.cpus}"
        )


if __name__ == "__main__":
    main()
