"""The surface of a head, shaded: what a person would be recognised by, if it were still there.

It is drawn from the defaced image as it was written, along the image's own axes. (The face check itself looks from the
direction in which the brain mask says that the face is; here a reader sees the same head without that help.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.images import Image, array_of, spacing_mm

_STEP_MM = 1.25
#: Tissue is brighter than this share of the 99th percentile, as the face check has it.
_TISSUE = 0.08
#: Pixels of a picture along each edge, at most: a field of view with neck and shoulders is not larger than a head.
_LARGEST = 220


def head_surface(image: Image) -> NDArray[np.uint8]:
    """The head seen from the front and from its left, beside each other (rows from the top; black is nothing).

    Parameters
    ----------
    image
        Conformed and defaced.
    """
    from scipy.ndimage import median_filter

    array = np.abs(array_of(image))
    for axis, edge in enumerate(spacing_mm(image)):
        array = _resampled(array, axis, edge)
    some = array[::3, ::3, ::3]
    bright = some[some > 0]
    if not bright.size:
        return np.zeros((_LARGEST, _LARGEST), dtype=np.uint8)
    tissue = array > _TISSUE * np.percentile(bright, 99)
    front = _shaded(median_filter(_depth(tissue[:, ::-1], 1), 3).T[::-1, ::-1])
    left = _shaded(median_filter(_depth(tissue, 0), 3).T[::-1, ::-1])
    return np.hstack([front, np.zeros((len(front), 8), dtype=np.uint8), left])[:_LARGEST]


def _resampled(array: NDArray[np.float32], axis: int, edge_mm: float) -> NDArray[np.float32]:
    """An array with `_STEP_MM` from voxel to voxel along an axis: the nearest voxel, between thick slices a mixture."""
    size = array.shape[axis]
    at = np.clip((np.arange(max(1, round(size * edge_mm / _STEP_MM))) + 0.5) * _STEP_MM / edge_mm - 0.5, 0, size - 1)
    if edge_mm < 2 * _STEP_MM:
        return array.take(np.rint(at).astype(int), axis=axis)
    below = at.astype(int)
    share = (at - below).astype(np.float32).reshape([-1 if one == axis else 1 for one in range(3)])
    above = array.take(np.minimum(below + 1, size - 1), axis=axis)
    return array.take(below, axis=axis) * (1 - share) + above * share


def _depth(tissue: NDArray[np.bool_], axis: int) -> NDArray[np.float32]:
    """How many voxels along an axis the first tissue lies behind the grid's border; NaN where there is none.

    Two voxels in a row make tissue: a single one is noise.
    """
    thick = tissue & np.roll(tissue, -1, axis=axis)
    return np.where(thick.any(axis=axis), thick.argmax(axis=axis), np.nan).astype(np.float32)


def _shaded(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A surface of depths (voxels), lit from above and from the left."""
    from scipy.ndimage import gaussian_filter

    behind = np.nan_to_num(depth, nan=float(np.nanmax(depth)) if np.isfinite(depth).any() else 0.0)
    down, across = np.gradient(-gaussian_filter(behind, 0.8))  # without the voxels' steps
    light = (0.9 + 0.4 * down - 0.2 * across) / np.sqrt(1 + down**2 + across**2)
    return np.where(np.isfinite(depth), 30 + 200 * np.clip(light, 0, 1), 0).astype(np.uint8)
