"""A quick look at many rigid starts: how alike the images are at some thousand points, and how well the masks meet.

ITK's metric takes ten times as long for it; it has the last word on the few starts that look best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.images import LPS, from_itk
from bids_app.steps.registration.pair import Pair
from bids_app.steps.registration.similarity import shrunk

if TYPE_CHECKING:
    import SimpleITK as sitk

_Array = NDArray[np.float64]

_IMAGES_MM, _MASKS_MM = 6.0, 9.0
_BINS = 16  # few: so many points fill no more


@dataclass(frozen=True)
class _Volume:
    """An array and the way from points (LPS mm) to its indices."""

    array: NDArray[np.float32]
    affine: _Array

    @classmethod
    def of(cls, image: Any, mm: float) -> _Volume:
        small = from_itk(shrunk(image, mm))
        return cls(np.asarray(small.dataobj), LPS @ np.asarray(small.affine))

    def points(self, where: NDArray[np.bool_]) -> _Array:
        """The places (LPS mm, 3 x n) of some voxels."""
        return np.asarray(self.affine[:3, :3] @ np.argwhere(where).T + self.affine[:3, 3:])

    def indices(self, points: _Array) -> _Array:
        matrix = np.linalg.inv(self.affine)
        return np.asarray(matrix[:3, :3] @ points + matrix[:3, 3:])

    def nearest(self, points: _Array) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The values at points, and which of them lie in the field of view."""
        index = np.rint(self.indices(points)).astype(np.intp)
        size = np.array(self.array.shape)[:, None]
        seen = np.all((index >= 0) & (index < size), axis=0)
        x, y, z = np.clip(index, 0, size - 1)
        return np.where(seen, self.array[x, y, z], np.float32(0)), np.asarray(seen)

    def linear(self, points: _Array) -> NDArray[np.float32]:
        """The values at points; NaN outside the field of view."""
        from scipy import ndimage

        return ndimage.map_coordinates(self.array, self.indices(points), order=1, mode="constant", cval=np.nan)


class Look:
    """Scores rigid transforms of a pair: 0 and more, the more the better."""

    def __init__(self, pair: Pair) -> None:
        fixed = _Volume.of(pair.fixed, _IMAGES_MM)
        where = np.ones(fixed.array.shape, bool)
        if pair.metric_mask is not None:
            where = _Volume.of(pair.metric_mask, _IMAGES_MM).array >= 0.5
        self._points, self._bins = fixed.points(where), _binned(fixed.array[where])
        self._moving = _Volume.of(pair.moving, _IMAGES_MM)
        self._left_out = None
        if pair.moving_metric_mask is not None:
            self._left_out = _Volume.of(pair.moving_metric_mask, _IMAGES_MM)
        self._brains = None
        if pair.fixed_mask is not None and pair.moving_mask is not None:
            brain = _Volume.of(pair.fixed_mask, _MASKS_MM)
            every = brain.points(np.ones(brain.array.shape, bool))
            self._brains = every, brain.array.ravel() >= 0.5, _Volume.of(pair.moving_mask, _MASKS_MM)

    def score(self, transform: sitk.Euler3DTransform) -> float:
        """Mutual information (nats) times the square of the masks' overlap: few points look alike by chance."""
        overlap = self._overlap(transform)
        return overlap**2 * self._information(transform) if overlap > 0 else 0.0

    def _information(self, transform: sitk.Euler3DTransform) -> float:
        moved = _moved(transform, self._points)
        values = self._moving.linear(moved)
        seen = np.isfinite(values)
        if self._left_out is not None:
            seen &= self._left_out.nearest(moved)[0] >= 0.5
        if not seen.any() or seen.sum() < 0.1 * len(seen):
            return 0.0
        return _mutual_information(self._bins[seen], _binned(values[seen]))

    def _overlap(self, transform: sitk.Euler3DTransform) -> float:
        """Share of the smaller brain that lies in the other, where both fields of view are; 1 without masks."""
        if self._brains is None:
            return 1.0
        points, one, moving = self._brains
        values, seen = moving.nearest(_moved(transform, points))
        one, other = one & seen, values >= 0.5
        if one.sum() < 0.1 * self._brains[1].sum():
            return 0.0
        return float((one & other).sum() / max(min(one.sum(), other.sum()), 1))


def _moved(transform: sitk.Euler3DTransform, points: _Array) -> _Array:
    centre, shift = (np.array(one)[:, None] for one in (transform.GetCenter(), transform.GetTranslation()))
    return np.asarray(np.reshape(transform.GetMatrix(), (3, 3)) @ (points - centre) + centre + shift)


def _binned(values: NDArray[np.float32]) -> NDArray[np.intp]:
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    return np.minimum((values - low) * (_BINS / ((high - low) or 1.0)), _BINS - 1).astype(np.intp)


def _mutual_information(one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    """Of two series of bins, less what so few points have by chance (Miller 1955)."""
    counts = np.bincount(one * _BINS + other, minlength=_BINS**2).reshape(_BINS, _BINS)
    share = counts / len(one)
    apart = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    there = counts > 0
    chance = (there.sum() - (apart.sum(axis=1) > 0).sum() - (apart.sum(axis=0) > 0).sum() + 1) / (2 * len(one))
    return max(0.0, float((share[there] * np.log(share[there] / apart[there])).sum() - chance))
