"""Heads of random contrast, shape and quality from label maps: what the `synth` network learns from.

After SynthSeg (Billot et al. 2023) and SynthStrip (Hoopes et al. 2022): a network that never sees the same contrast
twice learns shapes, not intensities. A label map (`label_maps`) is moved, deformed, painted with random intensities
(`synth_contrast`) and then spoiled in the ways scanners, patients and archives spoil images (`synth_scanner`).
Everything follows from a seed and a number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from label_maps import FAR_MM, TISSUES, LabelMap
from synth_contrast import contrast_of, painted, subdivided
from synth_dice import Dice
from synth_scanner import scanned
from torch import Tensor
from torch.nn import functional

from bids_app.steps.brain_mask.synth_network import BOX_VOXELS, CLASSES, SPACING_MM


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


def synthetic_head(source: LabelMap, seed: int, number: int) -> Head:
    """Head `number` of a series, on the device of the label map: the same for the same seed, number and device."""
    with source.tissue.device:
        return _synthetic_head(source, Dice(seed, number, device=source.tissue.device))


def _synthetic_head(source: LabelMap, dice: Dice) -> Head:
    if dice.chance(0.04):
        return _no_head(dice)
    points, flipped = _placed(source, dice)
    tissue, classes, brain, intracranial = _looked_up(source, points)
    if flipped:
        classes = _OTHER_SIDE.to(classes.device)[classes]
    contrast = contrast_of(dice)
    parts = subdivided(tissue, dice)
    image = painted(parts, contrast, dice)
    jitters = int(dice.rng.integers(1, 4))
    for _ in range(jitters):  # partial volume: a voxel of 2 mm shows several of 1 mm
        offset = torch.as_tensor(dice.rng.uniform(-0.9, 0.9, 3).astype(np.float32))
        shifted, _, b, i = _looked_up(source, points + offset[:, None, None, None])
        more = shifted.long()
        image += painted(torch.where(parts >= len(TISSUES), more + len(TISSUES), more), contrast, dice)
        brain, intracranial = brain + b, intracranial + i
    image /= 1 + jitters
    brain, intracranial = brain / (1 + jitters), intracranial / (1 + jitters)
    masks = torch.stack([(brain / SPACING_MM / 0.7).add(0.5), (intracranial / SPACING_MM / 0.7).add(0.5)]).clamp(0, 1)
    image = _meninges(image, intracranial, dice)
    image = _lesions(image, brain, dice)
    image = _removed(image, brain, dice)
    image, seen = scanned(image, dice)
    return Head(image[None], masks, classes.long(), seen)


_OTHER_SIDE = torch.tensor(
    [
        CLASSES.index(name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right"))
        for name in CLASSES
    ]
)


def _placed(source: LabelMap, dice: Dice) -> tuple[Tensor, bool]:
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
    matrix = torch.as_tensor(matrix.astype(np.float32))
    move = torch.as_tensor((dice.rng.normal(0, 1, 3) * [6, 9, 9]).astype(np.float32))
    if dice.chance(0.03):  # a neck, a jaw, an ear: little or nothing of the brain
        move += torch.as_tensor((dice.rng.normal(0, 1, 3) * [30, 50, 50] - [0, 0, 90]).astype(np.float32))
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
    far = int(-FAR_MM * 10)
    return (
        tissue, classes.long(), brain.masked_fill(outside, far).float() / 10,
        inside.masked_fill(outside, far).float() / 10,
    )  # fmt: skip


def _no_head(dice: Dice) -> Head:
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
    image, seen = scanned(image, dice)
    masks, classes = torch.zeros(2, *BOX_VOXELS), torch.zeros(BOX_VOXELS, dtype=torch.long)
    return Head(image[None], masks, classes, seen)


def _meninges(image: Tensor, intracranial: Tensor, dice: Dice) -> Tensor:
    """A layer of dura, vessels or skull, of any brightness, where the skull begins; it varies along its way."""
    if not dice.chance(0.5):
        return image
    inner, outer = dice.between(-0.5, 1.5), dice.between(0.5, 3.5)
    where = (intracranial < inner) & (intracranial > -outer)
    if dice.chance(0.5):
        where &= dice.smooth(6, 7, 6) > dice.between(-1, 0.5)
    value = dice.between(0, 1.1)
    return torch.where(where, value + 0.05 * dice.normal(*BOX_VOXELS), image)


def _lesions(image: Tensor, brain: Tensor, dice: Dice) -> Tensor:
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


def _removed(image: Tensor, brain: Tensor, dice: Dice) -> Tensor:
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
