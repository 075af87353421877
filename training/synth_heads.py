"""Heads of random contrast, shape and quality from label maps: what the `synth` network learns from.

After SynthSeg (Billot et al. 2023) and SynthStrip (Hoopes et al. 2022): a network that never sees the same contrast
twice learns shapes, not intensities. A label map is moved, deformed, painted with random intensities and then
spoiled in the ways scanners, patients and archives spoil images. Everything follows from a seed and a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from head_template import BELOW_CEREBELLUM_MM, BRAIN, CEREBELLUM, bounding_box, brain_mask
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from bids_app.steps import images
from bids_app.steps.brain_mask.synth_network import BOX_VOXELS, CLASSES, SPACING_MM

#: FreeSurfer's labels by class of the network (`CLASSES`): left ones, then right ones.
_CLASS_LABELS: dict[str, tuple[int, ...]] = {
    "left white matter": (2, 25, 30, 77, 78), "right white matter": (41, 57, 62, 79),
    "left cortex": (3,), "right cortex": (42,),
    "left deep grey matter": (10, 11, 12, 13, 17, 18, 26, 28),
    "right deep grey matter": (49, 50, 51, 52, 53, 54, 58, 60),
    "left lateral ventricle": (4, 5, 31, 136, 137), "right lateral ventricle": (43, 44, 63, 163, 164),
    "third and fourth ventricle": (14, 15, 72),
    "cerebrospinal fluid": (24,),
    "left cerebellum": (7, 8), "right cerebellum": (46, 47),
    "brain stem": (16, 85),
}  # fmt: skip
#: What shares an intensity: the two sides, and the parts that no contrast tells apart.
_TISSUES: dict[str, tuple[int, ...]] = {
    "air": (0,), "wm": (2, 41, 30, 62, 77, 78, 79), "gm": (3, 42), "csf": (24,),
    "ventricle": (4, 43, 5, 44, 14, 15, 72),
    "choroid": (31, 63, 136, 137, 163, 164), "lesion": (25, 57), "thalamus": (10, 49), "caudate": (11, 50, 26, 58),
    "putamen": (12, 51), "pallidum": (13, 52), "hippocampus": (17, 18, 53, 54), "ventral": (28, 60), "stem": (16, 85),
    "cerebellum gm": (8, 47), "cerebellum wm": (7, 46), "eye": (506,), "lens": (508,), "soft": (507,), "bone": (511,),
    "fat": (515,), "other": (516,), "502": (502,), "skin": (509,), "512": (512,), "vein": (514,), "530": (530,),
}  # fmt: skip
_NAMES = tuple(_TISSUES)
_HEAD_ONLY = tuple(_NAMES.index(name) for name in _NAMES[_NAMES.index("eye") :])
#: Rough signal of the tissues in T1w, T2w, FLAIR, b0, T1w with contrast agent and susceptibility images, 0..1. Half of
#: the heads start from one of these; the rest is wholly random.
_CONTRASTS = pd.read_csv(Path(__file__).with_name("synth_contrasts.tsv"), sep="\t", index_col="tissue")
_FAR_MM = 12.0  # signed distances are stored up to this


@dataclass(frozen=True)
class LabelMap:
    """A head at 1 mm, RAS+: tissue and class of every voxel, and signed distances (mm, positive inside) of both masks.

    Distances are int8 tenths of a millimetre.
    """

    name: str
    tissue: Tensor
    classes: Tensor
    brain: Tensor
    intracranial: Tensor
    centre: Tensor


@dataclass(frozen=True)
class Head:
    """A training image and its truth, all on `BOX_VOXELS` at 2 mm.

    Attributes
    ----------
    image
        0..1, (1, x, y, z).
    masks
        Brain and intracranial, 0..1 at their borders, (2, x, y, z).
    classes
        Index into `CLASSES`, (x, y, z).
    seen
        Whether a voxel lies in the field of view, (x, y, z).
    """

    image: Tensor
    masks: Tensor
    classes: Tensor
    seen: Tensor


def load_label_map(path: Path) -> LabelMap:
    """Read a label map with FreeSurfer's numbers in the brain and 5xx outside it, 1 mm."""
    image = images.conform(nib.load(path))
    labels = np.rint(images.array_of(image)).astype(np.int16)
    brain = brain_mask(labels)
    inside = intracranial_mask(labels, brain)
    classes = np.zeros(labels.shape, np.uint8)
    for name, members in _CLASS_LABELS.items():
        classes[np.isin(labels, members)] = CLASSES.index(name)
    classes[~inside] = 0
    tissue = np.full(labels.shape, _NAMES.index("other"), np.uint8)
    for index, members in enumerate(_TISSUES.values()):
        tissue[np.isin(labels, members)] = index
    centre = np.argwhere(brain).mean(axis=0)
    arrays = (tissue, classes, _signed_distance(brain), _signed_distance(inside))
    return LabelMap(path.name, *(torch.from_numpy(a) for a in arrays), torch.tensor(centre, dtype=torch.float32))


def intracranial_mask(labels: NDArray[np.int16], brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Brain and all the fluid around it, cut where the brain mask is, at 1 mm."""
    lowest = np.argwhere(np.isin(labels, CEREBELLUM))[:, 2].min() - int(BELOW_CEREBELLUM_MM)
    inside = brain | np.isin(labels, (*BRAIN, 24, 31, 63, 136, 137, 163, 164, 85))
    inside[:, :, : max(lowest, 0)] = False
    box = bounding_box(inside, margin=8)
    part = inside[box]
    part = ndimage.distance_transform_edt(~part) <= 3.0
    part = ndimage.binary_fill_holes(ndimage.distance_transform_edt(part) > 3.0) | inside[box]
    core = ndimage.distance_transform_edt(part) > 2.0
    parts, _ = ndimage.label(core)
    core = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    part &= ndimage.distance_transform_edt(~core) <= 2.9
    whole = np.zeros(labels.shape, bool)
    whole[box] = part | brain[box]
    whole[:, :, : max(lowest, 0)] = False
    return whole


def _signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Tenths of a millimetre, positive inside."""
    result = np.full(mask.shape, -_FAR_MM * 10, np.float32)
    box = bounding_box(mask, margin=int(_FAR_MM) + 1)
    part = mask[box]
    signed = ndimage.distance_transform_edt(part) - ndimage.distance_transform_edt(~part)
    result[box] = 10 * (signed - 0.5 * np.sign(signed))
    return np.clip(result, -_FAR_MM * 10, _FAR_MM * 10).astype(np.int8)


class _Dice:
    """Random numbers of one head."""

    def __init__(self, *seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.torch = torch.Generator().manual_seed(int(self.rng.integers(2**62)))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.torch)

    def smooth(self, *cells: int) -> Tensor:
        """A smooth field of unit variance at its nodes, on the whole box; more cells are a finer texture."""
        coarse = self.normal(1, 1, *cells)
        return functional.interpolate(coarse, BOX_VOXELS, mode="trilinear", align_corners=True)[0, 0]


def synthetic_head(source: LabelMap, seed: int, number: int) -> Head:
    """Head `number` of a series: the same for the same seed and number."""
    dice = _Dice(seed, number)
    if dice.chance(0.04):
        return _no_head(dice)
    points, flipped = _placed(source, dice)
    tissue, classes, brain, intracranial = _looked_up(source, points)
    if flipped:
        classes = _OTHER_SIDE[classes]
    contrast = _contrast(dice)
    subdivided = _subdivided(tissue, dice)
    image = _painted(subdivided, contrast, dice)
    jitters = int(dice.rng.integers(1, 4))
    for _ in range(jitters):  # partial volume: a voxel of 2 mm shows several of 1 mm
        offset = torch.from_numpy(dice.rng.uniform(-0.9, 0.9, 3).astype(np.float32))
        shifted, _, b, i = _looked_up(source, points + offset[:, None, None, None])
        more = shifted.long()
        image += _painted(torch.where(subdivided >= len(_NAMES), more + len(_NAMES), more), contrast, dice)
        brain, intracranial = brain + b, intracranial + i
    image /= 1 + jitters
    brain, intracranial = brain / (1 + jitters), intracranial / (1 + jitters)
    masks = torch.stack([(brain / SPACING_MM / 0.7).add(0.5), (intracranial / SPACING_MM / 0.7).add(0.5)]).clamp(0, 1)
    image = _meninges(image, intracranial, dice)
    image = _lesions(image, brain, dice)
    image = _removed(image, brain, dice)
    image, seen = _scanned(image, dice)
    return Head(image[None], masks, classes.long(), seen)


_OTHER_SIDE = torch.tensor(
    [
        CLASSES.index(name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right"))
        for name in CLASSES
    ]
)


def _placed(source: LabelMap, dice: _Dice) -> tuple[Tensor, bool]:
    """Where in the map (voxels) each point of the box looks: turned, stretched, bent, and perhaps mirrored."""
    x, y, z = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in BOX_VOXELS)
    grid = torch.stack(torch.meshgrid(x * SPACING_MM, y * SPACING_MM, z * SPACING_MM, indexing="ij"))
    pitch, roll, yaw = np.radians([dice.rng.normal(0, 11), dice.rng.normal(0, 6), dice.rng.normal(0, 6)])
    c, s = np.cos, np.sin
    turn = (
        np.array([[1, 0, 0], [0, c(pitch), -s(pitch)], [0, s(pitch), c(pitch)]])
        @ np.array([[c(roll), 0, s(roll)], [0, 1, 0], [-s(roll), 0, c(roll)]])
        @ np.array([[c(yaw), -s(yaw), 0], [s(yaw), c(yaw), 0], [0, 0, 1]])
    )
    shape = np.diag(dice.rng.uniform(0.87, 1.15, 3) * dice.between(0.92, 1.08)) + dice.rng.normal(0, 0.03, (3, 3))
    matrix = turn @ shape
    flipped = dice.chance(0.5)
    if flipped:
        matrix[0] *= -1
    matrix = torch.from_numpy(matrix.astype(np.float32))
    move = torch.from_numpy((dice.rng.normal(0, 1, 3) * [6, 9, 9]).astype(np.float32))
    if dice.chance(0.03):  # a neck, a jaw, an ear: little or nothing of the brain
        move += torch.from_numpy((dice.rng.normal(0, 1, 3) * [30, 50, 50] - [0, 0, 90]).astype(np.float32))
    points = torch.einsum("ij,jxyz->ixyz", matrix, grid + move[:, None, None, None])
    amplitude = dice.between(0, 4.0)
    cells = int(dice.rng.integers(4, 9))
    bend = functional.interpolate(
        dice.normal(1, 3, cells, cells, cells) * amplitude, BOX_VOXELS, mode="trilinear", align_corners=True
    )
    points = points + bend[0]
    if dice.chance(0.5):
        fine = dice.normal(1, 3, 14, 16, 14) * dice.between(0.3, 1.5)
        points += functional.interpolate(fine, BOX_VOXELS, mode="trilinear", align_corners=True)[0]
    return points + source.centre[:, None, None, None], flipped


def _looked_up(source: LabelMap, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tissue, class and the two distances (mm) of the nearest voxels; outside the map is air."""
    shape = source.tissue.shape
    index = points.round().long()
    outside = torch.zeros(points.shape[1:], dtype=torch.bool)
    for axis in range(3):
        outside |= (index[axis] < 0) | (index[axis] >= shape[axis])
        index[axis].clamp_(0, shape[axis] - 1)
    flat = (index[0] * shape[1] + index[1]) * shape[2] + index[2]
    tissue, classes, brain, inside = (
        volume.flatten()[flat] for volume in (source.tissue, source.classes, source.brain, source.intracranial)
    )
    tissue = tissue.masked_fill(outside, 0)
    classes = classes.masked_fill(outside, 0)
    far = int(-_FAR_MM * 10)
    return (
        tissue, classes.long(), brain.masked_fill(outside, far).float() / 10,
        inside.masked_fill(outside, far).float() / 10,
    )  # fmt: skip


@dataclass(frozen=True)
class Contrast:
    """Mean, noise and texture of each tissue (twice: see `_subdivided`), and the field that the texture follows."""

    mean: Tensor
    noise: Tensor
    texture: Tensor
    field: Tensor


def _contrast(dice: _Dice) -> Contrast:
    """Mean, noise and texture of every tissue, twice: the second half is for the parts that `_subdivided` makes."""
    count = len(_NAMES)
    mean = dice.rng.uniform(0, 1, 2 * count)
    if dice.chance(0.5):
        prior = _CONTRASTS[str(dice.rng.choice(list(_CONTRASTS)))].to_dict()
        spread = dice.between(0.02, 0.12)
        known = {**prior, "cerebellum gm": prior["gm"], "cerebellum wm": prior["wm"]}
        for name, value in known.items():
            index = _NAMES.index(name)
            keep = index in _HEAD_ONLY and dice.chance(0.3)  # what is around the brain stays surprising
            if not keep:
                mean[index] = value + dice.rng.normal(0, spread)
                mean[count + index] = value + dice.rng.normal(0, 2 * spread)
        for name in ("502", "512", "530"):
            mean[_NAMES.index(name)] = mean[_NAMES.index("soft")] + dice.rng.normal(0, 0.1)
    else:
        gm, wm = _NAMES.index("gm"), _NAMES.index("wm")
        likes = {
            "cerebellum gm": gm, "cerebellum wm": wm, "stem": wm, "ventral": wm, "thalamus": gm, "caudate": gm,
            "putamen": gm, "hippocampus": gm,
        }  # fmt: skip
        for name, like in likes.items():
            if dice.chance(0.75):
                mean[_NAMES.index(name)] = mean[like] + dice.rng.normal(0, 0.08)
        if dice.chance(0.8):
            mean[_NAMES.index("ventricle")] = mean[_NAMES.index("csf")] + dice.rng.normal(0, 0.05)
        mean[0] = mean[count] = dice.between(0, 0.3) if dice.chance(0.15) else dice.between(0, 0.04)
    if dice.chance(0.3):  # dark or bright skull
        mean[_NAMES.index("bone")] = dice.between(0, 0.15) if dice.chance(0.6) else dice.between(0.5, 1)
    noise = dice.rng.uniform(0, dice.between(0.01, 0.06), 2 * count)
    texture = dice.rng.uniform(0, dice.between(0.01, 0.1), 2 * count)
    noise[[0, count]] = texture[[0, count]] = dice.between(0, 0.03)
    cells = int(dice.rng.integers(10, 30))
    return Contrast(
        *(torch.from_numpy(a.astype(np.float32)) for a in (mean, noise, texture)), dice.smooth(cells, cells, cells)
    )


def _subdivided(tissue: Tensor, dice: _Dice) -> Tensor:
    """Parts of the tissues outside the brain become tissues of their own: muscle, marrow, mucosa and the like."""
    result = tissue.long()
    if dice.chance(0.7):
        cells = int(dice.rng.integers(6, 20))
        part = dice.smooth(cells, cells, cells) > dice.between(-0.3, 0.8)
        outer = result >= _HEAD_ONLY[0]
        result = torch.where(part & outer, result + len(_NAMES), result)
    return result


def _painted(tissue: Tensor, contrast: Contrast, dice: _Dice) -> Tensor:
    image = contrast.mean[tissue] + contrast.texture[tissue] * contrast.field
    return image + contrast.noise[tissue] * dice.normal(*BOX_VOXELS)


def _no_head(dice: _Dice) -> Head:
    """Phantoms and other things that are no head: balls, boxes, tubes and shells, one in the other, or noise alone."""
    x, y, z = (torch.linspace(-1, 1, n) for n in BOX_VOXELS)
    image = torch.full(BOX_VOXELS, dice.between(0, 0.2))
    wobble = dice.smooth(5, 5, 5) * dice.between(0, 0.25)
    for _ in range(int(dice.rng.integers(0, 7))):
        centre = dice.rng.normal(0, 0.25, 3)
        radii = dice.rng.uniform(0.15, 0.9, 3)
        axes = [((axis - c) / r).abs() for axis, c, r in zip((x, y, z), centre, radii, strict=True)]
        power = float(dice.rng.choice([2, 2, 2, 8]))
        parts = [axes[0][:, None, None] ** power, axes[1][None, :, None] ** power, axes[2][None, None, :] ** power]
        if dice.chance(0.3):
            parts.pop(int(dice.rng.integers(0, 3)))
        distance = sum(parts) + wobble
        where = distance < 1
        if dice.chance(0.3):
            where &= distance > dice.between(0.5, 0.9)
        value = dice.between(0, 1) + dice.between(0, 0.2) * dice.smooth(12, 12, 12)
        image = torch.where(where, value, image)
    image, seen = _scanned(image, dice)
    masks, classes = torch.zeros(2, *BOX_VOXELS), torch.zeros(BOX_VOXELS, dtype=torch.long)
    return Head(image[None], masks, classes, seen)


def _meninges(image: Tensor, intracranial: Tensor, dice: _Dice) -> Tensor:
    """A layer of dura, vessels or skull, of any brightness, where the skull begins; it varies along its way."""
    if not dice.chance(0.5):
        return image
    inner, outer = dice.between(-0.5, 1.5), dice.between(0.5, 3.5)
    where = (intracranial < inner) & (intracranial > -outer)
    if dice.chance(0.5):
        where &= dice.smooth(6, 7, 6) > dice.between(-1, 0.5)
    value = dice.between(0, 1.1)
    return torch.where(where, value + 0.05 * dice.normal(*BOX_VOXELS), image)


def _lesions(image: Tensor, brain: Tensor, dice: _Dice) -> Tensor:
    """Blobs of any brightness in the brain, from a few millimetres to a large tumour or stroke."""
    if not dice.chance(0.35):
        return image
    x, y, z = (torch.arange(n, dtype=torch.float32) for n in BOX_VOXELS)
    ragged = dice.smooth(20, 22, 20) * dice.between(0, 0.3)
    for _ in range(int(dice.rng.integers(1, 5))):
        centre = [n / 2 + dice.rng.normal(0, 14) for n in BOX_VOXELS]
        radii = dice.rng.uniform(0.6, 1.6, 3) * (dice.between(1, 5) if dice.chance(0.7) else dice.between(5, 14))
        distance = (
            ((x - centre[0]) / radii[0])[:, None, None] ** 2
            + ((y - centre[1]) / radii[1])[None, :, None] ** 2
            + ((z - centre[2]) / radii[2])[None, None, :] ** 2
        )
        where = (distance + ragged < 1) & (brain > 0)
        value, strength = dice.between(0, 1.1), dice.between(0.4, 1)
        image = torch.where(where, image * (1 - strength) + value * strength, image)
    return image


def _removed(image: Tensor, brain: Tensor, dice: _Dice) -> Tensor:
    """What archives remove: the face, or everything but the brain."""
    if dice.chance(0.05):
        return torch.where(brain > -dice.between(0, 5), image, torch.zeros(()))
    if dice.chance(0.12):
        angle = np.radians(dice.between(35, 85))
        y = (torch.arange(BOX_VOXELS[1]) - BOX_VOXELS[1] / 2) * SPACING_MM
        z = (torch.arange(BOX_VOXELS[2]) - BOX_VOXELS[2] / 2) * SPACING_MM
        beyond = (np.cos(angle) * y[:, None] - np.sin(angle) * z[None, :]) > dice.between(50, 75)
        gone = beyond[None] & (brain < -dice.between(3, 8))
        return torch.where(gone, torch.zeros(()), image)
    return image


def _scanned(image: Tensor, dice: _Dice) -> tuple[Tensor, Tensor]:
    """Blur, coil sensitivity, slices, noise, ghosts, field of view, and the scaling that every image gets."""
    if dice.chance(0.85):
        image = _blurred(image, dice.rng.uniform(0.0, dice.between(0.3, 1.3), 3))
    image = image.clamp(0, None)
    cells = int(dice.rng.integers(2, 5))
    image = image * torch.exp(dice.smooth(cells, cells, cells) * dice.between(0, 0.45))
    level = dice.between(0, 0.03) if dice.chance(0.7) else dice.between(0, 0.1)
    if dice.chance(0.5):
        image = torch.sqrt((image + level * dice.normal(*BOX_VOXELS)) ** 2 + (level * dice.normal(*BOX_VOXELS)) ** 2)
    else:
        image = image + level * dice.normal(*BOX_VOXELS)
    if dice.chance(0.1):  # a ghost of the moving head along the phase direction
        axis, shift = int(dice.rng.integers(0, 3)), int(dice.rng.integers(6, 40))
        image = image + dice.between(0.03, 0.15) * torch.roll(image, shift, axis)
    if dice.chance(0.5):
        image = _sliced(image, int(dice.rng.choice(3, p=(0.2, 0.25, 0.55))), dice)
    if dice.chance(0.3):
        image = _blurred(image, dice.rng.uniform(0.0, 0.7, 3))
    seen = _field_of_view(dice)
    scaled = normalized(torch.where(seen, image, torch.zeros(())), seen)
    if dice.chance(0.05):
        scaled = torch.where(seen, 1 - scaled, torch.zeros(()))
    return scaled ** float(np.exp(dice.rng.normal(0, 0.3))), seen


def normalized(image: Tensor, seen: Tensor) -> Tensor:
    """0..1 between the 1st and the 99.5th percentile of the field of view; 0 outside it."""
    values = image[seen][::7]
    if values.numel() < 100:
        return torch.zeros_like(image)
    ordered = values.sort().values
    low, high = ordered[int(0.01 * (len(ordered) - 1))], ordered[int(0.995 * (len(ordered) - 1))]
    return torch.where(seen, ((image - low) / (high - low).clamp_min(1e-6)).clamp(0, 1), torch.zeros(()))


def _blurred(image: Tensor, sigma: NDArray[np.float64]) -> Tensor:
    """Gaussian blur, sigma in voxels for each axis."""
    result = image[None, None]
    for axis in range(3):
        if sigma[axis] < 0.15:
            continue
        x = torch.arange(-3, 4, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (x / float(sigma[axis])) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 7
        padding = [0, 0, 0]
        padding[axis] = 3
        result = functional.conv3d(result, (kernel / kernel.sum()).view(shape), padding=padding)
    return result[0, 0]


def _sliced(image: Tensor, axis: int, dice: _Dice) -> Tensor:
    """Slices of 2.5 to 8 mm along one axis, averaged across their thickness and interpolated back."""
    every = dice.between(1.25, 4.0)  # voxels
    length = BOX_VOXELS[axis]
    count = max(int(length / every), 8)
    lines = image.movedim(axis, -1).reshape(1, -1, length)
    size = 2 * int(every * dice.between(0.7, 1.0) / 2 + 0.5) + 1
    if size > 1:
        lines = functional.avg_pool1d(lines, size, stride=1, padding=size // 2, count_include_pad=False)
    lines = functional.interpolate(lines, count, mode="linear", align_corners=False)
    lines = functional.interpolate(lines, length, mode="linear", align_corners=False)
    moved = image.movedim(axis, -1).shape
    return lines.view(moved).movedim(-1, axis).contiguous()


def _field_of_view(dice: _Dice) -> Tensor:
    """Whole box, or cut from some sides: no neck, no vertex, a slab, a narrow scan."""
    seen = torch.ones(BOX_VOXELS, dtype=torch.bool)
    if dice.chance(0.45):
        return seen
    for axis in range(3):
        for side in (0, 1):
            if not dice.chance(0.35 if axis < 2 else 0.5):
                continue
            most = (0.18, 0.22, 0.32)[axis] if dice.chance(0.85) else 0.42
            cut = int(dice.between(0, most) * BOX_VOXELS[axis])
            part = [slice(None)] * 3
            part[axis] = slice(0, cut) if side == 0 else slice(BOX_VOXELS[axis] - cut, None)
            seen[tuple(part)] = False
    return seen


def random_contrast(seed: int, number: int) -> Contrast:
    """The tissues' intensities of a head of its own, for tests."""
    return _contrast(_Dice(seed, number))
