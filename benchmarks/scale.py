"""How the app itself scales: the walk and dry run of 10,000 subjects, and runs of 1,000 sessions with trivial steps.

    python benchmarks/scale.py [--subjects 10000] [--sessions 1000] [--work DIR] > scale.tsv

Four series a subject for the walk (T1w, T2w, FLAIR, swi, each with a sidecar), one for the runs. Trivial steps write a
few bytes (tests/trivial_steps.py); all the rest is real. Seconds are of the clock where they are not said to be of the
processor. Exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from trees import Nifti  # noqa: E402
from trivial_steps import finish  # noqa: E402

SUFFIXES = ("T1w", "T2w", "FLAIR", "swi")
#: All but the pages, which are no step of a session.
STEPS = ("mask", "deface", "bias", "coregister", "atlas", "resample", "normalize", "measure")
#: What issue 13 asks for.
TARGETS = {
    "dry run of a shard of a tenth, s": 5.0,
    "dry run of a shard of a tenth, MB": 300.0,
    "dry run of all, s": 60.0,
    "finished sessions recognised, s": 10.0,
    "growth of the main process, MB": 50.0,
    "overhead of a session, s": 0.3,
    "last hundred over first hundred": 1.25,
    "files of four shards that are not those of one run": 0.0,
}


@dataclass(frozen=True)
class Measured:
    """A finished process."""

    seconds: float
    peak_mb: float
    output: str
    cpu_s: float


def write_dataset(root: Path, subjects: int, *, empty: bool, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """A dataset of that many subjects with a series of each suffix; `empty` images have a header and zeros."""
    images = root.parent / "image.nii.gz"
    if empty:
        header = Nifti((64, 64, 40), (3.5, 3.5, 4.0), fill=0).image().to_bytes()
        images.write_bytes(gzip.compress(header, mtime=0))
    else:
        Nifti().write(images)
    image = images.read_bytes()
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "scale", "BIDSVersion": "1.10.0"}))
    sidecar = json.dumps({"Manufacturer": "Siemens", "EchoTime": 0.003, "ImageType": ["ORIGINAL", "PRIMARY", "M"]})
    for number in range(subjects):
        folder = root / f"sub-{number:05d}" / "anat"
        folder.mkdir(parents=True)
        for suffix in suffixes:
            (folder / f"sub-{number:05d}_{suffix}.nii.gz").write_bytes(image)
            (folder / f"sub-{number:05d}_{suffix}.json").write_text(sidecar)
    return root


def command(*words: object, trivial: bool = False) -> list[str]:
    """The command as a process of its own; `trivial`: with trivial steps."""
    if not trivial:
        return [sys.executable, "-m", "bids_app", *map(str, words)]
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); import trivial_steps; trivial_steps.take_over(); "
    code += "import os; from bids_app.cli.main import run; sys.exit(run(sys.argv[1:], os.environ))"
    return [sys.executable, "-c", code, str(TESTS), *map(str, words)]


def measured(words: Sequence[str], log: Path) -> Measured:
    """Run a process to its end; its own peak of memory, not that of its children."""
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    text = log.read_text(errors="replace")
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(words)}\nended with {os.waitstatus_to_exitcode(status)}:\n{text[-3000:]}")
    return Measured(seconds, usage.ru_maxrss / 1024, text, usage.ru_utime + usage.ru_stime)


@dataclass(frozen=True)
class Watched:
    """A run that was watched from outside: when each session ended (s), and the main process' memory (MB) then."""

    ends: tuple[float, ...]
    memory: tuple[float, ...]
    cpu_s: float
    seconds: float


def watched(words: Sequence[str]) -> Watched:
    """Run a process that tells of each session in a line of its own."""
    began, ends, memory, text = time.monotonic(), [], [], []
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        text.append(line)
        if " in " in line and line.startswith("["):
            ends.append(time.monotonic() - began)
            memory.append(_resident_mb(process.pid))
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit("".join(text[-30:]))
    cpu_s = usage.ru_utime + usage.ru_stime  # its workers' too: it has waited for them
    return Watched(tuple(ends), tuple(memory), cpu_s, time.monotonic() - began)


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def tell(what: str, value: float) -> bool:
    """A row of the table; whether its target is met, where it has one."""
    target = TARGETS.get(what)
    print(f"{what}\t{value:.3f}\t{'' if target is None else target}", flush=True)
    return target is None or value <= target


def walks(work: Path, subjects: int) -> bool:
    """The dry run of a tenth and of all, and a finished tenth that is run again."""
    root = write_dataset(work / "big", subjects, empty=True)
    shard = measured(
        command(root, work / "none", "participant", "--dry-run", "--json", "--shard", "1/10"), work / "log"
    )
    good = tell("dry run of a shard of a tenth, s", shard.seconds)
    tell("dry run of a shard of a tenth, processor s", shard.cpu_s)
    good &= tell("dry run of a shard of a tenth, MB", shard.peak_mb)
    whole = measured(command(root, work / "none", "participant", "--dry-run", "--json"), work / "log")
    good &= tell("dry run of all, s", whole.seconds)
    tell("dry run of all, processor s", whole.cpu_s)
    tell("dry run of all, MB", whole.peak_mb)
    words = ("--shard", "1/10", "--steps", *STEPS, "--brain-extraction", "template")
    tell("finished sessions, number", finish(root, work / "done", *words))
    measured(command(root, work / "done", "participant", *words, trivial=True), work / "log")  # writes the tables
    again = measured(command(root, work / "done", "participant", *words, trivial=True), work / "log")
    good &= tell("finished sessions recognised, s", again.seconds)
    tell("finished sessions recognised, processor s", again.cpu_s)
    return good


def runs(work: Path, sessions: int) -> bool:
    """Many sessions with trivial steps in one process, then in four shards at once."""
    root = write_dataset(work / "data", sessions, empty=False, suffixes=("T1w",))
    words = ("participant", "--nprocs", 1, "--brain-extraction", "template", "--steps", "mask", "deface", "bias")
    one = watched(command(root, work / "one", *words, trivial=True))
    good = len(one.ends) == sessions
    tenth = max(2, sessions // 10)
    first, last = one.ends[tenth - 1] - one.ends[0], one.ends[-1] - one.ends[-tenth]
    good &= tell("growth of the main process, MB", one.memory[-1] - one.memory[tenth - 1])
    tell("the main process at its end, MB", one.memory[-1])
    good &= tell("last hundred over first hundred", last / first)
    good &= tell("overhead of a session, s", (one.ends[-1] - one.ends[0]) / (sessions - 1))
    tell("overhead of a session, processor s (with all starts)", one.cpu_s / sessions)
    shards = [
        subprocess.Popen(
            command(root, work / "four", *words, "--shard", f"{number}/4", trivial=True), stdout=subprocess.DEVNULL
        )
        for number in range(1, 5)
    ]
    codes = [process.wait() for process in shards]
    good &= codes == [0] * 4
    differing = _differing(work / "one", work / "four")
    good &= tell("files of four shards that are not those of one run", len(differing))
    return good


def _differing(one: Path, other: Path) -> set[str]:
    """Files that are in one of two outputs alone or have other bytes; the settings, which name the shard, set aside."""

    def content(root: Path) -> set[tuple[str, bytes]]:
        files = (
            path for path in root.rglob("*") if path.is_file() and path.name not in ("settings.toml", ".manifest.lock")
        )
        return {
            (path.relative_to(root).as_posix(), path.read_bytes()) for path in files if path.parent != root / "logs"
        }

    return {name for name, _ in content(one) ^ content(other)}


def main() -> int:
    """Measure, print the table, and say whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--only", choices=("walks", "runs"))
    parser.add_argument("--work", type=Path, help="where to measure; by default a temporary folder")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="scale-", dir=arguments.work))
    print("what\tvalue\ttarget", flush=True)
    try:
        good = True
        if arguments.only != "runs":
            good &= walks(work, arguments.subjects)
        if arguments.only != "walks":
            good &= runs(work, arguments.sessions)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    tell("load of the machine at the end", os.getloadavg()[0])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
