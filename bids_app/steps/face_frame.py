"""Where the head is in an image, told by its brain mask: the template's brain is fitted to the mask.

Rigid with one scale an axis, and robust: a mask that takes in a part of the face, or a brain that is cut off, moves
the fit little. No intensities are used, so that it is the same in any contrast and before and after defacing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from .images import Image, ImageError, mask_of, spacing_mm

Array = NDArray[np.float64]

_BRAIN = Path(__file__).parents[1] / "data" / "head_template" / "brain_probability.nii.gz"
_POINT_EVERY_MM, _MOST_POINTS = 5.0, 800
_CAUCHY_MM = 3.0
_PITCHES_DEG = (-40.0, -20.0, 0.0, 20.0, 40.0)
#: Standard deviations of pitch, roll, yaw (radians), log scales and shifts (mm), before the mask is seen.
_DEVIATION = np.array([0.45, 0.2, 0.2, 0.08, 0.08, 0.08, 40.0, 40.0, 40.0])
_PRIOR, _DATA = 0.5, 3.0  # weights of the two, for a well-seen brain far on the side of the data
#: Where the fit is no fit: median distance of the surfaces (label-map and real heads: 1.6 to 3.2), and scales.
_MAX_MISFIT_MM = 5.0
_SCALES = (0.72, 1.7)  # a newborn's brain is 0.6 times as long as the template's


@dataclass(frozen=True)
class FaceFrame:
    """From the image's world (RAS+ mm) to the space of the head template, MNI152NLin2009aSym.

    `misfit_mm` is the median distance of the mask's surface from the template's; `problem` says why no face can be
    looked for in this frame, and is empty where one can.
    """

    matrix: Array
    misfit_mm: float
    problem: str = ""

    def pitched(self, degrees: float) -> FaceFrame:
        """The same frame turned about the left-right axis through the brain's centre."""
        turn, centre = np.eye(4), _template_brain()[2]
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
        turn[:3, 3] = centre - turn[:3, :3] @ centre
        return FaceFrame(turn @ self.matrix, self.misfit_mm, self.problem)


def find_frame(brain_mask: Image) -> FaceFrame:
    """Fit the template's brain to a conformed mask: nine parameters, least squares with Cauchy's loss.

    Points of the mask's surface, none on the border of the field of view, are brought to where the template's signed
    distance is 0, from five pitches of the head; weak priors decide what a cut-off mask leaves open.

    Raises
    ------
    ImageError
        The mask is empty, tiny, or fills the image: it shows too little of a surface.
    """
    from scipy.ndimage import map_coordinates
    from scipy.optimize import least_squares

    brain = _largest(mask_of(brain_mask))
    affine = np.asarray(brain_mask.affine, dtype=float)
    points = _surface_points(brain, affine)
    if len(points) < 50:
        raise ImageError(
            "the brain mask is empty, tiny or fills the image: it shows no surface of a brain to find the face from"
        )
    distance, to_index, centre = _template_brain()
    middle = nib.affines.apply_affine(affine, np.argwhere(brain)).mean(axis=0)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    local = (points - middle) @ axes  # along the grid's own axes, which the operator aligned with the head

    def misfit(parameters: Array) -> Array:
        index = nib.affines.apply_affine(to_index @ _matrix(parameters, centre), local)
        return np.asarray(map_coordinates(distance, index.T, order=1, mode="nearest"))

    def residuals(parameters: Array) -> Array:
        robust = _CAUCHY_MM * np.sqrt(np.log1p((misfit(parameters) / _CAUCHY_MM) ** 2))
        return np.concatenate([robust * _DATA / np.sqrt(len(local)), _PRIOR * parameters])

    def slopes(parameters: Array) -> Array:
        steps = 0.02 * np.eye(9)
        return np.stack([residuals(parameters + e) - residuals(parameters - e) for e in steps], axis=1) / 0.04

    starts = np.zeros((len(_PITCHES_DEG), 9))
    starts[:, 0] = np.radians(_PITCHES_DEG) / _DEVIATION[0]
    fits = [least_squares(residuals, start, slopes, ftol=1e-3, xtol=1e-3, max_nfev=30) for start in starts]
    best = min(fits, key=lambda fit: fit.cost).x
    off, scales = float(np.median(np.abs(misfit(best)))), np.exp((best * _DEVIATION)[3:6])
    to_local = np.eye(4)
    to_local[:3, :3] = axes.T
    to_local[:3, 3] = -axes.T @ middle
    problem = ""
    if off > _MAX_MISFIT_MM or scales.min() < _SCALES[0] or scales.max() > _SCALES[1]:
        problem = f"the brain mask is not shaped like a brain ({off:.0f} mm off)"
    return FaceFrame(_matrix(best, centre) @ to_local, round(off, 2), problem)


def _matrix(parameters: Array, centre: Array) -> Array:
    """4x4 of parameters in units of `_DEVIATION`: turned, scaled, shifted to the template's centre."""
    values = parameters * _DEVIATION
    (cx, cy, cz), (sx, sy, sz) = np.cos(values[:3]), np.sin(values[:3])
    pitch = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    roll = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    yaw = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    result = np.eye(4)
    result[:3, :3] = np.diag(np.exp(values[3:6])) @ pitch @ roll @ yaw
    result[:3, 3] = centre + values[6:9]
    return result


@cache
def _template_brain() -> tuple[Array, Array, Array]:
    """Signed distance (mm) from the template's brain, its affine inverted (mm to index), the brain's centre (mm)."""
    from scipy.ndimage import distance_transform_edt

    image: Image = nib.as_closest_canonical(nib.load(_BRAIN))
    margin = 15
    brain = np.pad(np.asarray(image.dataobj) > 127, margin)
    affine = np.array(image.affine, dtype=float)
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, margin)
    spacing = spacing_mm(image)
    distance = distance_transform_edt(~brain, sampling=spacing) - distance_transform_edt(brain, sampling=spacing)
    centre = nib.affines.apply_affine(affine, np.argwhere(brain)).mean(axis=0)
    return np.asarray(distance, dtype=np.float64), np.linalg.inv(affine), centre


def _surface_points(brain: NDArray[np.bool_], affine: Array) -> Array:
    """Points (mm) of the surface, one in each cube of 5 mm, none in the grid's outermost layers."""
    from scipy.ndimage import binary_erosion

    index = np.argwhere(brain & ~binary_erosion(brain, border_value=1))
    index = index[((index > 0) & (index < np.array(brain.shape) - 1)).all(axis=1)]
    points: Array = nib.affines.apply_affine(affine, index).reshape(-1, 3)
    _, first = np.unique(np.floor(points / _POINT_EVERY_MM).astype(np.int64), axis=0, return_index=True)
    return points[np.sort(first)][:: max(1, -(-len(first) // _MOST_POINTS))]


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part."""
    from scipy.ndimage import label

    parts, count = label(mask)
    result: NDArray[np.bool_] = mask if count < 2 else parts == np.bincount(parts[mask]).argmax()
    return result
