"""Modulated and smoothed tissue in atlas space, as voxel-based morphometry compares it between people.

A tissue's probability is resampled to the atlas and multiplied by how much the map there stretches or shrinks space:
the determinant of the Jacobian of the map from atlas points to native points (Good et al. 2001,
doi:10.1006/nimg.2001.0786). What is summed over the atlas is then the tissue's native volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .images import Image, array_of, like, new_image, spacing_mm, voxel_ml
from .mapping import mapped_points
from .resampling import Grid, resample, resample_mask

if TYPE_CHECKING:
    import SimpleITK as sitk

VERSION = "1"

Part = Literal["full", "nonlinear"]

#: Slices that the Jacobian is computed for at a time: 9 derivatives of a whole 1 mm atlas would be 600 MB.
_SLAB = 16
_FWHM_PER_SIGMA = float(2 * np.sqrt(2 * np.log(2)))


@dataclass(frozen=True, eq=False)
class Modulated:
    """Tissue in atlas space, and whether it is all there.

    Attributes
    ----------
    image
        Probability times determinant, float32: times the volume of a voxel it is the tissue's native volume in it.
    native_ml
        Sum of the native probability times the volume of a native voxel.
    atlas_ml
        The same of `image`.
    outside_ml
        Native volume that the map puts beyond the atlas' grid, so that it is lost; None where the way from native to
        atlas was not given.
    linear_determinant
        Determinant of the map's linear parts: native over atlas volume.
    folded
        Share of the voxels with tissue at which the map turns space inside out; they count as 0.
    """

    image: Image
    native_ml: float
    atlas_ml: float
    outside_ml: float | None
    linear_determinant: float
    folded: float


def modulate(
    probability: Image,
    grid: Grid,
    transforms: Sequence[sitk.Transform],
    *,
    part: Part = "full",
    back: Sequence[sitk.Transform] | None = None,
    threads: int = 1,
) -> Modulated:
    """Carry a tissue to an atlas with its volume.

    Parameters
    ----------
    probability
        Of the tissue, 0 to 1, in native space.
    grid
        Of the atlas.
    transforms
        From atlas to native, as for `resampling.resample`: a point of the atlas goes through `transforms[0]` first.
    part
        The determinant of the whole map ("full"), or of its non-linear parts alone ("nonlinear"): what is left is then
        corrected for the size of the head, and `atlas_ml` is `native_ml` over the linear determinant.
    back
        The way from native to atlas points, to tell what falls off the grid; linear ones are inverted where it is None.
    """
    moved = array_of(resample(probability, grid, transforms, threads=threads))
    linear = linear_determinant(transforms)
    determinants = jacobian_determinant(transforms, grid, threads=threads)
    there = moved > 0
    folded = float((determinants[there] <= 0).mean()) if there.any() else 0.0
    if part == "nonlinear":
        determinants /= linear
    result = (moved * np.maximum(determinants, 0)).astype(np.float32)
    native = array_of(probability)
    if back is None and all(each.IsLinear() for each in transforms):
        back = [each.GetInverse() for each in reversed(transforms)]
    outside = None
    if back is not None:
        reached = resample_mask(new_image(np.ones(grid.shape, np.uint8), grid.affine), Grid.of(probability), back)
        outside = float(native[array_of(reached) == 0].sum(dtype=np.float64)) * voxel_ml(probability)
    image = new_image(result, grid.affine)
    return Modulated(image, _ml(native, probability), _ml(result, image), outside, linear, folded)


def smooth(image: Image, fwhm_mm: float) -> Image:
    """Smooth with a Gaussian of this full width at half maximum (mm); beyond the grid there is nothing (0)."""
    from scipy.ndimage import gaussian_filter

    if fwhm_mm <= 0:
        raise ValueError(f"a kernel of {fwhm_mm} mm smooths nothing")
    sigma = [fwhm_mm / _FWHM_PER_SIGMA / edge for edge in spacing_mm(image)]
    return like(gaussian_filter(array_of(image), sigma, mode="constant"), image)


def jacobian_determinant(transforms: Sequence[sitk.Transform], grid: Grid, *, threads: int = 1) -> NDArray[np.float64]:
    """Determinant of the Jacobian of a chain of transforms (see `modulate`) in each voxel of a grid.

    A linear chain has one determinant. Else the corners of each voxel are mapped, and the derivative along an axis is
    the mean difference of the four edges along it: the volume of the mapped voxel, to second order, so that summing
    loses none between voxels.

    Returns
    -------
    float64 of the grid's shape; negative where the chain changes handedness.
    """
    if all(each.IsLinear() for each in transforms):
        return np.full(grid.shape, linear_determinant(transforms))
    result = np.empty(grid.shape)
    step = np.linalg.det(grid.affine[:3, :3])
    for low in range(0, grid.shape[2], _SLAB):
        high = min(grid.shape[2], low + _SLAB)
        slab = grid.part((slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(low, high)))
        corners = mapped_points(transforms, _corners(slab), threads=threads)
        jacobian = np.empty((*slab.shape, 3, 3))
        for axis in range(3):
            edges = np.diff(corners, axis=axis)
            for other in range(3):
                if other != axis:
                    before, after = [slice(None)] * 3, [slice(None)] * 3
                    before[other], after[other] = slice(None, -1), slice(1, None)
                    edges = (edges[tuple(before)] + edges[tuple(after)]) / 2
            jacobian[..., axis] = edges
        result[:, :, low:high] = np.linalg.det(jacobian) / step
    return result


def linear_determinant(transforms: Sequence[sitk.Transform]) -> float:
    """Determinant of the linear parts of a chain of transforms, those inside of composites with them."""
    result = 1.0
    for each in _flat(transforms):
        if each.IsLinear():
            origin = np.array(each.TransformPoint((0.0, 0.0, 0.0)))
            result *= float(np.linalg.det([np.array(each.TransformPoint(tuple(row))) - origin for row in np.eye(3)]))
    return result


def _flat(transforms: Sequence[Any]) -> list[Any]:
    """The parts of composite transforms."""
    result: list[Any] = []
    for each in transforms:
        whole = each.Downcast() if hasattr(each, "Downcast") else each
        if whole.GetName() == "CompositeTransform":
            result += _flat([whole.GetNthTransform(index) for index in range(whole.GetNumberOfTransforms())])
        else:
            result.append(whole)
    return result


def _corners(grid: Grid) -> Grid:
    """The grid of the corners of the voxels of a grid."""
    affine = grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3].sum(axis=1) / 2
    x, y, z = grid.shape
    return Grid((x + 1, y + 1, z + 1), affine)


def _ml(array: NDArray[Any], image: Image) -> float:
    return float(array.sum(dtype=np.float64)) * voxel_ml(image)
