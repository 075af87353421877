"""How well a series lies on what it was aligned with: the session's reference, or the atlas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.box import box_of
from bids_app.steps.images import Image, array_of, like, mask_of, voxel_ml
from bids_app.steps.resampling import Grid, resample, resample_mask

from . import brain_edges, shapes, similarity
from .collect import CannotMeasureError, Measured, Once
from .grids import shrunk

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .series import Head

_WORKING_MM = 2.0
_MARGIN = 6  # voxels around the brains: the windows and strips reach no further


@dataclass(frozen=True, eq=False)
class Fixed:
    """What a series was aligned with.

    Attributes
    ----------
    image, brain_mask
        Conformed, on one grid, bias-corrected.
    transform
        Maps its points (LPS+ mm) to the series.
    ventricles
        Mask of the lateral ventricles in its world, on any grid; only an atlas has them.
    """

    image: Image
    brain_mask: Image
    transform: sitk.Transform
    ventricles: Image | None = None


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both images on the fixed one's grid of about 2 mm, cut to the brains.

    Attributes
    ----------
    fixed, moving
        Intensities, 0 to 1 (see `similarity.scaled`).
    seen
        What the series' field of view shows.
    ventricles
        The fixed image's, empty where they are not known.
    growth
        Volume of the series' brain mask here over that in its own space.
    """

    fixed: NDArray[np.float32]
    moving: NDArray[np.float32]
    fixed_brain: NDArray[np.bool_]
    moving_brain: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    ventricles: NDArray[np.bool_]
    spacing: tuple[float, float, float]
    growth: float

    @property
    def both(self) -> NDArray[np.bool_]:
        return self.fixed_brain & self.moving_brain


_Number = Callable[[_Pair], float]
_EVERY: dict[str, _Number] = {
    "nmi": lambda pair: similarity.normalized_mutual_information(pair.fixed[pair.both], pair.moving[pair.both]),
    "ncc": lambda pair: similarity.normalized_cross_correlation(pair.fixed[pair.both], pair.moving[pair.both]),
    "ssim": lambda pair: similarity.structural_similarity(pair.fixed, pair.moving, pair.both),
    "local_cc": lambda pair: similarity.local_correlation(pair.fixed, pair.moving, pair.both),
    "gamma_osbm": lambda pair: brain_edges.gamma_osbm(
        pair.moving_brain, brain_edges.strip_outside(pair.fixed_brain, pair.spacing), pair.seen
    ),
    "gamma_isbm": lambda pair: brain_edges.gamma_isbm(
        pair.moving_brain, brain_edges.strip_inside(pair.fixed_brain, pair.spacing), pair.seen
    ),
}


def measure_reference(measured: Measured, head: Head, fixed: Fixed | str) -> None:
    """Numbers of the co-registration; a text in place of what the series was aligned with is why there is none."""
    _measure(measured, "coregister", head, fixed, {"mask_reference_dice": _dice})


def measure_atlas(measured: Measured, head: Head, fixed: Fixed | str) -> None:
    """Numbers of the registration to an atlas; a text in its place is why there is none."""
    more: dict[str, _Number] = {
        "atlas_dice": _dice,
        "atlas_volume_change_percent": lambda pair: 100 * (pair.growth - 1),
        "atlas_gamma_oslv": _oslv,
    }
    _measure(measured, "atlas", head, fixed, more)


def _measure(measured: Measured, prefix: str, head: Head, fixed: Fixed | str, more: Mapping[str, _Number]) -> None:
    pair = Once(lambda: _pair(head, fixed))
    for name, function in {**{f"{prefix}_{name}": function for name, function in _EVERY.items()}, **more}.items():
        measured.add_one(name, partial(_of, pair, function))


def _of(pair: Callable[[], _Pair], function: _Number) -> float:
    return function(pair())


def _pair(head: Head, fixed: Fixed | str) -> _Pair:
    if isinstance(fixed, str):
        raise CannotMeasureError(fixed)
    target = shrunk(fixed.image, _WORKING_MM)
    grid = Grid.of(target)
    fixed_brain = array_of(shrunk(fixed.brain_mask, _WORKING_MM)) >= 0.5
    image = shrunk(like(head.corrected, head.image), _WORKING_MM)
    brain = shrunk(like(head.brain.astype(np.uint8), head.image), _WORKING_MM)
    through = [fixed.transform]
    moved = array_of(resample(image, grid, through))
    moving_brain = array_of(resample(brain, grid, through)) >= 0.5
    seen = mask_of(resample_mask(like(np.ones(brain.shape, np.uint8), brain), grid, through))
    ventricles = np.zeros_like(seen) if fixed.ventricles is None else mask_of(resample_mask(fixed.ventricles, grid))
    box = box_of(fixed_brain | moving_brain, _MARGIN)
    if not (fixed_brain & moving_brain).any():
        raise CannotMeasureError("the brains do not overlap")
    growth = float(moving_brain.sum() * voxel_ml(target) / (head.brain.sum() * voxel_ml(head.image)))
    one = similarity.scaled(array_of(target)[box], fixed_brain[box])
    other = similarity.scaled(moved[box], moving_brain[box])
    masks = (fixed_brain[box], moving_brain[box], seen[box], ventricles[box])
    return _Pair(one, other, *masks, grid.spacing_mm, growth)


def _dice(pair: _Pair) -> float:
    return shapes.dice(pair.fixed_brain & pair.seen, pair.moving_brain)


def _oslv(pair: _Pair) -> float:
    if not pair.ventricles.any():
        raise CannotMeasureError("where this atlas has its ventricles is not known")
    around = brain_edges.strip_outside(pair.ventricles, pair.spacing)
    return brain_edges.gamma_oslv(pair.moving, pair.moving_brain, pair.ventricles, around & pair.fixed_brain)
