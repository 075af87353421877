"""One interpolation between an image's own voxels and any output grid.

The only place of the package where voxels of an output are interpolated: every path from a scanner's grid to an output
goes through `resample` (or, for masks and labels, its nearest-neighbour sisters) exactly once, with all transforms of
that path composed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .images import Affine, Image, ImageError, array_of, like, mask_of, new_image, same_grid, spacing_mm, to_itk

if TYPE_CHECKING:
    import SimpleITK as sitk

VERSION = "1"

Interpolation = Literal["linear", "bspline", "lanczos"]


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid: its shape, and the 4x4 affine from voxel indices to RAS+ mm."""

    shape: tuple[int, int, int]
    affine: Affine

    @classmethod
    def of(cls, image: Any) -> Grid:
        """The grid of an image."""
        x, y, z = (int(n) for n in image.shape[:3])
        return cls((x, y, z), np.array(image.affine, dtype=float))

    @classmethod
    def isotropic(cls, image: Any, spacing_mm: float) -> Grid:
        """A grid of cubic voxels over the box and along the axes of `image`."""
        return cls.of(image).with_spacing((spacing_mm, spacing_mm, spacing_mm))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edge lengths along the grid's own axes."""
        return spacing_mm(self)

    def part(self, box: tuple[slice, slice, slice]) -> Grid:
        """The part of a grid in a box of its voxels."""
        x, y, z = (each.stop - each.start for each in box)
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ np.array([each.start for each in box], dtype=float)
        return Grid((x, y, z), affine)

    def with_spacing(self, spacing_mm: tuple[float, float, float]) -> Grid:
        """A grid with other voxel edges (mm) over the same box: same axes and centre, rounded up to whole voxels.

        The box is that of the voxels' outer faces, so that resampling there and back does not drift.
        """
        old, new = np.asarray(self.spacing_mm), np.asarray(spacing_mm, dtype=float)
        if not (new > 0).all():
            raise ImageError(f"voxel edges of {spacing_mm} mm make no grid")
        extent_mm = np.asarray(self.shape) * old
        x, y, z = (int(n) for n in np.maximum(1, np.ceil(extent_mm / new - 1e-3)))  # 1e-3: rounding of headers
        affine = self.affine.copy()
        affine[:3, :3] *= new / old
        centre = self.affine[:3, :3] @ ((np.asarray(self.shape) - 1) / 2) + self.affine[:3, 3]
        affine[:3, 3] = centre - affine[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
        return Grid((x, y, z), affine)


def resample(
    image: Image,
    grid: Grid,
    transforms: Sequence[sitk.Transform] = (),
    *,
    interpolation: Interpolation = "linear",
    threads: int = 1,
) -> Image:
    """Resample an image onto a grid through a chain of transforms, with one interpolation.

    Parameters
    ----------
    image
        Three-dimensional; any real data type.
    grid
        Where the result lies.
    transforms
        ITK transforms (points in LPS mm) in the order from output to input: a point of the output grid goes through
        `transforms[0]` first, then `transforms[1]`, …, and lands in `image`.
    interpolation
        Linear, cubic B-spline, or Lanczos-windowed sinc (radius 5). The result is clipped to the range of the input,
        so that no ringing leaves it: what was not negative stays so.

    Returns
    -------
    float32 image on `grid`; 0 where the image does not reach.
    """
    if not transforms and same_grid(image, grid, tolerance_mm=1e-6):
        return like(array_of(image).copy(), image)
    array = array_of(image)
    result = _resampled(like(array, image), grid, transforms, interpolation, threads)
    if interpolation != "linear":
        result = np.clip(result, min(0.0, float(array.min())), max(0.0, float(array.max())))  # 0: the fill value
    return new_image(result, grid.affine)


def resample_mask(mask: Image, grid: Grid, transforms: Sequence[sitk.Transform] = ()) -> Image:
    """Resample a mask by nearest neighbour (transforms as for `resample`): uint8, 1 where `mask` is not 0."""
    array = _resampled(like(mask_of(mask).astype(np.uint8), mask), grid, transforms, "nearest", 1)
    return new_image(array, grid.affine)


def resample_labels(
    labels: Image, grid: Grid, transforms: Sequence[sitk.Transform] = (), *, nearest: bool = False
) -> Image:
    """Resample a label image (transforms as for `resample`): no new labels, same data type.

    Each voxel gets the label with the most weight among its eight neighbours under linear interpolation, which keeps
    the borders smooth where the nearest neighbour makes stairs; with `nearest`, that of its nearest one.

    Raises
    ------
    ImageError
        The labels are not whole numbers.
    """
    array = np.asanyarray(labels.dataobj)
    if array.dtype.kind not in "iu":
        whole = np.round(array)
        if not np.array_equal(whole, array):
            raise ImageError("a label image must hold whole numbers")
        array = whole.astype(np.int32)
    return new_image(
        _resampled(like(array, labels), grid, transforms, "nearest" if nearest else "label", 1), grid.affine
    )


def _resampled(
    image: Image, grid: Grid, transforms: Sequence[sitk.Transform], interpolation: str, threads: int
) -> NDArray[Any]:
    import SimpleITK as sitk

    interpolators = {
        "nearest": sitk.sitkNearestNeighbor,
        "label": sitk.sitkLabelLinear,
        "linear": sitk.sitkLinear,
        "bspline": sitk.sitkBSpline,
        "lanczos": sitk.sitkLanczosWindowedSinc,
    }
    if interpolation not in interpolators:
        raise ValueError(f"{interpolation} is no interpolation: choose from linear, bspline, lanczos")
    template = to_itk(new_image(np.broadcast_to(np.uint8(0), grid.shape), grid.affine))
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(template)
    resampler.SetInterpolator(interpolators[interpolation])
    resampler.SetDefaultPixelValue(0)
    resampler.SetNumberOfThreads(threads)
    if transforms:
        # A composite applies the transform added last to a point first: the chain is added from its end.
        resampler.SetTransform(sitk.CompositeTransform(list(reversed(transforms))))
    result = sitk.GetArrayFromImage(resampler.Execute(to_itk(image)))
    return np.ascontiguousarray(result.transpose(2, 1, 0))
