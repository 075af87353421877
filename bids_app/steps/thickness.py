"""Cortical thickness from the distance to the white matter, projected through the cortex.

After Dahnke, Yotter and Gaser (2013), doi:10.1016/j.neuroimage.2012.09.050. Every voxel of the cortex is followed
outward along the slope of its distance to the white matter. The way ends where the fluid begins or, in a fold whose
banks touch, on the ridge between two banks, and the distance there is the thickness. What such a closed fold holds of
fluid, less than a voxel shows, is the sum of the fluid's probability along the way, and no cortex.

The iterative registration of the white to the grey matter (DiReCT, Das et al. 2009) was here before: on a real head it
gave 4.6 mm and took half an hour, because where the banks touch nothing stops it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.steps.box import box_of

from .images import Image, ImageError, array_of, like, spacing_mm

VERSION = "2"

#: Shells of 2 to 3 mm come out right to 0.16 mm with voxels of 2 mm, too, but a real head of such voxels had a mean of
#: 3.7 mm: the blades of white matter within the folds are lost.
LARGEST_EDGE_MM = 1.2
#: The cortex is 1 to 4.5 mm thick (Fischl and Dale 2000, doi:10.1073/pnas.200033797): what lies further out is none.
LARGEST_MM = 6.0
_THINNEST_MM = 1.0
_GREY, _WHITE = 2, 3
_MARGIN_MM = 4.0
#: Edges over this are halved for all that is computed: finer than half a millimetre gains nothing and takes memory.
_HALVED_FROM_MM = 0.75
_STEP_MM = 0.25
#: The distance is smoothed by so much before its slope is taken: it comes from a border made of voxels.
_SMOOTHING_MM = 0.35
#: A ridge is blunt on a grid: its height is extrapolated from so far on both sides, where the slopes are whole.
_FROM_RIDGE_MM = 0.5
#: The distance grows by a whole step along its own slope; by less than this share of it, that was a ridge.
_RIDGE = 0.4
#: Nearer to the white matter is none: the distance is uneven there, where it was corrected within the voxels.
_NO_RIDGE_MM = 0.75


@dataclass(frozen=True, eq=False)
class Cortex:
    """The cortex on one grid: `labels` 2 where it is most likely cortex and 3 where it is what lies within, and the
    probabilities of both (float32)."""

    labels: Image
    grey: Image
    white: Image


@dataclass(frozen=True)
class ThicknessSummary:
    """Over the surface of some cortex: mean, standard deviation and median in mm; None of fewer than two voxels."""

    voxels: int
    mean_mm: float | None
    sd_mm: float | None
    median_mm: float | None


def cortex_of(
    grey: Image, white: Image, *, within: NDArray[np.bool_] | None = None, beyond: NDArray[np.bool_] | None = None
) -> Cortex:
    """The cerebral cortex and what lies within it.

    Parameters
    ----------
    grey, white
        Probabilities of the tissues, 0 to 1, on one grid.
    within
        Voxels that the cortex surrounds whatever their tissue (deep grey matter, lateral ventricles): white matter
        here.
    beyond
        Voxels that belong to no cerebral cortex (cerebellum, brain stem): nothing.
    """
    g, w = array_of(grey).copy(), array_of(white).copy()
    if within is not None:
        w[within], g[within] = 1, 0
    if beyond is not None:
        w[beyond], g[beyond] = 0, 0
    labels = np.array([0, _GREY, _WHITE], np.uint8)[np.argmax(np.stack([1 - g - w, g, w]), axis=0)]
    return Cortex(like(labels, grey), like(g, grey), like(w, grey))


def cortical_thickness(cortex: Cortex) -> Image:
    """Thickness in mm at the voxels of the cortex (`labels` 2), 0 elsewhere; float32 on the same grid.

    Raises
    ------
    ImageError
        Voxels too large for it, or no cortex on white matter.
    """
    if problem := largest_edge_problem(cortex.labels):
        raise ImageError(problem)
    labels = np.asanyarray(cortex.labels.dataobj)
    if not (labels == _GREY).any() or not (labels == _WHITE).any():
        raise ImageError("the segmentation has no cortex around white matter")
    edges = spacing_mm(cortex.labels)
    box = box_of(labels > 0, [int(np.ceil(_MARGIN_MM / edge)) for edge in edges])
    times = np.where(np.array(edges) > _HALVED_FROM_MM, 2, 1)
    white, tissue = (
        np.asarray(ndimage.zoom(array[box], times, order=1, mode="nearest", grid_mode=True))
        for array in (array_of(cortex.white), array_of(cortex.grey) + array_of(cortex.white))
    )
    fine = np.array(edges) / times
    voxels = np.argwhere(labels[box] == _GREY)
    starts = ((voxels + 0.5) * times - 0.5).T.astype(np.float32)
    fields = _Fields(_distance_mm(white, fine), tissue.clip(0, 1), fine)
    values = _thickness_at(starts, fields)
    result = np.zeros(labels.shape, np.float32)
    result[box][tuple(voxels.T)] = values
    return like(result, cortex.labels)


class _Fields:
    """The distance to the white matter (mm), its slope, and the share of tissue, anywhere between the voxels."""

    def __init__(self, distance: NDArray[np.float32], tissue: NDArray[np.float32], edges_mm: NDArray[np.float64]):
        self._distance, self._tissue = distance, tissue
        smooth = ndimage.gaussian_filter(distance, _SMOOTHING_MM / edges_mm)
        self._slope = [part.astype(np.float32) for part in np.gradient(smooth, *edges_mm)]
        self._voxels_per_mm = (1 / edges_mm[:, None]).astype(np.float32)

    def distance(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        return _at(self._distance, points)

    def tissue(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        return _at(self._tissue, points)

    def moved(self, points: NDArray[np.float32], mm: float) -> NDArray[np.float32]:
        """The points so much further from the white matter."""
        slope = np.stack([_at(part, points) for part in self._slope])
        return points + slope / np.maximum(np.linalg.norm(slope, axis=0), 1e-6) * mm * self._voxels_per_mm


def _thickness_at(starts: NDArray[np.float32], fields: _Fields) -> NDArray[np.float32]:
    """The thickness (mm) of the cortex at points (3, n) within it; 0 where no white matter is near."""
    found = fields.distance(starts)
    far = found > LARGEST_MM
    fluid = np.zeros(len(found), np.float32)  # mm of it between the white matter and a ridge
    closed = np.zeros(len(found), bool)
    active = np.flatnonzero(~far)
    points = starts[:, active]
    distance, tissue = found[active], fields.tissue(points)
    for _ in range(int(LARGEST_MM / _STEP_MM)):
        if not len(active):
            break
        further = fields.moved(points, _STEP_MM)
        next_distance, next_tissue = fields.distance(further), fields.tissue(further)
        leaves = next_tissue < 0.5
        ridge = ~leaves & (next_distance - distance < _RIDGE * _STEP_MM) & (distance > _NO_RIDGE_MM)
        share = np.where(leaves, (tissue - 0.5) / np.maximum(tissue - next_tissue, 1e-6), 1).clip(0, 1)
        found[active] = distance + np.maximum(next_distance - distance, 0) * share
        met = active[ridge]
        before, beyond = fields.moved(points[:, ridge], -_FROM_RIDGE_MM), fields.moved(points[:, ridge], _STEP_MM)
        beyond += beyond - points[:, ridge]  # twice the step: straight on, over the ridge
        height = (fields.distance(before) + fields.distance(beyond) + _FROM_RIDGE_MM + 2 * _STEP_MM) / 2
        found[met] = np.clip(height, distance[ridge], distance[ridge] + _FROM_RIDGE_MM)
        closed[met] = True
        # a ridge lies on average in the middle of the last step
        fluid[active] += _STEP_MM * np.where(ridge, 0.5, ~leaves) * (1 - (tissue + next_tissue) / 2)
        on = ~leaves & ~ridge
        active, points, distance, tissue = active[on], further[:, on], next_distance[on], next_tissue[on]
    found = np.where(closed, found - fluid - _fluid_below(starts, closed, fields), found)
    return np.where(far, 0, found.clip(0, LARGEST_MM)).astype(np.float32)


def _fluid_below(starts: NDArray[np.float32], which: NDArray[np.bool_], fields: _Fields) -> NDArray[np.float32]:
    """Millimetres of fluid between each of the points chosen and the white matter."""
    result = np.zeros(starts.shape[1], np.float32)
    active = np.flatnonzero(which)
    points = starts[:, active]
    tissue = fields.tissue(points)
    for _ in range(int(LARGEST_MM / _STEP_MM)):
        if not len(active):
            break
        points = fields.moved(points, -_STEP_MM)
        next_tissue = fields.tissue(points)
        result[active] += _STEP_MM * (1 - (tissue + next_tissue) / 2)
        on = fields.distance(points) > 0
        active, points, tissue = active[on], points[:, on], next_tissue[on]
    return result


def _distance_mm(white: NDArray[np.float32], edges_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distance from where the white matter's probability is a half, negative within it.

    The distance to the nearest voxel, corrected by where in (or before) that voxel the probability passes a half.
    """
    inside = white > 0.5
    steepness = np.sqrt(sum(part**2 for part in np.gradient(white, *edges_mm)))
    edge = float(edges_mm.mean())
    beyond = np.clip((white - 0.5) / np.maximum(steepness, 0.3), -edge, edge).astype(np.float32)
    del steepness
    result = np.zeros(white.shape, np.float32)
    for part, sign in ((~inside, 1), (inside, -1)):
        distance, nearest = ndimage.distance_transform_edt(part, sampling=edges_mm, return_indices=True)
        result[part] = sign * distance[part] - beyond[tuple(axis[part] for axis in nearest)]
        del distance, nearest
    return result


def _at(array: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(ndimage.map_coordinates(array, points, order=1, mode="nearest"))


def largest_edge_problem(image: Image) -> str:
    """Why the voxels of an image are too large for a thickness; empty where they are not."""
    largest = max(spacing_mm(image))
    if largest <= LARGEST_EDGE_MM + 0.01:
        return ""
    return f"its voxels are up to {largest:.3g} mm long: thickness is only measured up to {LARGEST_EDGE_MM:g} mm"


def summary(thickness: Image, voxels: NDArray[Any]) -> ThicknessSummary:
    """Of some voxels (a mask, or flat indices), those of the cortex.

    As surface-based programs do it, a piece of surface counts by its area, which is the volume of its cortex over its
    thickness: else the thick parts, which have more voxels, would count more.
    """
    values = array_of(thickness).ravel()[voxels.ravel()]
    values = np.sort(values[values > 0].astype(np.float64))
    if len(values) < 2:
        return ThicknessSummary(len(values), None, None, None)
    area = 1 / np.maximum(values, _THINNEST_MM)
    area /= area.sum()
    mean = float((area * values).sum())
    spread = float(np.sqrt((area * (values - mean) ** 2).sum()))
    return ThicknessSummary(len(values), mean, spread, float(values[np.searchsorted(area.cumsum(), 0.5)]))
