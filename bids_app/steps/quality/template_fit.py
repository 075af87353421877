"""How well a skull-stripped b0 image that was brought to an atlas fits it, as a dataset of 2,888 acute strokes has it.

Its three gammas are shares of voxels in strips 5 voxels of 1 mm wide beside the atlas' brain mask and its lateral
ventricles (Liu et al. 2023, doi:10.1038/s41597-023-02457-9); lower is better. Unlike the numbers of `alignment`, which
are there for every contrast on a grid of 2 mm, these are taken on the atlas' own grid from the interpolated image, so
that they can be held against the published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_app.steps.box import box_of
from bids_app.steps.images import Image, array_of, like, mask_of, new_image, spacing_mm
from bids_app.steps.resampling import Grid, resample, resample_mask

from . import brain_edges
from .collect import CannotMeasureError, Measured, Once

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .series import Head

#: Ranges over the dataset's registered b0 images (mean 0.2042, SD 0.0628 and mean 0.2683, SD 0.0426). It gives none
#: for the ventricles, which age widens.
GAMMA_OSBM_RANGE = (0.0723, 0.5070)
GAMMA_ISBM_RANGE = (0.1560, 0.4273)
_GRID_MM = 1.0
_MARGIN = 6  # voxels around the brains: the strips reach no further
NAMES = ("template_gamma_osbm", "template_gamma_isbm", "template_gamma_oslv")


@dataclass(frozen=True, eq=False)
class Template:
    """The atlas: brain and brain mask on one grid, the lateral ventricles on any (None where they are not known), and
    the transforms that a point of it goes through to the series."""

    brain_mask: Image
    ventricles: Image | None
    way: Sequence[sitk.Transform]


def measure_template_fit(measured: Measured, head: Head, template: Template | str) -> None:
    """Add the three gammas of a b0 image; a text in place of the template is why there are none."""
    found = Once(lambda: _gammas(head, template))
    for name in NAMES:
        measured.add_one(name, lambda name=name: _known(found()[name]))  # type: ignore[misc]


def _known(value: float | str) -> float:
    if isinstance(value, str):
        raise CannotMeasureError(value)
    return value


def _gammas(head: Head, template: Template | str) -> dict[str, float | str]:
    if isinstance(template, str):
        raise CannotMeasureError(template)
    grid = Grid.of(template.brain_mask)
    if not np.allclose(grid.spacing_mm, _GRID_MM, atol=0.05):
        grid = grid.with_spacing((_GRID_MM, _GRID_MM, _GRID_MM))
    atlas = mask_of(resample_mask(template.brain_mask, grid))
    stripped = like(np.where(head.brain, array_of(like(head.corrected, head.image)), np.float32(0)), head.image)
    whole = like(np.ones(head.brain.shape, np.uint8), head.image)
    if not atlas.any():
        raise CannotMeasureError("the atlas has no brain")
    box = box_of(atlas, _MARGIN)
    part = grid.part(box)
    atlas = atlas[box]
    image = array_of(resample(stripped, part, template.way))
    seen = mask_of(resample_mask(whole, part, template.way))
    spacing = spacing_mm(new_image(np.zeros(part.shape, np.uint8), part.affine))
    brain = image > 0
    return {
        "template_gamma_osbm": brain_edges.gamma_osbm(brain, brain_edges.strip_outside(atlas, spacing), seen),
        "template_gamma_isbm": brain_edges.gamma_isbm(brain, brain_edges.strip_inside(atlas, spacing), seen),
        "template_gamma_oslv": _oslv(image, brain, template.ventricles, part),
    }


def _oslv(image: np.ndarray, brain: np.ndarray, ventricles: Image | None, grid: Grid) -> float | str:
    if ventricles is None:
        return "where this atlas has its ventricles is not known"
    inside = mask_of(resample_mask(ventricles, grid))
    around = brain_edges.strip_outside(inside, grid.spacing_mm)
    try:
        return brain_edges.gamma_oslv(image, brain, inside, around)
    except CannotMeasureError as error:
        return str(error)
