"""How well a brain fits a template's, at its edge and around its ventricles: the gammas of an acute stroke MRI dataset
(2,888 patients, registered to a template of 1 mm, strips of 5 voxels)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.distance import grown, shrunk

from .collect import CannotMeasureError

STRIP_MM = 5.0
_HALF_SD = 0.5


def strip_outside(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The strip of 5 mm just outside a mask.

    The distance of a voxel is that of its centre from the mask's edge: to the nearest voxel of the mask, less half a
    voxel.
    """
    return grown(mask, spacing, STRIP_MM + min(spacing) / 2) & ~mask


def strip_inside(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The strip of 5 mm just inside a mask; at the border of the image a mask goes on."""
    return mask & ~shrunk(mask, spacing, STRIP_MM + min(spacing) / 2)


def gamma_osbm(brain: NDArray[np.bool_], outside: NDArray[np.bool_], seen: NDArray[np.bool_]) -> float:
    """Share of the strip outside the template's brain mask that is brain. Only what the field of view shows counts."""
    return _share(brain, outside & seen)


def gamma_isbm(brain: NDArray[np.bool_], inside: NDArray[np.bool_], seen: NDArray[np.bool_]) -> float:
    """Share of the strip inside the template's brain mask that is not brain. Only what the field of view shows
    counts."""
    return _share(~brain, inside & seen)


def gamma_oslv(
    image: NDArray[Any], brain: NDArray[np.bool_], ventricles: NDArray[np.bool_], around: NDArray[np.bool_]
) -> float:
    """Share of the strip around the template's lateral ventricles that looks like the fluid in them.

    Like fluid is what is above mean - SD / 2 of the image in the ventricles, as in b0 images, where fluid is bright;
    where it is darker than the median of the brain, what is below mean + SD / 2.

    Parameters
    ----------
    image
        On the template's grid.
    brain
        The image's own brain mask there.
    ventricles, around
        The template's lateral ventricles, and the strip around them.
    """
    inside = image[ventricles & brain]
    if inside.size < 2:
        raise CannotMeasureError("the field of view has no ventricles")
    mean, half = float(inside.mean(dtype=np.float64)), _HALF_SD * float(inside.std(dtype=np.float64))
    fluid = image > mean - half if mean > float(np.median(image[brain])) else image < mean + half
    return _share(fluid, around & brain)


def _share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    count = int(among.sum())
    if count == 0:
        raise CannotMeasureError("the field of view has nothing of it")
    return int((of & among).sum()) / count
