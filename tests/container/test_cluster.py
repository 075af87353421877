"""A real SLURM of one node: shards, blocks and requeued tasks end with the images of one run outside."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from container.engines import ONE, WORDS, call, images_of, of_one, writable

#: Seconds that a job may take on a busy machine.
_PATIENCE = 1800


def _submit(sources: Path, environment: Mapping[str, str], logs: Path, *words: object) -> str:
    """Submit by slurm_array.sh and wait for the end; what it said, with the jobs' logs."""
    logs.mkdir(exist_ok=True)
    more = {**environment, "SBATCH_WAIT": "1"}
    done = call([sources / "singularity" / "slurm_array.sh", *words], cwd=logs, more=more, seconds=_PATIENCE)
    text = done.stdout + "".join(path.read_text() for path in sorted(logs.glob("*.log")))
    assert done.returncode == 0, text
    return text


def test_six_shards_give_what_one_run_gives(
    slurm: dict[str, str], sources: Path, small: Path, outside: dict[str, str], scratch: Path
) -> None:
    out = writable(scratch / "slurm-out")
    said = _submit(sources, slurm, scratch / "slurm-logs", 6, small, out, *WORDS)
    assert images_of(out) == outside
    assert re.search(r"--array=1-6 --time=00:\d0:00 --mem=3G", said)
    again = _submit(sources, slurm, scratch / "slurm-logs", 6, small, out, *WORDS)
    assert "nothing is left to do" in again


def test_two_blocks_give_what_one_run_gives(
    slurm: dict[str, str], sources: Path, small: Path, outside: dict[str, str], scratch: Path
) -> None:
    """Masks and defacing in one array (here without a GPU: --comment stands for --gres), the rest in a second."""
    out, logs = writable(scratch / "blocks-out"), scratch / "blocks-logs"
    environment = {**slurm, "BIDS_APP_GPU": "--comment=gpu"}
    said = _submit(sources, environment, logs, 2, small, out, *ONE, *WORDS)
    assert "--steps mask deface --participant" in said
    assert re.search(r"--dependency=afterany:\d+ .* --steps lesion bias coregister", said)
    assert images_of(out) == of_one(outside)


def test_a_task_that_is_told_to_end_is_put_back_and_goes_on(
    slurm: dict[str, str], sources: Path, small: Path, outside: dict[str, str], scratch: Path
) -> None:
    out, logs = writable(scratch / "requeued-out"), scratch / "requeued-logs"
    logs.mkdir()
    words = [sources / "singularity" / "slurm_array.sh", 1, small, out, *ONE, *WORDS]
    said = call(words, cwd=logs, more=slurm)
    job = said.stdout.split()[-1]
    environment = {**os.environ, **slurm}
    _wait_until(lambda: len(list(out.glob("sub-*/**/*.nii.gz"))) > 3)
    # what SLURM does itself ahead of a time limit (--signal=B:TERM@120)
    subprocess.run(["scancel", "--batch", "--signal=TERM", f"{job}_1"], env=environment, check=True)
    log = logs / f"bids_app-{job}_1.log"
    _wait_until(lambda: "ended with 75" in log.read_text())
    assert len(images_of(out)) < len(of_one(outside))

    def shown() -> str:
        return call(["scontrol", "show", "job", job], more=slurm).stdout

    # SLURM starts it again after two minutes. A few seconds are enough: one that starts in the second in which it was
    # put back is refused by the node, which knows its credential as revoked
    _wait_until(lambda: "JobState=PENDING" in shown() and "BeginTime" in shown())
    time.sleep(10)
    call(["scontrol", "update", f"JobId={job}_1", "StartTime=now"], more=slurm)
    _wait_until(lambda: "JobState=COMPLETED" in shown() and "start 1" in log.read_text())
    assert images_of(out) == of_one(outside)


def _wait_until(what: object) -> None:
    end = time.monotonic() + _PATIENCE
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.5)
