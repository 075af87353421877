"""Masks grown and shrunk by a few millimetres: exactly, and only where anything changes.

A map of distances says more than is asked for and takes several times as long: here the mask is grown along one axis by
every radius that a ball's rows have, and laid over itself once for each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.box import box_of

_Mask = NDArray[np.bool_]

#: A distance of just so many voxels is within reach, whichever way the last bit of the voxels' edges fell.
_TOLERANCE = 1e-4


def grown(mask: _Mask, spacing: Sequence[float], mm: float) -> _Mask:
    """Every voxel whose centre lies within `mm` of the centre of one of the mask's; `spacing` (mm) along each axis."""
    result = np.zeros_like(mask)
    rows = _ball(spacing, mm)
    reach = (*rows.shape, rows.max(initial=0) + 1)
    box = box_of(mask, reach)
    longer, longest = mask[box], int(rows.max(initial=0))
    part = np.zeros_like(longer)
    for radius in range(longest + 1):
        longer = longer | _moved(mask[box], 2, radius) | _moved(mask[box], 2, -radius)
        for x, y in np.argwhere(rows == radius).tolist():
            for dx, dy in product({x, -x}, {y, -y}):
                to_x, from_x = _overlap(dx, part.shape[0])
                to_y, from_y = _overlap(dy, part.shape[1])
                part[to_x, to_y] |= longer[from_x, from_y]
    result[box] = part
    return result


def shrunk(mask: _Mask, spacing: Sequence[float], mm: float) -> _Mask:
    """The voxels of a mask whose centres lie further than `mm` from all that are none of it.

    At the border of the grid a mask goes on; one that fills the grid stays as it is.
    """
    result = np.zeros_like(mask)
    box = box_of(mask, 1)  # what is nearest to the mask lies within one voxel of its box
    result[box] = mask[box] & ~grown(~mask[box], spacing, mm)
    return result


def _ball(spacing: Sequence[float], mm: float) -> NDArray[np.intp]:
    """How far a ball reaches along the third axis, by the steps along the first two; -1 where it does not."""
    mm *= 1 + _TOLERANCE
    x, y, z = (np.arange(int(mm / edge) + 2) * edge for edge in spacing)
    distance = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2)
    return np.asarray((distance <= mm).sum(axis=2) - 1)


def _moved(mask: _Mask, axis: int, steps: int) -> _Mask:
    """A mask moved along an axis; nothing comes in from beyond the grid."""
    if steps == 0:
        return mask
    result = np.zeros_like(mask)
    to, start = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
    to[axis], start[axis] = _overlap(steps, mask.shape[axis])
    result[tuple(to)] = mask[tuple(start)]
    return result


def _overlap(steps: int, size: int) -> tuple[slice, slice]:
    """Where something that moves by some steps lands in its grid, and from where."""
    return slice(max(steps, 0), max(size + min(steps, 0), 0)), slice(max(-steps, 0), max(size - max(steps, 0), 0))
