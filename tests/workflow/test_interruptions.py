"""Runs that are stopped at any moment, run out of disk, or meet another run: nothing half-written, nothing lost."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import Running, signal_one, tree_of, wait_for
from runs import bids_app

from bids_app.inputs.demo import write_demo
from bids_app.outputs.lock import Locks
from bids_app.outputs.verify import verify_output

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="processes are found in /proc")

Start = Callable[..., Running]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo at 4 mm."""
    folder = tmp_path_factory.mktemp("tiny") / "data"
    write_demo(folder, spacing_mm=4.0)
    return folder


def _words(data: Path, *more: str, steps: tuple[str, ...] = ("mask", "deface")) -> tuple[str, ...]:
    """Both sessions of a participant, each in a worker of its own, in a few seconds."""
    masks = str(data / "derivatives" / "truth")
    return ("--participant-label", "02", "--nprocs", "2", "--masks", masks, "--steps", *steps, *more)


@pytest.fixture
def start(data: Path, tmp_path: Path) -> Iterator[Start]:
    """Start the command; whatever happens, nothing of it outlives the test."""
    runs: list[Running] = []

    def begin(*words: str, output: str = "out") -> Running:
        runs.append(Running.start(data, tmp_path / output, *(words or _words(data)), scratch=tmp_path))
        return runs[-1]

    yield begin
    for run in runs:
        run.clear()


def _nothing_half_written(output: Path, whole: dict[str, str]) -> None:
    """Every file under a final name is the one of an undisturbed run; a manifest can be at an earlier state."""
    for path in output.rglob("*") if output.is_dir() else ():
        name = path.relative_to(output).as_posix()
        if not path.is_file() or path.name.startswith(".partial-") or path.parent.name == ".locks":
            continue
        if path.name == "manifest.json":
            json.loads(path.read_text())
        elif path.name.endswith("_series.tsv"):  # written after each run; one that lost a worker has less to tell
            assert path.read_bytes().endswith(b"\n"), name
        elif path.name != "errors.txt":
            assert hashlib.sha256(path.read_bytes()).hexdigest() == whole[name], name


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments(start: Start, tmp_path: Path, kills: int) -> None:
    began = time.monotonic()
    undisturbed = start(output="undisturbed")
    assert undisturbed.end()[0] == 0
    longest = time.monotonic() - began
    whole = tree_of(undisturbed.output)
    chance = random.Random(kills)
    cases = [(number, target) for number in (signal.SIGKILL, signal.SIGTERM) for target in ("all", "worker", "run")]
    survived: Counter[tuple[str, str, int]] = Counter()
    slowest_end = 0.0
    output = tmp_path / "out"
    while survived.total() < kills:
        number, target = cases[survived.total() % len(cases)]
        began = time.monotonic()
        run = start()
        end = began + chance.uniform(0, longest)
        while time.monotonic() < end and run.process.poll() is None:
            time.sleep(0.01)
        workers = run.workers() if target == "worker" else []
        if run.process.poll() is not None or (target == "worker" and not workers):
            longest = min(longest, time.monotonic() - began) if run.process.poll() is not None else longest
            run.clear()
            shutil.rmtree(output, ignore_errors=True)
            continue
        killed = time.monotonic()
        if target == "all":
            run.signal_all(number)
        else:
            signal_one(chance.choice(workers) if workers else run.process.pid, number)
        code, text = run.end()
        if target != "worker":
            slowest_end = max(slowest_end, time.monotonic() - killed)
            # -15: before the command's first line, or after its last; 0: all was done before it came
            assert code in ((-9, 0) if number == signal.SIGKILL else (75, -15, 0)), text
            assert code != 0 or "2 sessions finished" in text, text
            assert "Traceback" not in text
            assert code != 75 or "Stopped. Not finished: " in text or "the same command goes on" in text, text
        else:
            assert code in (0, 1), text  # 0: it had nothing to do any more
            assert (code == 1) == ("Failed: sub-02_ses-" in text), text
        wait_for(lambda run=run: not run.processes())
        _nothing_half_written(output, whole)
        survived[(number.name, target, code)] += 1
        if chance.random() < 0.4 or survived.total() == kills:
            code, text = start().end()
            assert code == 0, text
            assert tree_of(output) == whole
            longest = max(longest, 1.0)
            shutil.rmtree(output)
    print(f"{kills} kills survived, the slowest end by SIGTERM or SIGKILL {slowest_end:.1f} s: {dict(survived)}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_stopped_from_outside_names_what_was_not_done(start: Start, data: Path, number: int, code: int) -> None:
    words = ("--masks", str(data / "derivatives" / "truth"), "--steps", "mask", "deface", "bias", "--nprocs", "1")
    run = start(*words)
    wait_for(run.published)
    os.kill(run.process.pid, number)
    os.kill(run.process.pid, number)  # an impatient user's second one changes nothing
    found, text = run.end()
    assert found == code, text
    assert "Stopped. Not finished: sub-01, sub-02. What is written is whole" in text, text
    assert "Traceback" not in text
    wait_for(lambda: not run.processes())
    assert run.partial() == []
    assert not (run.output / "logs" / ".locks").exists()


def test_what_a_killed_run_left_is_swept_by_a_run_of_another_session(start: Start, data: Path) -> None:
    run = start(*_words(data, "--session-label", "1"))
    wait_for(run.published)
    run.signal_all(signal.SIGKILL)
    run.end()
    anat = run.output / "sub-02" / "ses-1" / "anat"
    (anat / ".partial-abc-sub-02_ses-1_desc-defaced_T1w.nii.gz").write_bytes(b"half")
    assert list((run.output / "logs" / ".locks").iterdir())
    code, text = start(*_words(data, "--session-label", "2")).end()
    assert code == 0, text
    assert run.partial() == []
    assert not (run.output / "logs" / ".locks").exists()


def test_a_session_that_another_run_has_is_left_alone(start: Start, tmp_path: Path) -> None:
    """The second run does the other session, then waits for the first one's end, and finds the work done."""
    with Locks(tmp_path / "out") as locks:
        assert locks.take("sub-02_ses-1") is None
        run = start()
        log = run.log
        wait_for(lambda: "sub-02_ses-2: done" in log.read_text())
        assert "sub-02_ses-1: another run (process" in log.read_text()
        assert not (run.output / "sub-02" / "ses-1").exists()
    code, text = run.end()
    assert code == 0, text
    assert "sub-02_ses-1: done" in text


def test_the_same_participant_twice_at_once(start: Start) -> None:
    one, other = start(), start()
    assert [run.end()[0] for run in (one, other)] == [0, 0], other.log.read_text()
    alone = start(output="alone")
    assert alone.end()[0] == 0
    assert tree_of(one.output) == tree_of(alone.output)


def test_array_jobs_of_different_participants_at_once(start: Start, data: Path) -> None:
    masks = ("--masks", str(data / "derivatives" / "truth"), "--steps", "mask", "--nprocs", "1")
    jobs = [start("--participant-label", label, *masks) for label in ("01", "02")]
    assert [job.end()[0] for job in jobs] == [0, 0]
    after = start("--participant-label", "01", "02", *masks)
    assert after.end()[0] == 0
    alone = start("--participant-label", "01", "02", *masks, output="alone")
    assert alone.end()[0] == 0
    assert tree_of(jobs[0].output) == tree_of(alone.output)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB: where the demo's masks find room, but not everything."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_told_and_leaves_nothing_half_written(data: Path, small_disk: Path) -> None:
    output = small_disk / "out"
    run = bids_app(data, output, *_words(data, steps=("mask", "deface", "bias")))
    assert run.code == 1, run.text
    assert "cannot be written: No space left on device" in run.text
    assert "Traceback" not in run.text
    assert list(output.glob("sub-*/**/*_mask.nii.gz")), "what found room is there"
    assert not list(output.rglob(".partial-*"))
    assert [problem for problem in verify_output(output)[1] if "_series.tsv" not in problem[0]] == []
    subprocess.run(["mount", "-o", "remount,size=20M", str(small_disk)], check=True)
    assert bids_app(data, output, *_words(data, steps=("mask", "deface", "bias"))).code == 0
    assert verify_output(output)[1] == []
    assert not list(output.rglob("errors.txt"))


def test_an_output_that_becomes_read_only_is_told(start: Start, data: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=20M", str(small_disk)], check=True)
    output = small_disk / "out"
    run = start(
        *_words(data, steps=("mask", "deface", "bias")), output=output.relative_to(small_disk.parent).as_posix()
    )
    wait_for(run.published)
    wait_for(lambda: subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=False).returncode == 0)
    code, text = run.end()
    assert code == 1, text
    assert "Read-only file system" in text
    assert "Traceback" not in text
    again = bids_app(data, output, *_words(data))
    assert again.code == 73
    assert "cannot be written to: Read-only file system" in again.text
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    code, text = start(*_words(data), output="disk/out").end()
    assert code == 0, text
    assert run.partial() == []


def test_a_killed_worker_is_in_the_errors_of_its_session(start: Start, data: Path) -> None:
    run = start(*_words(data, steps=("mask", "deface", "bias")))
    workers = wait_for(lambda: run.workers() if run.published() else None)
    signal_one(workers[0], signal.SIGKILL)
    code, text = run.end()
    assert code == 1, text
    assert "memory" in text
    (errors,) = run.output.rglob("errors.txt")
    label = "sub-02_" + errors.parent.name
    assert errors.read_text().startswith(f"{label}: its process was killed (signal 9), most likely for memory")
    assert f"Failed: {label}: its process was killed" in text
    assert run.partial() == []
    code, text = start(*_words(data, steps=("mask", "deface", "bias"))).end()
    assert code == 0, text
    assert not errors.exists()
