"""Normalisation, registration and carrying of lesions on heads with acute strokes of known size.

    python benchmarks/diffusion.py LABELMAPS [--quick] [--part peak|scanners|volumes|registration]

Heads of 2 mm from the label maps (`stroke_heads`), brain masks true. Exits with 1 where a target is missed.

- `peak`: lesions of 0 to 100 ml. By how much the tissue peak that the two-Gaussian fit finds is off the true one, and
  by how much each method moves healthy tissue when the lesion is there, in SD of the tissue.
- `scanners`: two fields and three scanners. Spread (SD) of the mean of healthy tissue over all images after each
  method, over the SD of the tissue within an image: below 1 the images are more alike than the tissue is in one.
- `volumes`: lesion masks carried through rigid and affine transforms by nearest neighbour: volume and place.
- `registration`: heads to the first one's, with a lesion of 100 ml and without: how far the lesion moves points in it,
  within 20 mm of it and elsewhere, counted and left out of the metric (cost-function masking).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage
from stroke_heads import SCANNERS, Head, Scanner, Stroke, lesion_of, load_head, scanned

from bids_app.steps import images
from bids_app.steps.intensity import fit
from bids_app.steps.lesions import carried, describe, without
from bids_app.steps.resampling import Grid

_SEED = 90_001
_VOLUMES_ML = (0.1, 1.0, 10.0, 30.0, 100.0)
_PEAK_TARGET = 0.02
_OURS = "gaussian-mixture"
Mapping = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def methods(image: images.Image, brain: images.Image) -> dict[str, Mapping]:
    """The mappings that are compared; z-score over the whole image is what some pipelines do, ours are in the brain."""
    values = images.array_of(image)
    mean, sd = float(values.mean()), float(values.std())
    found = {"z-score, whole image": lambda array: (array - mean) / sd}
    names = {"zscore": "z-score, brain", "minmax": "min-max", "gaussianmixture": "gaussian-mixture"}
    for method, name in names.items():
        found[name] = fit(method, image, brain, contrast="trace").apply
    return found


def true_peak(stroke: Stroke) -> float:
    """The mode of the intensities of tissue that is no lesion, from a smooth density."""
    values = images.array_of(stroke.trace)[stroke.tissue]
    low, high = np.percentile(values, (0.5, 99.5))
    counts, edges = np.histogram(values, 400, (low, high))
    density = ndimage.gaussian_filter1d(counts.astype(float), 0.15 * values.std() / (edges[1] - edges[0]))
    return float((edges[:-1] + edges[1:])[density.argmax()] / 2)


def peak(heads: list[Head]) -> Iterator[tuple[list[object], bool]]:
    """Rows of the first table."""
    yield ["lesion_ml", "lesion", "peak_error_percent", *_shift_columns(), "lesion_contrast_kept", "fallback"], True
    scanner = SCANNERS[3]
    cleans = [scanned(head, 0.0, scanner, [_SEED, number]) for number, head in enumerate(heads)]
    for volume in (0.0, *_VOLUMES_ML):
        sicks = [scanned(head, volume, scanner, [_SEED, number]) for number, head in enumerate(heads)]
        for left_out in (False, True) if volume else (False,):
            errors, shifts, kept, fallbacks = [], [], [], []
            for clean, sick in zip(cleans, sicks, strict=True):
                brain = without(sick.brain, images.mask_of(sick.lesion)) if left_out else sick.brain
                before, after = methods(clean.trace, clean.brain), methods(sick.trace, brain)
                found = fit("gaussianmixture", sick.trace, brain, contrast="trace").parameters
                errors.append(float(found["shift"]) / true_peak(sick) - 1)  # type: ignore[arg-type]
                fallbacks.append(float(found["fallback"]))  # type: ignore[arg-type]
                values = images.array_of(sick.trace)[sick.healthy]
                shifts.append([_shift(before[name], after[name], values) for name in before])
                if volume:
                    kept.append(_contrast(after[_OURS], sick) / _contrast(before[_OURS], sick))
            worst = float(np.abs(errors).max())
            row: list[object] = [volume, "left out" if left_out else "counted", f"{100 * worst:.2f}"]
            row += [f"{value:.3f}" for value in np.abs(shifts).mean(axis=0)]
            yield [*row, f"{np.mean(kept):.3f}" if kept else "n/a", f"{np.mean(fallbacks):.2f}"], worst <= _PEAK_TARGET


def _shift_columns() -> list[str]:
    names = ("zscore_whole", "zscore_brain", "minmax", "gaussian_mixture")
    return [f"shift_sd_{name}" for name in names]


def _shift(before: Mapping, after: Mapping, values: NDArray[np.float32]) -> float:
    """By how much a method moves the same healthy voxels because of the lesion, in SD of the tissue."""
    return float((after(values).mean() - before(values).mean()) / before(values).std())


def _contrast(mapping: Mapping, stroke: Stroke) -> float:
    """Lesion less healthy tissue, after a mapping."""
    values, lesion = images.array_of(stroke.trace), images.mask_of(stroke.lesion)
    return float(np.median(mapping(values[lesion])) - np.median(mapping(values[stroke.healthy])))


def scanners(heads: list[Head]) -> Iterator[tuple[list[object], bool]]:
    """Rows of the second table."""
    yield ["method", "images", "spread_over_tissue_sd", "spread_of_scanner_means"], True
    table: dict[str, list[tuple[Scanner, float, float]]] = {}
    for number, head in enumerate(heads):
        for scanner in SCANNERS:
            volume = (0.0, 1.0, 20.0, 80.0)[number % 4]
            stroke = scanned(head, volume, scanner, [_SEED, number])
            values = images.array_of(stroke.trace)[stroke.healthy]
            for name, mapping in methods(stroke.trace, stroke.brain).items():
                mapped = mapping(values)
                table.setdefault(name, []).append((scanner, float(mapped.mean()), float(mapped.std())))
    spreads = {}
    for name, rows in table.items():
        within = np.mean([sd for *_, sd in rows])
        spreads[name] = float(np.std([mean for _, mean, _ in rows]) / within)
    best = min(spreads, key=lambda name: spreads[name])
    for name, rows in table.items():
        of_scanner = [np.mean([mean for one, mean, _ in rows if one is scanner]) for scanner in SCANNERS]
        within = np.mean([sd for *_, sd in rows])
        row = [name, len(rows), f"{spreads[name]:.3f}", f"{np.std(of_scanner) / within:.3f}"]
        yield row, best == "gaussian-mixture"


def volumes(heads: list[Head]) -> Iterator[tuple[list[object], bool]]:
    """Rows of the third table: lesions on grids of 1, 2 and 3 mm to a grid of 1 mm turned against theirs."""
    yield ["from_mm", "transform", "lesion_ml", "volume_change_percent", "centre_off_mm"], True
    import SimpleITK as sitk

    rng = np.random.default_rng(_SEED)
    for scale in (1.0, 1.1):
        transform = sitk.AffineTransform(3)
        transform.Rotate(0, 1, 0.21)
        transform.Rotate(1, 2, -0.13)
        transform.Scale((scale, scale, scale))
        transform.SetTranslation((3.3, -2.1, 5.7))
        for volume in _VOLUMES_ML:
            for spacing in (2, 3):
                changes, off = [], []
                for head in heads:
                    coarse = Head(head.name, head.labels, head.brain, head.affine, float(spacing))
                    affine = head.affine @ np.diag([spacing / head.spacing_mm] * 3 + [1])
                    lesion = images.new_image(lesion_of(coarse, volume, rng).astype(np.uint8), affine)
                    grid = _around(lesion, transform)
                    moved = describe(carried(lesion, grid, [transform]))
                    native = describe(lesion)
                    if moved.centre_mm is None or native.centre_mm is None:
                        changes.append(1.0)
                        continue
                    expected = native.volume_ml / scale**3
                    changes.append(abs(moved.volume_ml / expected - 1))
                    point = np.array(moved.centre_mm) * (-1, -1, 1)
                    there = np.array(transform.TransformPoint(point.tolist())) * (-1, -1, 1)
                    off.append(float(np.linalg.norm(there - native.centre_mm)))
                kind = "rigid" if scale == 1 else "affine"
                row = [spacing, kind, volume, f"{100 * max(changes):.2f}", f"{max(off):.2f}"]
                yield row, max(changes) <= 0.02


def _around(lesion: images.Image, transform: object) -> Grid:
    """A grid of 1 mm along the axes of the world that holds a lesion after its transform, with room."""
    points = apply_affine(lesion.affine, np.argwhere(images.mask_of(lesion))) * (-1, -1, 1)
    inverse = transform.GetInverse()  # type: ignore[attr-defined]
    moved = np.array([inverse.TransformPoint(point.tolist()) for point in points]) * (-1, -1, 1)
    low, high = np.floor(moved.min(axis=0)) - 8.37, np.ceil(moved.max(axis=0)) + 8
    affine = np.eye(4)
    affine[:3, 3] = low
    x, y, z = (int(size) for size in np.ceil(high - low))
    return Grid((x, y, z), affine)


def registration(heads: list[Head]) -> Iterator[tuple[list[object], bool]]:
    """Rows of the fourth table: a head to another one's, with a lesion and without; how far apart the two come out.

    So Brett et al. (2001, doi:10.1006/nimg.2001.0845) did it: nobody knows where points of one brain belong in another,
    but a lesion should not move them.
    """
    yield ["head", "kind", "lesion_ml", *(f"off_{where}_mm_{how}" for where in _WHERE for how in _HOW)], True
    from bids_app.steps.registration import register

    fixed, *others = heads
    every: dict[str, list[NDArray[np.float64]]] = {"affine": [], "syn": []}
    target = scanned(fixed, 0.0, SCANNERS[3], [_SEED, 99])
    for number, head in enumerate(others):
        clean, sick = (scanned(head, volume, SCANNERS[3], [_SEED, number]) for volume in (0.0, 100.0))
        away = ndimage.distance_transform_edt(~images.mask_of(sick.lesion)) * head.spacing_mm
        beside = (away == 0, (away > 0) & (away <= 20), away > 20)
        places = [_points(sick.trace, images.mask_of(sick.brain) & where) for where in beside]
        for kind, rows in every.items():
            ends = []
            for moving, left_out in ((clean, None), (sick, None), (sick, sick.lesion)):
                found = register(
                    target.trace, moving.trace, kind=kind, fixed_mask=target.brain,  # type: ignore[arg-type]
                    moving_mask=moving.brain, moving_lesion=left_out,
                )  # fmt: skip
                back = found.inverse or found.transform.GetInverse()
                ends.append([np.array([back.TransformPoint(point.tolist()) for point in place]) for place in places])
            off = np.array(
                [[np.linalg.norm(one - true, axis=1).mean() for one, true in zip(found, ends[0], strict=True)]
                 for found in ends[1:]]
            )  # fmt: skip
            rows.append(off)
            yield [head.name, kind, 100, *(f"{value:.3f}" for value in off.T.ravel())], True
    for kind, rows in every.items():
        mean = np.mean(rows, axis=0)
        yield ["mean", kind, 100, *(f"{value:.3f}" for value in mean.T.ravel())], bool(mean[1, 1] < mean[0, 1])


_WHERE = ("inside", "near", "far")
_HOW = ("counted", "left_out")


def _points(image: images.Image, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Some voxels of an image in LPS+ mm."""
    indices = np.argwhere(where)
    chosen = indices[np.random.default_rng(0).choice(len(indices), 3000)]
    return np.asarray(apply_affine(image.affine, chosen) * (-1, -1, 1))


PARTS = {"peak": peak, "scanners": scanners, "volumes": volumes, "registration": registration}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelmaps", type=Path)
    parser.add_argument("--quick", action="store_true", help="3 heads, one of them moved for the registration")
    parser.add_argument("--part", choices=PARTS, action="append")
    words = parser.parse_args()
    paths = sorted(words.labelmaps.glob("seg_*.nii.gz"))[: 3 if words.quick else 8]
    heads = [load_head(path) for path in paths]
    missed = False
    for name in words.part or PARTS:
        print(f"# {name}")
        some = heads[: 2 if words.quick else 5] if name == "registration" else heads
        for row, good in PARTS[name](some):
            print("\t".join(map(str, row)) + ("" if good else "\tMISSED"), flush=True)
            missed |= not good
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
