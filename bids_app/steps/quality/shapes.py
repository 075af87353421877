"""Geometry of the voxels and of the brain mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.box import box_of

from .collect import CannotMeasureError

#: Faces of the field of view of a conformed (RAS+) image: axis and whether it is the axis' end.
FACES: dict[str, tuple[int, bool]] = {
    "left": (0, False), "right": (0, True),
    "posterior": (1, False), "anterior": (1, True),
    "inferior": (2, False), "superior": (2, True),
}  # fmt: skip
#: Longest over shortest edge of a voxel, from which an image is highly anisotropic (a review of 54 public datasets of
#: brain MRI: 1 isotropic, under 2 mildly, from 2 on highly).
HIGHLY_ANISOTROPIC = 2.0
_ISOTROPIC = 1.01  # rounding of headers
_SMOOTH_FWHM_MM = 6.0


def anisotropy_ratio(spacing: tuple[float, ...]) -> float:
    """Longest over shortest edge of a voxel."""
    return max(spacing) / min(spacing)


def anisotropy_class(ratio: float) -> str:
    """isotropic, mild or high."""
    if ratio < _ISOTROPIC:
        return "isotropic"
    return "mild" if ratio < HIGHLY_ANISOTROPIC else "high"


def cut_areas_cm2(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> dict[str, float]:
    """Area of a mask in the outermost slice on each side of the field of view (RAS+ array), cm2."""
    result = {}
    for face, (axis, at_end) in FACES.items():
        slice_ = np.take(mask, -1 if at_end else 0, axis=axis)
        edges = [edge for each, edge in enumerate(spacing) if each != axis]
        result[face] = float(slice_.sum()) * edges[0] * edges[1] / 100
    return result


def edge_share(mask: NDArray[np.bool_]) -> float:
    """Share of a mask's surface voxels (a neighbour outside, or none) that lie in the outermost slices."""
    if not mask.any():
        raise CannotMeasureError("the mask is empty")
    padded = np.pad(mask, 1)
    box = box_of(padded, 1)
    inner = padded[box].copy()
    for axis in range(3):
        for step in (1, -1):
            inner &= np.roll(padded[box], step, axis=axis)
    skin = np.zeros_like(padded)
    skin[box] = padded[box] & ~inner
    skin = skin[1:-1, 1:-1, 1:-1]
    return 1 - int(skin[1:-1, 1:-1, 1:-1].sum()) / int(skin.sum())


def smoothness(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    """Dice of a mask with itself after a Gaussian of 6 mm FWHM, cut at one half. What leaves the image goes on."""
    from scipy.ndimage import gaussian_filter

    if not mask.any():
        raise CannotMeasureError("the mask is empty")
    sigma = [_SMOOTH_FWHM_MM / 2.3548 / edge for edge in spacing]
    inside = mask[box_of(mask, [int(4 * each) + 1 for each in sigma])]
    return dice(inside, gaussian_filter(inside.astype(np.float32), sigma, mode="nearest", truncate=2.5) >= 0.5)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 2 |A and B| / (|A| + |B|) (Dice 1945, doi:10.2307/1932409)."""
    total = int(one.sum()) + int(other.sum())
    if total == 0:
        raise CannotMeasureError("both masks are empty")
    return 2 * int((one & other).sum()) / total
