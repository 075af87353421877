"""What the air around the head tells: noise, ghosts, motion. Needs the image as the scanner wrote it, not defaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.box import box_of
from bids_app.steps.images import Image, array_of, mask_of, spacing_mm

from .collect import CannotMeasureError
from .contrast import mad
from .grids import block_mean, blocks, spread

_COARSE_MM = 4.0  # the head's outline need not be finer
#: A voxel (of `_COARSE_MM`) belongs to the head from this way between air and brain on. Skin, fat and muscle are above
#: it in every contrast; what is dark inside (bone, sinuses) is filled.
_HEAD_LEVEL = 0.15
_CLOSED_MM, _MARGIN_MM = 8.0, 8.0  # gaps between skin and brain; the skin's blur and its chemical shift
_MIN_AIR_VOXELS = 2000
_ARTEFACT_SDS = 10.0  # of the air's noise, as MRIQC has it
_LARGEST_SAMPLE = 500_000
_PIECE = 1 << 18  # voxels that fit into a processor's cache
_TINY = np.float32(1e-30)  # keeps the logarithm of 0 finite; times 0 it is 0


@dataclass(frozen=True)
class Surroundings:
    """The air around the head and the head itself, on the image's grid, at the height of the brain and above.

    Below, ghosts of neck and jaw are the rule, and how much of them there is is the field of view's. What lies between
    the two (the skin's blur) and what is exactly 0 in blocks (padding, rotated fields of view) is neither.
    """

    air: NDArray[np.bool_]
    head: NDArray[np.bool_]


def surroundings(image: Image, brain_mask: Image) -> Surroundings:
    """Tell the air from the head.

    Parameters
    ----------
    image, brain_mask
        Conformed, on one grid; the image not defaced.

    Raises
    ------
    CannotMeasureError
        There is hardly any air, or all of it was set to 0.
    """
    from scipy.ndimage import binary_closing, binary_dilation, binary_fill_holes

    brain = mask_of(brain_mask)
    factors = blocks(spacing_mm(image), brain.shape, _COARSE_MM)
    coarse = block_mean(np.abs(array_of(image)), factors)
    coarse_brain = block_mean(brain, factors) > 0
    padding = coarse == 0
    outside = coarse[~coarse_brain & ~padding]
    if outside.size == 0:
        raise CannotMeasureError("the background was set to 0")
    low = float(np.percentile(outside, 10))
    level = low + _HEAD_LEVEL * (float(np.median(coarse[coarse_brain])) - low)
    ball = _ball(np.asarray(spacing_mm(image)) * factors, _CLOSED_MM)
    head = np.pad((coarse > level) | coarse_brain, 4)
    head = binary_fill_holes(binary_closing(head, ball))
    head = _largest(head)
    near = binary_dilation(head, _ball(np.asarray(spacing_mm(image)) * factors, _MARGIN_MM))[4:-4, 4:-4, 4:-4]
    head = head[4:-4, 4:-4, 4:-4] & ~padding
    air = ~near & ~padding
    lowest = int(np.flatnonzero(coarse_brain.any(axis=(0, 1)))[0])
    air[:, :, :lowest] = head[:, :, :lowest] = False
    mask = spread(air, factors, brain.shape)
    if mask.sum() < _MIN_AIR_VOXELS:
        there = ~near & padding
        there[:, :, :lowest] = False
        raise CannotMeasureError(
            "the background was set to 0" if there.sum() > air.sum() else "the field of view has no air around the head"
        )
    return Surroundings(mask, spread(head, factors, brain.shape))


def efc(image: NDArray[Any]) -> float:
    """Entropy focus criterion (Atkinson et al. 1997, doi:10.1109/42.650886), over its largest value, as in MRIQC.

    With b = sqrt(sum x^2), the entropy is -sum (x / b) ln(x / b); it is largest, sqrt(n) ln sqrt(n), when all n voxels
    are equal. 0: all energy in one voxel.
    """
    values = np.asarray(image, dtype=np.float32).ravel()
    pieces = [values[start : start + _PIECE] for start in range(0, values.size, _PIECE)]  # no second copy of the image
    energy = np.sqrt(sum(float((piece.astype(np.float64) ** 2).sum()) for piece in pieces))
    if energy == 0 or values.size < 2:
        raise CannotMeasureError("the image is empty")
    entropy = 0.0
    for piece in pieces:
        share = np.abs(piece) / np.float32(energy)
        entropy -= float((share * np.log(share + _TINY)).sum(dtype=np.float64))
    root = np.sqrt(values.size)
    return float(entropy / (root * np.log(root)))


def fber(image: NDArray[Any], air: NDArray[np.bool_], head: NDArray[np.bool_]) -> float:
    """Foreground to background energy ratio: median(head^2) / median(air^2), as MRIQC has it."""
    below = float(np.median(sample(image[air]).astype(np.float64) ** 2))
    if below == 0:
        raise CannotMeasureError("most of the air is 0")
    return float(np.median(sample(image[head]).astype(np.float64) ** 2)) / below


def artefact_share(image: NDArray[Any], air: NDArray[np.bool_]) -> float:
    """Share of the air's voxels that artefacts make bright (QI1 of Mortamet et al. 2009, doi:10.1002/mrm.21992).

    Above median + 10 MAD of the air, and in clusters: what an opening by a voxel and its six neighbours leaves.
    """
    from scipy.ndimage import binary_opening

    values = sample(image[air])
    noise = mad(values)
    if noise == 0:
        raise CannotMeasureError("the air has no noise: it was set to one value")
    bright = air & (image > np.median(values) + _ARTEFACT_SDS * noise)
    if not bright.any():
        return 0.0
    box = box_of(bright, 1)
    return float(binary_opening(bright[box]).sum() / air.sum())


def sample(values: NDArray[Any]) -> NDArray[Any]:
    """Members of a large one-dimensional array: medians and percentiles need no more.

    One at random, the same each time, of each of equal stretches: every so many-th one would be those of a few slices
    where the stretch is a multiple of an image's edge.
    """
    step = values.size // _LARGEST_SAMPLE
    if step < 2:
        return values
    starts = np.arange(values.size // step) * step
    return values[starts + np.random.default_rng(0).integers(0, step, starts.size)]


def _ball(spacing: NDArray[np.float64], radius_mm: float) -> NDArray[np.bool_]:
    """Offsets within a radius; along an axis of longer voxels, only the voxel itself."""
    reach = [int(radius_mm / edge) for edge in spacing]
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    inside: NDArray[np.bool_] = ((offsets * spacing) ** 2).sum(axis=-1) <= radius_mm**2
    return inside


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import label

    parts, count = label(mask)
    if count < 2:
        return mask
    result: NDArray[np.bool_] = parts == np.bincount(parts[mask]).argmax()
    return result
