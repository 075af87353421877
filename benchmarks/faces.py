"""What is left of faces after defacing, and whether the face check sees it: heads from label maps, with known labels.

    python benchmarks/faces.py LABELMAPS [--quick] [--maps 09 11] > faces.tsv

Each head is scanned in two poses and contrasts: cubes of 2 mm, and slices of 5 mm in one of three planes; in every
third one a part is cut off by the field of view. It is defaced with the true brain mask, with one 3 mm too large, one
2.6 mm too small, and with `synth`'s; and the check is shown the whole head, and the head defaced but for one eye.

`tissue_left`: of the tissue in front of the temporal poles and below the brow, 45 mm to each side, the share that is
not 0. `eyes_left`: of the eyes' own labels. `brain_lost`: voxels of the true brain that were removed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from heads import Scan, contrast_names, known_contrast, painted, scanned
from label_maps import TISSUES, LabelMap, load_label_map
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_app.steps import images
from bids_app.steps.brain_mask.synth import synth_mask
from bids_app.steps.face_check import check_face
from bids_app.steps.face_removal import remove_face
from bids_app.steps.images import ImageError

_SEED = 70_001
_BOX_MM = np.array([200.0, 240.0, 250.0])
_BROW_MM, _CHIN_MM = 8.0, 90.0  # above and below the centre of the eyes
_SIDE_MM = 45.0
_EYES = [TISSUES.index("eye"), TISSUES.index("lens")]


@dataclass(frozen=True)
class Case:
    """A scanned head with its tissue (index into the generator's names) on the scan's grid."""

    name: str
    scan: Scan
    tissue: NDArray[np.uint8]
    front: NDArray[np.bool_]


def case(source: LabelMap, number: int) -> Case:
    """Scan `number` of a head; the same each time."""
    rng = np.random.default_rng([_SEED, int("".join(filter(str.isdigit, source.name)) or 0), number])
    contrast = str(rng.choice(contrast_names()))
    head = painted(source, known_contrast(contrast, rng), rng)
    affine = np.eye(4)
    affine[:3, 3] = -source.centre.numpy()
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-1, 1, 3) * [20, 10, 10], degrees=True).as_matrix()
    pose[:3, 3] = rng.uniform(-10, 10, 3)
    edges = np.full(3, 2.0)
    if number % 2:
        edges[int(rng.integers(3))] = 5.0
    box, middle = _BOX_MM.copy(), np.array([0.0, 0.0, -25.0])
    kind = ""
    if rng.random() < 1 / 3:
        kind = str(rng.choice(["no chin", "half a head", "no vertex"]))
        axis, side, cut = {"no chin": (2, 1, 60.0), "half a head": (0, 1, 90.0), "no vertex": (2, -1, 70.0)}[kind]
        box[axis] -= cut
        middle[axis] += side * cut / 2
    shape = tuple(int(n) for n in np.round(box / edges))
    grid = np.diag([*edges, 1.0])
    grid[:3, 3] = middle - (np.array(shape) - 1) * edges / 2
    scan = scanned(source, head, affine, shape, grid, pose, rng)
    to_map = np.linalg.inv(affine) @ pose @ grid
    tissue = ndimage.affine_transform(source.tissue.numpy(), to_map[:3, :3], to_map[:3, 3], shape, order=0)
    front = ndimage.affine_transform(_in_front(source).astype(np.uint8), to_map[:3, :3], to_map[:3, 3], shape, order=0)
    name = f"{source.name.split('.')[0]} {contrast} {'x'.join(f'{e:g}' for e in edges)} mm {kind}".strip()
    return Case(name, scan, tissue, front > 0)


def _in_front(source: LabelMap) -> NDArray[np.bool_]:
    """In the label map (1 mm, RAS+): tissue outside the brain, in front of the temporal poles, brow to chin."""
    tissue, brain = source.tissue.numpy(), source.brain.numpy() > 0
    x, y, z = np.ogrid[tuple(slice(0, n) for n in tissue.shape)]
    eyes = np.argwhere(np.isin(tissue, _EYES))
    middle, height = eyes[:, 0].mean(), eyes[:, 2].mean()
    lateral = brain & (z < height + 5) & (abs(x - middle) > 20)  # there the frontal lobe lies higher
    poles = np.argwhere(lateral)[:, 1].max()
    where = (abs(x - middle) < _SIDE_MM) & (y > poles) & (z < height + _BROW_MM) & (z > height - _CHIN_MM)
    return np.asarray(where & (tissue > 0) & ~brain)


def masks(one: Case) -> dict[str, tuple[images.Image, images.Image | None]]:
    """The masks that the head is defaced with: of the brain, and where it is known, of the space inside the skull."""
    truth = images.mask_of(one.scan.brain)
    edges = images.spacing_mm(one.scan.brain)
    outside, inside = (ndimage.distance_transform_edt(m, sampling=edges) for m in (~truth, truth))
    result = {"true": truth, "3 mm too large": outside <= 3, "2.6 mm too small": inside > 2.6}
    found = {name: (images.like(mask.astype(np.uint8), one.scan.brain), None) for name, mask in result.items()}
    synth = synth_mask(one.scan.image)
    return {**found, "synth": (synth.brain, synth.intracranial)}


def measured(one: Case, defaced: NDArray[np.float32]) -> tuple[float, float, int]:
    """Shares of the tissue in front and of the eyes that are left, and brain voxels lost."""
    kept = defaced != 0
    eyes, brain = np.isin(one.tissue, _EYES), images.mask_of(one.scan.brain)
    shares = [float(kept[where].mean()) if where.sum() > 20 else float("nan") for where in (one.front, eyes)]
    return shares[0], shares[1], int((brain & ~kept).sum())


def main() -> int:
    """Deface and judge every head, a row each; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelmaps", type=Path)
    parser.add_argument("--maps", nargs="+", metavar="NUMBER")
    parser.add_argument("--quick", action="store_true", help="one map")
    arguments = parser.parse_args()
    paths = sorted(arguments.labelmaps.glob("seg_*.nii.gz"))
    if arguments.maps:
        paths = [path for path in paths if path.name.split(".")[0].removeprefix("seg_") in arguments.maps]
    print("head", "mask", "passed", "skin_left", "eyes_seen", "tissue_left", "eyes_left", "brain_lost", "deep",
          sep="\t")  # fmt: skip
    rows: list[tuple[str, bool, float, float, int]] = []
    for path in paths[:1] if arguments.quick else paths:
        source = load_label_map(path)
        for number in (0, 1):
            rows += _tried(case(source, number))
    return judged(rows)


def _tried(one: Case) -> list[tuple[str, bool, float, float, int]]:
    rows = []
    image = one.scan.image

    def add(kind: str, check: object, defaced: NDArray[np.float32], deep: bool) -> None:
        tissue, eyes, lost = measured(one, defaced)
        view = check.after
        cells = ("n/a" if v is None else f"{v:.3f}" for v in (view.skin, view.eyes))
        print(one.name, kind, check.passed, *cells, f"{tissue:.3f}", f"{eyes:.3f}", lost, deep, sep="\t", flush=True)
        rows.append((kind, check.passed, tissue, eyes, lost))

    add("nothing removed", check_face(image, one.scan.brain), images.array_of(image), False)
    for kind, (mask, inside) in masks(one).items():
        try:
            found = remove_face(image, mask, inside)
        except ImageError as error:
            print(one.name, kind, f"stopped: {error}", *["n/a"] * 6, sep="\t", flush=True)
            continue
        add(kind, found.check, images.array_of(found.after), found.deep)
        if kind == "true":
            left = np.isin(one.tissue, _EYES) & (np.arange(image.shape[0])[:, None, None] < _middle(one))
            again = np.where(ndimage.binary_dilation(left, iterations=2), images.array_of(image), images.array_of(
                found.after))  # fmt: skip
            check = check_face(image, mask, images.like(again.astype(np.float32), image))
            if left.sum() > 20:
                add("but for one eye", check, again, found.deep)
    return rows


def _middle(one: Case) -> float:
    return float(np.argwhere(images.mask_of(one.scan.brain))[:, 0].mean())


def judged(rows: list[tuple[str, bool, float, float, int]]) -> int:
    """Print what the targets say; 1 where one is missed. A head that fails the check is not written."""
    shown = [row for row in rows if row[0] == "but for one eye" or (row[0] == "nothing removed" and row[3] > 0.5)]
    good = [row for row in rows if row[0] in ("true", "synth", "3 mm too large", "2.6 mm too small")]
    written = [row for row in good if row[1]]
    tissue = [row[2] for row in written if not np.isnan(row[2])]
    eyes = [row[3] for row in written if not np.isnan(row[3])]
    checks = [
        ("faces that passed", float(sum(row[1] for row in shown)), 0.0),
        ("defaced heads that were stopped", float(len(good) - len(written)), 0.05 * len(good)),
        ("median tissue left", float(np.median(tissue)), 0.05),
        ("most tissue left", max(tissue), 0.05),
        ("most of the eyes left", max(eyes), 0.05),
        ("brain voxels lost, true masks", float(max(row[4] for row in good if row[0] == "true")), 0.0),
        ("brain voxels lost, synth's masks", float(max(row[4] for row in good if row[0] == "synth")), 0.0),
    ]
    missed = 0
    for name, value, most in checks:
        missed += value > most
        print("all", name, f"{value:.3f}", f"at most {most:g}", "reached" if value <= most else "missed", sep="\t")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
