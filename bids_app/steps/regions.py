"""Regions of a parcellation: brought to a head, and what is in each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from .images import Image, ImageError, array_of, new_image, voxel_ml
from .mapping import mapped_points
from .resampling import Grid, resample_labels

if TYPE_CHECKING:
    import SimpleITK as sitk

VERSION = "1"

Hemisphere = Literal["left", "right"]

#: Numbers of the hemispheres in an image of `sides`.
LEFT, RIGHT = 1, 2
_HEMISPHERES: dict[int, Hemisphere] = {LEFT: "left", RIGHT: "right"}
#: How the names of regions say their side: a word of its own (Left-Putamen, 7Networks_LH_Vis_1, Putamen_L).
_SIDES: dict[str, Hemisphere] = {
    "l": "left",
    "lh": "left",
    "left": "left",
    "r": "right",
    "rh": "right",
    "right": "right",
}
#: What is dropped of a region beyond the midline of the atlas when its name says no side: rounding at the midline.
_ONE_SIDED = 0.99
_SLAB = 32


@dataclass(frozen=True)
class Region:
    """A region of a parcellation: its label, its name, and its side where the table or the name has one."""

    index: int
    name: str
    hemisphere: Hemisphere | None = None


@dataclass(frozen=True)
class Part:
    """A region, or the half of it that is in one hemisphere, in a head: flat indices of its voxels."""

    region: Region
    hemisphere: Hemisphere
    voxels: NDArray[np.intp]


def hemisphere_of(name: str) -> Hemisphere | None:
    """The side that the name of a region says; None where it says none, or both."""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    said = {_SIDES[word] for word in words if word in _SIDES}
    return said.pop() if len(said) == 1 else None


def carried(parcellation: Image, grid: Grid, transforms: Sequence[sitk.Transform]) -> Image:
    """A parcellation on another grid: whole labels only, none that it does not have (transforms as for `resample`).

    Raises
    ------
    ImageError
        Hardly anything of it is on the grid: it is in another space, or the map is wrong.
    """
    result = resample_labels(parcellation, grid, transforms)
    if not np.asanyarray(result.dataobj).any():
        raise ImageError("nothing of the parcellation is inside the image: it is not in the space of the atlas")
    return result


def sides(grid: Grid, transforms: Sequence[sitk.Transform], midline_mm: float = 0.0, *, threads: int = 1) -> Image:
    """In which hemisphere each voxel of a grid is, told by the side of the atlas' midline that it is mapped to.

    Parameters
    ----------
    transforms
        From the grid's space to the atlas, in the order in which a point goes through them.
    midline_mm
        x (RAS+) of the atlas' midsagittal plane: 0 in MNI space.

    Returns
    -------
    uint8: `LEFT` or `RIGHT`.
    """
    result = np.empty(grid.shape, np.uint8)
    for low in range(0, grid.shape[2], _SLAB):
        box = (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(low, min(grid.shape[2], low + _SLAB)))
        x = mapped_points(transforms, grid.part(box), threads=threads)[..., 0]
        result[box] = np.where(x < midline_mm, LEFT, RIGHT)
    return new_image(result, grid.affine)


def parts_of(labels: Image, side: Image, regions: Sequence[Region]) -> list[Part]:
    """The regions in a head by hemisphere, in the order of the table; one that is not there has no voxels.

    A region with a side of its own is that side's, whatever `side` says of single voxels at the midline; so is one that
    lies to 99 % on one side. Any other is two parts. Labels that the table does not name, and 0, are nothing.
    """
    flat = np.asanyarray(labels.dataobj).ravel()
    filled = np.flatnonzero(flat)
    order = filled[np.argsort(flat[filled], kind="stable")]
    values = flat[order]
    on = np.asanyarray(side.dataobj).ravel()
    result: list[Part] = []
    for region in regions:
        if region.index == 0:
            continue
        first, last = np.searchsorted(values, [region.index, region.index + 1])
        voxels = np.sort(order[first:last])
        left = float((on[voxels] == LEFT).mean()) if len(voxels) else 1.0
        own = region.hemisphere
        if own is None and len(voxels) and not 1 - _ONE_SIDED < left < _ONE_SIDED:
            own = "left" if left > 0.5 else "right"
        if own is not None:
            result.append(Part(region, own, voxels))
            continue
        for number, hemisphere in _HEMISPHERES.items():
            result.append(Part(region, hemisphere, voxels[on[voxels] == number]))
    return result


def volumes(parts: Sequence[Part], grey: Image) -> list[tuple[float, float]]:
    """For each part the volume of its voxels and that of the grey matter in them (sum of probabilities), in ml."""
    probability, ml = array_of(grey).ravel(), voxel_ml(grey)
    return [(len(part.voxels) * ml, float(probability[part.voxels].sum(dtype=np.float64)) * ml) for part in parts]
