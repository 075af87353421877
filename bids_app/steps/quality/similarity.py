"""How alike two images on one grid are, in the brain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .collect import CannotMeasureError

_BINS = 32
_RADIUS = 2  # voxels of the local correlation's neighbourhood on each side; ANTs' default
# Structural similarity, as Wang et al. 2004 have it: SD of the Gaussian window in voxels, and the two constants.
_WINDOW_SD, _K1, _K2 = 1.5, 0.01, 0.03
_WINDOW_TRUNCATED = 3.5  # SDs: 11 voxels, as there


def scaled(values: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Intensities from 0 to 1 between the 1st and 99th percentile of a mask, cut there; so contrasts can be compared.

    Raises
    ------
    CannotMeasureError
        The mask is empty, or has one intensity.
    """
    inside = values[mask]
    low, high = np.percentile(inside, (1, 99)) if inside.size else (0.0, 0.0)
    if not high > low:
        raise CannotMeasureError("the brain has one intensity")
    return np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1).astype(np.float32)


def mutual_information(one: NDArray[Any], other: NDArray[Any], bins: int = _BINS) -> float:
    """Mutual information of two equally long lists of intensities, in nats, from a histogram of bins x bins."""
    first, second, both = _entropies(one, other, bins)
    return first + second - both


def normalized_mutual_information(one: NDArray[Any], other: NDArray[Any], bins: int = _BINS) -> float:
    """(H(A) + H(B)) / H(A, B): 1 nothing in common, 2 equal (Studholme et al. 1999,
    doi:10.1016/S0031-3203(98)00091-0)."""
    first, second, both = _entropies(one, other, bins)
    if both == 0:
        raise CannotMeasureError("both images have one intensity")
    return (first + second) / both


def normalized_cross_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Pearson's correlation of two lists of intensities."""
    a, b = (each.astype(np.float64) - each.mean(dtype=np.float64) for each in (one, other))
    energy = float(np.sqrt((a**2).sum() * (b**2).sum()))
    if energy == 0:
        raise CannotMeasureError("one of the images has one intensity")
    return float((a * b).sum()) / energy


def structural_similarity(one: NDArray[Any], other: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    """Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861) in 3-D, mean over a mask.

    Parameters
    ----------
    one, other
        On one grid, 0 to 1 (the dynamic range is 1), such as from `scaled`.
    """
    from scipy.ndimage import gaussian_filter

    def local(array: NDArray[Any]) -> NDArray[Any]:
        return gaussian_filter(array, _WINDOW_SD, truncate=_WINDOW_TRUNCATED)

    a, b = one.astype(np.float32), other.astype(np.float32)
    mean_a, mean_b = local(a), local(b)
    var_a, var_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    covariance = local(a * b) - mean_a * mean_b
    c1, c2 = np.float32(_K1**2), np.float32(_K2**2)
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return _mean_in(similarity, mask)


def local_correlation(one: NDArray[Any], other: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    """Mean of the squared correlation in neighbourhoods of 5 x 5 x 5 voxels (Avants et al. 2008's local cross
    correlation, doi:10.1016/j.media.2007.06.004).

    The square makes it the same for contrasts that are each other's inverse. Neighbourhoods that reach out of the mask
    use what is in the image there; those without any contrast are left out.
    """
    from scipy.ndimage import uniform_filter

    size = 2 * _RADIUS + 1
    a, b = one.astype(np.float64), other.astype(np.float64)
    mean_a, mean_b = uniform_filter(a, size), uniform_filter(b, size)
    var_a, var_b = uniform_filter(a * a, size) - mean_a**2, uniform_filter(b * b, size) - mean_b**2
    covariance = uniform_filter(a * b, size) - mean_a * mean_b
    smallest = 1e-6  # of variances of intensities from 0 to 1: below a thousandth of the range there is no contrast
    usable = mask & (var_a > smallest) & (var_b > smallest)
    squared = np.zeros_like(covariance)
    np.divide(covariance**2, var_a * var_b, out=squared, where=usable)
    return _mean_in(squared, usable)


def _mean_in(values: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    if not mask.any():
        raise CannotMeasureError("the brains do not overlap")
    return float(values[mask].mean(dtype=np.float64))


def _entropies(one: NDArray[Any], other: NDArray[Any], bins: int) -> tuple[float, float, float]:
    if one.size == 0:
        raise CannotMeasureError("the brains do not overlap")
    joint, _, _ = np.histogram2d(one.ravel(), other.ravel(), bins=bins)
    joint /= joint.sum()
    first, second, both = (
        -float((share[share > 0] * np.log(share[share > 0])).sum())
        for share in (joint.sum(axis=1), joint.sum(axis=0), joint)
    )
    return first, second, both
