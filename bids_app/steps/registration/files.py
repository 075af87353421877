"""Reading and writing ITK transforms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk


def write_transform(transform: sitk.Transform, path: Path) -> None:
    """Write a linear transform as `.mat` (ITK's AffineTransform_double_3_3) or any other as `.h5` (ITK composite).

    Raises
    ------
    ValueError
        A `.mat` was asked for a transform that is not linear.
    """
    import SimpleITK as sitk

    if path.suffix == ".mat":
        transform = as_affine(transform)
    sitk.WriteTransform(transform, str(path))


def read_transform(path: Path) -> sitk.Transform:
    """Read a transform that `write_transform` or ANTs wrote."""
    import SimpleITK as sitk

    transform = sitk.ReadTransform(str(path))
    return as_affine(transform) if transform.IsLinear() else transform


def as_affine(transform: sitk.Transform) -> sitk.AffineTransform:
    """Any linear transform as one AffineTransform with the same centre where it has one."""
    import SimpleITK as sitk

    if not transform.IsLinear():
        raise ValueError("the transform is not linear: write it as .h5")
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.array([transform.TransformPoint(tuple(row)) for row in np.eye(3)]).T - origin[:, None]
    centre = np.zeros(3)
    if transform.GetName() in ("AffineTransform", "Euler3DTransform", "MatrixOffsetTransformBase"):
        centre = np.array(transform.GetFixedParameters()[:3])
    result = sitk.AffineTransform(3)
    result.SetMatrix(matrix.ravel().tolist())
    result.SetCenter(centre.tolist())
    result.SetTranslation((origin - centre + matrix @ centre).tolist())
    return result
