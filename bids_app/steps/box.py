"""The box that a mask fills: what concerns a brain alone is computed in its box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


def box_of(mask: NDArray[np.bool_], margin: int | Sequence[int] = 0) -> Box:
    """The smallest box around a 3-D mask and some voxels more, within the grid; of no voxel where the mask is empty.

    Parameters
    ----------
    margin
        Voxels more on each side: one number, or one for each axis.
    """
    margins = [margin] * 3 if isinstance(margin, int) else margin
    parts: list[Any] = []
    for axis, more in enumerate(margins):
        found = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not found.size:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        parts.append(slice(max(0, int(found[0]) - more), min(mask.shape[axis], int(found[-1]) + 1 + more)))
    return parts[0], parts[1], parts[2]
