"""Where transforms take the points of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .images import new_image, to_itk
from .resampling import Grid

if TYPE_CHECKING:
    import SimpleITK as sitk


def mapped_points(transforms: Sequence[sitk.Transform], grid: Grid, *, threads: int = 1) -> NDArray[np.float64]:
    """Where a chain of transforms takes the centres of the voxels of a grid.

    Parameters
    ----------
    transforms
        ITK transforms (points in LPS mm); a point goes through `transforms[0]` first, as for `resampling.resample`.

    Returns
    -------
    RAS+ mm, of the grid's shape with a last axis of three.
    """
    import SimpleITK as sitk

    x, y, z = grid.shape
    at = np.stack(np.meshgrid(np.arange(x), np.arange(y), np.arange(z), indexing="ij"), axis=-1)
    points = np.asarray(at @ grid.affine[:3, :3].T + grid.affine[:3, 3])
    if not transforms:
        return points
    mapper = sitk.TransformToDisplacementFieldFilter()
    mapper.SetReferenceImage(to_itk(new_image(np.broadcast_to(np.uint8(0), grid.shape), grid.affine)))
    mapper.SetOutputPixelType(sitk.sitkVectorFloat64)
    mapper.SetNumberOfThreads(threads)
    moved = sitk.GetArrayFromImage(mapper.Execute(sitk.CompositeTransform(list(reversed(transforms)))))
    points += moved.transpose(2, 1, 0, 3) * (-1.0, -1.0, 1.0)  # ITK's world is LPS+
    return points
