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
from .resampling import Grid, resample_labels, resample_mask

if TYPE_CHECKING:
    import SimpleITK as sitk

VERSION = "3"

#: A mask drawn by hand reaches to the lesion's visible edge; what lies one voxel further is half lesion, too, and no
#: yardstick either (partial volume). In mm.
MARGIN_MM = 2.0
_FINER, _MOST_FINER = 3, 8
_MOST_LABELS = 50  # a probability in per cent takes more values
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

    Several whole numbers below 100 are lesions or parts of them that were numbered: all of them count.

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
    return new_image(_inside(array).astype(np.uint8), grid_affine(raw))


def _inside(array: NDArray[Any]) -> NDArray[np.bool_]:
    """What of a mask is lesion: every label of numbered lesions or parts, half and more of a probability or of 255."""
    values = np.unique(array[array > 0])
    if not values.size:
        return np.zeros(array.shape, bool)
    numbered = 1 < values.size <= _MOST_LABELS and values[-1] < 100 and bool((values == np.rint(values)).all())
    return np.asarray(array > 0 if numbered else array >= 0.5 * float(values[-1]))


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
    taken on a grid three times as fine, and the voxels that are fullest of it stand for it, as many as it fills. A part
    of it that is smaller than the grid's voxels is not lost.
    """
    plain = resample_mask(lesion, grid, transforms)
    near = _parts_near(lesion, grid, transforms)
    box = box_of(near > 0, 1)
    part = grid.part(box)
    if not all(part.shape):
        return plain
    chosen = _fullest(lesion, part, transforms, mask_of(plain)[box])
    near = near[box]
    for lost in np.setdiff1d(near[near > 0], near[chosen]):  # smaller than a voxel: the one in its middle stands for it
        where = np.argwhere(near == lost)
        chosen[tuple(where[np.linalg.norm(where - where.mean(axis=0), axis=1).argmin()])] = True
    result = np.zeros(grid.shape, np.uint8)
    result[box] = chosen
    return new_image(result, grid.affine)


def _parts_near(lesion: Image, grid: Grid, transforms: Sequence[sitk.Transform]) -> NDArray[np.uint16]:
    """The number of the connected part that each voxel of a grid touches, 0 where it touches none."""
    from scipy.ndimage import distance_transform_edt, label

    parts, _ = label(mask_of(lesion), structure=np.ones((3, 3, 3)))
    around = 0.75 * float(np.linalg.norm(grid.spacing_mm))  # half of a voxel's diagonal, and what a map may stretch
    wide = grown(parts > 0, spacing_mm(lesion), around)
    box = box_of(wide)
    wider = np.zeros(parts.shape, np.uint16)
    if parts.any():
        nearest = distance_transform_edt(
            parts[box] == 0, sampling=spacing_mm(lesion), return_distances=False, return_indices=True
        )
        wider[box] = np.where(wide[box], parts[box][tuple(nearest)], 0)
    return np.asarray(resample_labels(like(wider, lesion), grid, transforms, nearest=True).dataobj)


def _fullest(
    lesion: Image, part: Grid, transforms: Sequence[sitk.Transform], plain: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The voxels of a part of a grid that are fullest of lesion, as many as it fills; `plain` where that is as much."""
    finer = _finer(part, lesion)
    edges = [edge / n for edge, n in zip(part.spacing_mm, finer, strict=True)]
    fine = mask_of(resample_mask(lesion, part.with_spacing((edges[0], edges[1], edges[2])), transforms))
    share = fine.reshape([n for pair in zip(part.shape, finer, strict=True) for n in pair]).mean(axis=(1, 3, 5))
    if abs(plain.sum() - share.sum()) <= _KEPT * share.sum():
        return plain.copy()
    filled = round(float(share.sum()))
    order = np.argsort(-(share + 1e-6 * plain), axis=None, kind="stable")[:filled]
    chosen = np.zeros(part.shape, bool)
    chosen.ravel()[order] = True
    return chosen


def _finer(grid: Grid, lesion: Image) -> list[int]:
    """Into how many parts the voxels are cut along each axis: none longer than a voxel of the lesion mask."""
    least = min(spacing_mm(lesion))
    return [int(np.clip(np.ceil(edge / least), _FINER, _MOST_FINER)) for edge in grid.spacing_mm]


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
