"""The profile of 20,000 series from their headers: seconds and memory, at first, again, and with 10 more participants.

    python benchmarks/group_profile.py FOLDER [--series 20000]

FOLDER, which must not exist, is filled with a synthetic BIDS dataset: participants with four series each (T1w, T2w,
FLAIR and contrast-enhanced T1w), every one with a sidecar and a gzip file that holds a header of its own and next to
no voxels. What is timed is `bids_app FOLDER/bids FOLDER/out group --profile-only` as a process of its own.
Targets: under 180 s and 1 GB at first, under 30 s after adding 10 participants. Exits with 1 where one is missed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np

_SHAPES = ((128, 128, 60), (112, 112, 96), (120, 144, 44))
_SERIES = ("T1w", "T2w", "FLAIR", "ce-gadolinium_T1w")
_SCANNERS = (("Siemens", "Prisma", 3.0), ("GE", "SIGNA Premier", 3.0), ("Philips", "Ingenia", 1.5))


def write_participants(root: Path, first: int, count: int) -> None:
    """Participants whose scanner, shape and spacing go round by their number."""
    for number in range(first, first + count):
        folder = root / f"sub-{number:05d}" / "anat"
        folder.mkdir(parents=True)
        maker, model, field = _SCANNERS[number % 3]
        for index, series in enumerate(_SERIES):
            header = nib.Nifti1Header()
            header.set_data_shape(_SHAPES[(number + index) % 3])
            header.set_data_dtype(np.uint8)
            spacing = (1.0, 1.0, (1.0, 1.5, 5.0)[(number + index) % 3])
            header.set_sform(np.diag([*spacing, 1.0]), 1)
            header.set_qform(np.diag([*spacing, 1.0]), 1)
            header["vox_offset"], header["magic"] = 352, b"n+1"
            path = folder / f"sub-{number:05d}_{series}.nii.gz"
            path.write_bytes(gzip.compress(header.binaryblock + bytes(400), 1) + os.urandom(1200))
            fields = {"Manufacturer": maker, "ManufacturersModelName": model, "MagneticFieldStrength": field}
            fields |= {"RepetitionTime": 2.3, "EchoTime": 0.003, "FlipAngle": 9, "ScanningSequence": "GR"}
            path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(fields))


def timed(root: Path, output: Path) -> tuple[float, float]:
    """Seconds and the largest resident memory (GB) of one run."""
    start = time.perf_counter()
    words = [sys.executable, "-m", "bids_app", str(root), str(output), "group", "--profile-only"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def main() -> int:
    """Print a table of the three runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, default=20_000)
    arguments = parser.parse_args()
    root, output = arguments.folder / "bids", arguments.folder / "out"
    count = arguments.series // len(_SERIES)
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "synthetic", "BIDSVersion": "1.10.0"}))
    people = [f"sub-{number:05d}\t{20 + number % 60}\t{'FM'[number % 2]}" for number in range(count + 10)]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tage\tsex", *people]) + "\n")
    write_participants(root, 0, count)
    results = [("first", *timed(root, output)), ("again", *timed(root, output))]
    write_participants(root, count, 10)
    results.append(("10 participants more", *timed(root, output)))
    print("run\tseconds\tgb")
    for name, seconds, memory in results:
        print(f"{name}\t{seconds:.1f}\t{memory:.2f}")
    rows = (output / "group_profile.tsv").read_text().count("\taccepted\t")
    print(f"{rows} series accepted")
    met = results[0][1] < 180 and results[0][2] < 1 and results[2][1] < 30 and rows == (count + 10) * len(_SERIES)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
