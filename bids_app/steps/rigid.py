"""Rigid transforms as 4x4 matrices (LPS+ mm), and their mean.

The mean of rigid transforms is the exponential barycentre of the group (Pennec and Arsigny 2013,
doi:10.1007/978-1-4471-5416-7_7): geodesic for the rotations, and of two transforms the one half-way along the screw
between them. It does not depend on where the origin lies nor on which of the spaces the others are told from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import SimpleITK as sitk

Matrix = NDArray[np.float64]

_BRAIN_RADIUS_MM = 80.0  # of the ball over which displacements are averaged (Jenkinson 1999, FMRIB TR99MJ1)


def matrix_of(transform: sitk.Transform) -> Matrix:
    """A rigid ITK transform as a matrix; rounding in its rotation is removed."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    turned = np.array([transform.TransformPoint(tuple(row)) for row in np.eye(3)]).T - origin[:, None]
    left, _, right = np.linalg.svd(turned)
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = left @ right, origin
    return result


def affine_of(matrix: Matrix) -> sitk.AffineTransform:
    """A matrix as an ITK transform."""
    import SimpleITK as sitk

    result = sitk.AffineTransform(3)
    result.SetMatrix(matrix[:3, :3].ravel().tolist())
    result.SetTranslation(matrix[:3, 3].tolist())
    return result


def half_way(one: Matrix, other: Matrix) -> Matrix:
    """The transform in the middle between two."""
    return _tidy(one @ _exp(0.5 * _log(np.linalg.inv(one) @ other)))


def centred(poses: Mapping[str, Matrix]) -> dict[str, Matrix]:
    """The same poses told from the space in the middle of all: the mean of their logarithms is zero.

    A pose maps points of a common space to a visit's; the result maps points of the middle space.
    """
    shift = np.eye(4)
    for _ in range(50):
        step = np.mean([_log(pose @ shift) for pose in poses.values()], axis=0)
        shift = _tidy(shift @ _exp(-step))
        if np.abs(step).max() < 1e-12:
            break
    return {name: _tidy(pose @ shift) for name, pose in poses.items()}


def displacement_mm(one: Matrix, other: Matrix, centre: NDArray[np.float64]) -> float:
    """Root mean square distance between where two transforms put the points of a ball about `centre`."""
    difference = other - one
    at_centre = difference[:3, :3] @ centre + difference[:3, 3]
    turned = difference[:3, :3]
    return float(np.sqrt(_BRAIN_RADIUS_MM**2 / 5 * np.trace(turned.T @ turned) + at_centre @ at_centre))


def _log(matrix: Matrix) -> Matrix:
    from scipy.linalg import logm

    return np.real(logm(matrix))


def _exp(matrix: Matrix) -> Matrix:
    from scipy.linalg import expm

    return np.asarray(expm(matrix))


def _tidy(matrix: Matrix) -> Matrix:
    """The nearest rigid matrix: what rounding did to the rotation is removed."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = left @ right, matrix[:3, 3]
    return result
