"""SyN to the atlas: overlap of brain and tissues beside affine's, and whether the map folds, over synthetic heads.

    python benchmarks/syn.py LABELMAPS [--quick] [--peer] > syn.tsv

Heads of T1-like contrast from the label maps, turned by up to 15 degrees, brain masks given, are registered to
MNI152NLin2009aSym affinely and by SyN. Their true masks and tissues, carried to the atlas, are laid over the atlas'
brain and its maps of the tissues. The smallest determinant of the Jacobian is that of the whole map, read back from the
file that a run writes, everywhere in the atlas' field of view. `--peer` runs `ants.registration("SyN")` by its defaults
on the same images. `--quick`: 2 heads of 6. Exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from ants_peer import apart
from heads import Scan, known_contrast, painted, scanned
from label_maps import LabelMap, load_label_map
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bids_app.assets import load_space
from bids_app.assets.spaces import EMBEDDED, find_space
from bids_app.steps import images
from bids_app.steps.brain_mask.synth_network import CLASSES
from bids_app.steps.modulation import jacobian_determinant
from bids_app.steps.registration import read_transform, register, write_transform
from bids_app.steps.resampling import Grid, resample_labels

_SEED = 70_001
_MOST_DEG = 15.0
_GREY = ("cortex", "deep grey", "cerebellum")
_MAPS = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True)
class Atlas:
    """The atlas' brain, its mask, and where white matter is more than half of a voxel; all on one grid."""

    brain: images.Image
    mask: images.Image
    white: NDArray[np.bool_]


def atlas() -> Atlas:
    """The atlas that is always there."""
    brain, mask = load_space(find_space(EMBEDDED, Path(), None))
    package = importlib.util.find_spec("nilearn")
    assert package is not None
    assert package.submodule_search_locations
    white = images.conform(nib.load(Path(package.submodule_search_locations[0]) / _MAPS.format("wm")))
    return Atlas(brain, mask, images.array_of(white) > 127)


def head(source: LabelMap, number: int) -> Scan:
    """Head `number` of the benchmark at 1 mm; the same each time."""
    rng = np.random.default_rng([_SEED, number])
    affine = np.eye(4)
    affine[:3, 3] = -source.centre.numpy()
    axis = rng.normal(size=3)
    pose = np.eye(4)
    turn = np.radians(rng.uniform(0, _MOST_DEG)) * axis / np.linalg.norm(axis)
    pose[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    grid = np.eye(4)
    grid[:3, 3] = -np.array([100.0, 120.0, 110.0])
    return scanned(source, painted(source, known_contrast("t1", rng), rng), affine, (200, 240, 220), grid, pose, rng)


def stripped(scan: Scan) -> images.Image:
    """The image inside its brain mask."""
    return images.like(np.where(images.mask_of(scan.brain), images.array_of(scan.image), 0), scan.image)


def found(there: Atlas, scan: Scan, kind: Any) -> tuple[Any, float]:
    """The transform (atlas to head) as it is read back from the file that a run writes, and seconds."""
    began = time.monotonic()
    result = register(there.brain, stripped(scan), kind=kind, fixed_mask=there.mask, moving_mask=scan.brain)
    seconds = time.monotonic() - began
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"to_atlas{'.h5' if kind == 'syn' else '.mat'}"
        write_transform(result.transform, path)
        return read_transform(path), seconds


def theirs(there: Atlas, scan: Scan, path: Path) -> float:
    """The same of ANTs' Python package with its defaults: writes the transform (HDF5), gives seconds."""
    import ants
    import SimpleITK as sitk
    from ants_peer import to_ants

    fixed, moving = to_ants(there.brain), to_ants(stripped(scan))
    began = time.monotonic()
    result = ants.registration(fixed, moving, "SyN")
    seconds = time.monotonic() - began
    warp = sitk.ReadImage(result["fwdtransforms"][0], sitk.sitkVectorFloat64)
    affine = read_transform(Path(result["fwdtransforms"][1]))
    for made in {*result["fwdtransforms"], *result["invtransforms"]}:
        Path(made).unlink(missing_ok=True)
    write_transform(sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(warp)]), path)
    return seconds


def theirs_apart(process: ProcessPoolExecutor, there: Atlas, scan: Scan) -> tuple[Any, float]:
    """The transform and the seconds of the peer, which runs in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "to_atlas.h5"
        seconds = process.submit(theirs, there, scan, path).result()
        return read_transform(path), seconds


def scores(there: Atlas, scan: Scan, transform: Any) -> tuple[float, float, float, float]:
    """Dice of brain, white and grey matter with the atlas', and the smallest determinant of the Jacobian."""
    grid = Grid.of(there.brain)
    brain = images.mask_of(resample_labels(scan.brain, grid, [transform]))
    classes = images.array_of(resample_labels(scan.classes, grid, [transform]))
    inside = images.mask_of(there.mask)
    white = np.isin(classes, [i for i, name in enumerate(CLASSES) if "white matter" in name])
    grey = np.isin(classes, [i for i, name in enumerate(CLASSES) if any(part in name for part in _GREY)])
    stem = classes == CLASSES.index("brain stem")
    # the label maps have the cerebellum and the brain stem in one piece each: tissues are compared in the cerebrum
    cerebrum = inside & ~stem & ~np.isin(classes, [i for i, name in enumerate(CLASSES) if "cerebellum" in name])
    atlas_grey = _grey_of(there) & cerebrum
    return (
        _dice(brain, inside), _dice(white & cerebrum, there.white & cerebrum), _dice(grey & cerebrum, atlas_grey),
        float(jacobian_determinant([transform], grid).min()),
    )  # fmt: skip


def _grey_of(there: Atlas) -> NDArray[np.bool_]:
    package = importlib.util.find_spec("nilearn")
    assert package is not None
    assert package.submodule_search_locations
    grey = images.conform(nib.load(Path(package.submodule_search_locations[0]) / _MAPS.format("gm")))
    assert grey.shape == there.white.shape
    return np.asarray(images.array_of(grey) > 127)


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def main() -> int:
    """Measure all heads, print a row for each way, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelmaps", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--threads", type=int, default=2, help="of the peer; ours takes one")
    arguments = parser.parse_args()
    paths = sorted(arguments.labelmaps.glob("seg_*.nii.gz"))[::3]
    there = atlas()
    peer_process = apart(arguments.threads) if arguments.peer else None
    print("head", "way", "dice_brain", "dice_white", "dice_grey", "smallest_jacobian", "seconds", sep="\t", flush=True)
    rows: dict[str, list[tuple[float, ...]]] = {"affine": [], "syn": [], "ants": []}
    for number, path in enumerate(paths[:2] if arguments.quick else paths):
        scan = head(load_label_map(path), number)
        ways = {kind: found(there, scan, kind) for kind in ("affine", "syn")}
        if peer_process is not None:
            ways["ants"] = theirs_apart(peer_process, there, scan)
        for way, (transform, seconds) in ways.items():
            row = (*scores(there, scan, transform), seconds)
            rows[way].append(row)
            print(path.name.split(".")[0], way, *(f"{value:.3f}" for value in row), sep="\t", flush=True)
    return judged(np.array(rows["affine"]), np.array(rows["syn"]))


def judged(affine: NDArray, syn: NDArray) -> int:
    """Print what the targets say of the rows; 1 where one is missed."""
    checks = [
        ("mean Dice of the brain", syn[:, 0].mean(), 0.97),
        ("least gain of white matter over affine", (syn - affine)[:, 1].min(), 0.0),
        ("least gain of grey matter over affine", (syn - affine)[:, 2].min(), 0.0),
        ("smallest determinant of the Jacobian", syn[:, 3].min(), 1e-6),
    ]
    for name, value, target in checks:
        said = "reached" if value >= target else "missed"
        print("all", name, f"{value:.3f}", f"at least {target:g}", said, sep="\t")
    return int(any(value < target for _, value, target in checks))


if __name__ == "__main__":
    sys.exit(main())
