"""Features of one axial slice of a brain that need no trained weights: intensities, edges, scales, texture, places.

They answer one question, whether the slices of two groups of images can be told apart, and are plain enough that a
feature which can be told apart says what the difference is.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .images import ImageError

VERSION = "2"

#: Pixels along a side of the canvas that a slice is put on, and their edge: a head of 22 cm fits, and it is the size
#: that networks of natural images take.
CANVAS, CANVAS_MM = 224, 1.0

_QUANTILES = tuple(range(5, 100, 5))
_EDGE_QUANTILES = tuple(range(10, 100, 10))
_EDGE_SIGMAS = (0.0, 1.0, 2.0)
_BAND_SIGMAS = (0.0, 0.7, 1.4, 2.8, 5.6, 11.2)  # an octave each
_LAGS = (1, 2, 4, 8)
_PARTS = 4  # of the brain's bounding box along a side
_FEWEST_PIXELS = 400  # 4 cm2: less is no section through a brain

_Plane = NDArray[np.float32]
_Mask = NDArray[np.bool_]


@cache
def feature_names() -> tuple[str, ...]:
    """The names of the features, in their order."""
    return (
        *(f"quantile_{one:02d}" for one in _QUANTILES),
        "mean", "sd", "skewness", "kurtosis",
        *(f"edge_{sigma:g}mm_quantile_{one}" for sigma in _EDGE_SIGMAS for one in _EDGE_QUANTILES),
        *(f"band_{low:g}_{high:g}mm_sd" for low, high in pairwise(_BAND_SIGMAS)),
        *(f"correlation_{axis}_{lag}mm" for axis in ("lr", "ap") for lag in _LAGS),
        *(f"mean_part_{row}_{column}" for row in range(_PARTS) for column in range(_PARTS)),
    )  # fmt: skip


def on_canvas(plane: NDArray[Any], inside: NDArray[Any], spacing_mm: tuple[float, float]) -> tuple[_Plane, _Mask]:
    """A slice and its brain mask on `CANVAS` x `CANVAS` pixels of 1 mm, the brain's bounding box in the middle.

    Outside the brain the slice is 0. Intensities are interpolated linearly, the mask by the nearest pixel.

    Raises
    ------
    ImageError
        There is next to no brain in the slice.
    """
    from scipy.ndimage import affine_transform

    mask = np.asarray(inside) > 0
    places = np.argwhere(mask)
    if len(places) * spacing_mm[0] * spacing_mm[1] < _FEWEST_PIXELS * CANVAS_MM**2:
        raise ImageError("the central slice holds next to no brain")
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    scale = CANVAS_MM / np.asarray(spacing_mm)
    offset = middle - scale * (CANVAS - 1) / 2
    values = np.where(mask, np.nan_to_num(np.asarray(plane, dtype=np.float32)), np.float32(0))
    shape = (CANVAS, CANVAS)
    matrix = np.diag(scale)
    moved = affine_transform(values, matrix, offset, shape, order=1)
    share = affine_transform(mask.astype(np.float32), matrix, offset, shape, order=1)
    brain = affine_transform(mask.astype(np.uint8), matrix, offset, shape, order=0) > 0
    # over the brain's share of a pixel: else the zeros around it would darken the rim by what the pixels' size has it
    return np.where(brain, moved / np.maximum(share, 1e-3), np.float32(0)).astype(np.float32), brain


def describe(plane: _Plane, inside: _Mask) -> NDArray[np.float64]:
    """The features of a slice on the canvas, in the order of `feature_names`.

    Parameters
    ----------
    plane
        Intensities, scaled alike in all images that are compared.
    inside
        The brain.
    """
    from scipy.ndimage import gaussian_filter

    values = plane[inside].astype(np.float64)
    centred = values - values.mean()
    spread = float(values.std())
    safe = spread or 1.0
    filled = np.where(inside, plane, np.float32(values.mean())).astype(np.float64)  # no edge at the rim
    blurred = {sigma: gaussian_filter(filled, sigma) if sigma else filled for sigma in (*_BAND_SIGMAS, *_EDGE_SIGMAS)}
    parts = [
        np.percentile(values, _QUANTILES),
        [values.mean(), spread, (centred**3).mean() / safe**3, (centred**4).mean() / safe**4],
        *(_edges(blurred[sigma], inside) for sigma in _EDGE_SIGMAS),
        [float((blurred[low] - blurred[high])[inside].std())
         for low, high in pairwise(_BAND_SIGMAS)],
        [_correlation(filled - values.mean(), inside, axis, lag) for axis in (0, 1) for lag in _LAGS],
        _places(plane, inside),
    ]  # fmt: skip
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


def _edges(plane: NDArray[np.float64], inside: _Mask) -> NDArray[np.float64]:
    steepness = np.hypot(*np.gradient(plane))
    return np.percentile(steepness[inside], _EDGE_QUANTILES)


def _correlation(centred: NDArray[np.float64], inside: _Mask, axis: int, lag: int) -> float:
    """Correlation of a pixel with the one `lag` further on, both in the brain."""
    one = [slice(None), slice(None)]
    other = [slice(None), slice(None)]
    one[axis], other[axis] = slice(None, -lag), slice(lag, None)
    both = inside[tuple(one)] & inside[tuple(other)]
    first, second = centred[tuple(one)][both], centred[tuple(other)][both]
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size else 0.0


def _places(plane: _Plane, inside: _Mask) -> list[float]:
    """Mean intensity in each part of the brain's bounding box; where a part has no brain, that of all."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    whole = float(plane[inside].mean())
    result = []
    for part_plane, part_inside in zip(
        _split(plane[box]), _split(inside[box]), strict=True
    ):  # fmt: skip
        result.append(float(part_plane[part_inside].mean()) if part_inside.any() else whole)
    return result


def _split(array: NDArray[Any]) -> list[NDArray[Any]]:
    return [part for row in np.array_split(array, _PARTS, axis=0) for part in np.array_split(row, _PARTS, axis=1)]
