"""Lesion masks: onto an image's grid, what they measure, and what is left of a brain mask without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from bids_app.steps.box import box_of

from .distance import grown
from .images import Image, ImageError, grid_affine, like, mask_of, new_image, spacing_mm, voxel_ml
from .resampling import Grid, resample_mask

if TYPE_CHECKING:
    import SimpleITK as sitk

VERSION = "2"

#: A mask drawn by hand reaches to the lesion's visible edge; what lies one voxel further is half lesion, too, and no
#: yardstick either (partial volume). In mm.
MARGIN_MM = 2.0
_FINER = 3
_KEPT = 0.01  # of the volume: what nearest neighbours may be off


@dataclass(frozen=True)
class Lesion:
    """What a lesion mask measures in its space.

    Attributes
    ----------
    centre_mm
        Centre of mass in RAS+ mm; `None` where the mask is empty.
    parts
        Connected parts (26 neighbours).
    """

    volume_ml: float
    centre_mm: tuple[float, float, float] | None
    parts: int


def read_mask(raw: Any) -> Image:
    """A lesion mask as stored: uint8 on its own grid; a fourth axis of length one is dropped. It may be empty.

    Raises
    ------
    ImageError
        Not three-dimensional, no numbers, without a usable affine, or negative.
    """
    array = np.asanyarray(raw.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise ImageError(f"its shape is {tuple(raw.shape)}: a lesion mask has three dimensions")
    if array.dtype.fields is not None or np.iscomplexobj(array):
        raise ImageError("its voxels are complex or RGB: a lesion mask has one number each")
    if array.dtype.kind == "f":
        array = np.nan_to_num(array, nan=0.0, posinf=1.0, neginf=0.0)
    if array.min() < 0:
        raise ImageError("it has negative values: a lesion mask is 0 outside of the lesion and 1 inside")
    inside = array >= 0.5 * float(array.max()) if array.max() > 0 else np.zeros(array.shape, bool)
    return new_image(inside.astype(np.uint8), grid_affine(raw))


def on_grid(mask: Image, grid: Grid) -> Image:
    """A lesion mask on another grid of the same world, by the headers alone, nearest neighbour.

    Raises
    ------
    ImageError
        The mask has a lesion and none of it lies in the grid's field of view.
    """
    result = resample_mask(mask, grid)
    if not mask_of(result).any() and mask_of(mask).any():
        points = apply_affine(np.linalg.inv(grid.affine) @ mask.affine, np.argwhere(mask_of(mask)))
        inside = ((points > -0.5) & (points < np.array(grid.shape) - 0.5)).all(axis=1)
        if not inside.any():
            raise ImageError(
                "the lesion mask does not overlap with the image that it was drawn on: by their headers it lies "
                "outside of the field of view; give it with the header of that image"
            )
        array = np.zeros(grid.shape, np.uint8)  # so small that no voxel's centre lies in it
        array[tuple(np.rint(points[inside]).astype(int).T)] = 1
        result = new_image(array, grid.affine)
    return result


def describe(mask: Image) -> Lesion:
    """Volume, centre and number of parts of a lesion mask."""
    from scipy.ndimage import label

    inside = mask_of(mask)
    volume = round(float(inside.sum()) * voxel_ml(mask), 4)
    if not inside.any():
        return Lesion(0.0, None, 0)
    centre = apply_affine(mask.affine, np.argwhere(inside).mean(axis=0))
    _, parts = label(inside, structure=np.ones((3, 3, 3)))
    x, y, z = (round(float(value), 2) for value in centre)
    return Lesion(volume, (x, y, z), int(parts))


def carried(lesion: Image, grid: Grid, transforms: Sequence[sitk.Transform] = ()) -> Image:
    """A lesion mask on another grid, through transforms from the grid to the lesion, by nearest neighbour.

    Of a small lesion the nearest neighbours of a few voxels make a volume that is off by some percent. Then they are
    taken on a grid three times as fine, and the voxels that are fullest of it stand for it, as many as it fills.
    """
    plain = resample_mask(lesion, grid, transforms)
    if not mask_of(plain).any():
        return plain
    box = box_of(mask_of(plain), 2)
    part = grid.part(box)
    fine = mask_of(resample_mask(lesion, part.with_spacing(_finer(part)), transforms))
    x, y, z = part.shape
    share = fine.reshape(x, _FINER, y, _FINER, z, _FINER).mean(axis=(1, 3, 5))
    filled, found = round(float(share.sum())), int(mask_of(plain).sum())
    if filled == 0 or abs(found - share.sum()) <= _KEPT * share.sum():
        return plain
    order = np.argsort(-(share + 1e-6 * mask_of(plain)[box]), axis=None, kind="stable")[:filled]
    chosen = np.zeros(part.shape, np.uint8)
    chosen.ravel()[order] = 1
    result = np.zeros(grid.shape, np.uint8)
    result[box] = chosen
    return new_image(result, grid.affine)


def _finer(grid: Grid) -> tuple[float, float, float]:
    x, y, z = grid.spacing_mm
    return x / _FINER, y / _FINER, z / _FINER


def without(mask: Image, lesion: NDArray[np.bool_], margin_mm: float = MARGIN_MM) -> Image:
    """A brain mask less the lesion and a margin around it: what intensities are learnt from.

    Where hardly anything would be left (less than a twentieth of the mask), the mask is kept.
    """
    inside = mask_of(mask)
    if not lesion.any():
        return mask
    left = inside & ~grown(lesion, spacing_mm(mask), margin_mm)
    if left.sum() < 0.05 * inside.sum():
        return mask
    return like(left.astype(np.uint8), mask)
