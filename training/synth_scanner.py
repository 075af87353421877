"""What a scanner, a patient and an archive do to the picture of a head: blur, coils, noise, slices, field of view."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from synth_dice import Dice
from torch import Tensor
from torch.nn import functional

from bids_app.steps.brain_mask.synth_network import BOX_VOXELS


def scanned(image: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
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
    box = _field_of_view(dice)
    seen = torch.zeros(BOX_VOXELS, dtype=torch.bool)
    seen[box] = True
    scaled = torch.where(seen, _normalized(image, image[box]), torch.zeros(()))
    if dice.chance(0.05):
        scaled = torch.where(seen, 1 - scaled, torch.zeros(()))
    return scaled ** float(np.exp(dice.rng.normal(0, 0.3))), seen


def _normalized(image: Tensor, part: Tensor) -> Tensor:
    """0..1 between the 1st and the 99.5th percentile of a part."""
    ordered = part.flatten()[::7].sort().values
    low, high = ordered[int(0.01 * (len(ordered) - 1))], ordered[int(0.995 * (len(ordered) - 1))]
    return ((image - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)


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


def _sliced(image: Tensor, axis: int, dice: Dice) -> Tensor:
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


def _field_of_view(dice: Dice) -> tuple[slice, slice, slice]:
    """Whole box, or cut from some sides: no neck, no vertex, a slab, a narrow scan."""
    low, high = [0, 0, 0], list(BOX_VOXELS)
    if dice.chance(0.45):
        return _box(low, high)
    for axis in range(3):
        for side in (0, 1):
            if not dice.chance(0.35 if axis < 2 else 0.5):
                continue
            most = (0.18, 0.22, 0.32)[axis] if dice.chance(0.85) else 0.42
            cut = int(dice.between(0, most) * BOX_VOXELS[axis])
            if side == 0:
                low[axis] = cut
            else:
                high[axis] = BOX_VOXELS[axis] - cut
    return _box(low, high)


def _box(low: list[int], high: list[int]) -> tuple[slice, slice, slice]:
    x, y, z = (slice(a, b) for a, b in zip(low, high, strict=True))
    return x, y, z
