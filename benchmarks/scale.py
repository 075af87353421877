"""How the app itself scales: the walk and dry run of 10,000 subjects, and runs of 1,000 sessions with trivial steps.

    python benchmarks/scale.py [--subjects 10000] [--sessions 1000] [--work DIR] > scale.tsv

Four lines a subject: T1w, T2w, FLAIR and swi, each with a sidecar. Trivial steps write a few bytes (tests/trivial_steps.py); all
the rest is real. Seconds are of the wall clock, memory is the peak of the main process. Exits with 1 where a target is missed.
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

import numpy as np

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from trees import Nifti  # noqa: E402

SUFFIXES = ("T1w", "T2w", "FLAIR", "swi")
#: What issue 13 asks for.
TARGETS = {
    "dry run of a shard of a tenth, s": 5.0,
    "dry run of a shard of a tenth, MB": 300.0,
    "dry run of all, s": 60.0,
    "finished sessions recognised, s": 10.0,
    "growth of the main process, MB": 50.0,
    "overhead of a session, s": 0.3,
    "last hundred over first hundred": 1.25,
    "sessions missing or double of four shards": 0.0,
}


@dataclass(frozen=True)
class Measured:
    """A finished process."""

    seconds: float
    peak_mb: float
    output: str
    cpu_s: float


def write_dataset(root: Path, subjects: int, *, empty: bool) -> Path:
    """A dataset of that many subjects with four series each; `empty` images have a header and zeros."""
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
        for suffix in SUFFIXES:
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
