"""Intensity normalisation: fitted once inside the brain mask in native space, applied to the image in every space.

A `Normalization` is a mapping of intensities alone. Which voxels become background (0) is the caller's: a mapping says
nothing about where the brain is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .images import ImageError, mask_of

VERSION = "4"
_FEWEST = 10  # voxels that say anything of a distribution

#: Methods that need one image only. "nyul" needs the group's standard scale besides.
METHODS = ("zscore", "minmax", "percentile", "whitestripe", "gaussianmixture")

_Values = NDArray[np.float64]
_Parameters = Mapping[str, float | list[float]]

_LOWER_PERCENT, _UPPER_PERCENT = 1.0, 99.0
_STRIPE_HALF_WIDTH = 0.05  # Shinohara 2014: tau, in quantiles on each side of the mode
_RARE = 0.2  # a last mode lower than this share of the highest is the tail (vessels, contrast agent), not white matter
_BINS = 512
_ONE_PEAK = 0.999  # R^2 of a single Gaussian from which a second one has nothing to explain but chance
# Of a two-Gaussian fit: the least share of the histogram that is a peak; how far two peaks are apart at least (in SD of
# the narrower one), or how much wider one is than the other; how far the histogram's mode may be from the higher peak
# (in its SD).
_LEAST_PEAK, _LEAST_APART, _LEAST_WIDER, _FARTHEST_MODE = 0.005, 0.25, 1.5, 1.0
#: Landmarks of Nyul, Udupa & Zhang 2000: the ends of the intensity of interest and the deciles between.
NYUL_PERCENTS = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)


@dataclass(frozen=True)
class Normalization:
    """A fitted mapping of intensities; `parameters` can be written as JSON and makes the same mapping again."""

    method: str
    parameters: _Parameters = field(default_factory=dict)

    def apply(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Map intensities (any shape). Neither masks nor knows the brain: zeros are mapped as every other value."""
        values = np.asarray(array, dtype=np.float64)
        if "scale" in self.parameters:
            values = values - _number(self.parameters["shift"])
            values /= _number(self.parameters["scale"])
            if self.method in ("minmax", "percentile"):
                np.clip(values, 0.0, 1.0, out=values)
            return values.astype(np.float32)
        return _piecewise_linear(
            values, np.asarray(self.parameters["landmarks"]), np.asarray(self.parameters["standard"])
        ).astype(np.float32)


def fit(
    method: str, image: Any, brain_mask: Any, *, contrast: str = "T1w", standard: Sequence[float] | None = None
) -> Normalization:
    """Fit a normalisation to the voxels of an image inside its brain mask.

    Parameters
    ----------
    method
        - ``zscore``: the brain gets mean 0, standard deviation 1.
        - ``minmax``: the brain's minimum becomes 0, its maximum 1; what lies outside (skull, fat) is clipped.
        - ``percentile``: the same with the brain's 1st and 99th percentile.
        - ``whitestripe``: normal-appearing white matter gets mean 0, standard deviation 1 (Shinohara et al. 2014).
        - ``gaussianmixture``: the higher of two Gaussians fitted to the histogram gets mean 0, standard deviation 1.
        - ``nyul``: piecewise linear to the group's `standard` scale (Nyul, Udupa & Zhang 2000).
    image, brain_mask
        On one grid.
    contrast
        BIDS suffix; WhiteStripe takes the brightest peak in T1w and the highest one otherwise.
    standard
        For ``nyul``: the group's intensities at `NYUL_PERCENTS`, from `nyul_standard`.

    Raises
    ------
    ImageError
        The mask is empty or on another grid, or all voxels in it have one value.
    ValueError
        The method is unknown, or ``nyul`` is asked for without a standard scale.
    """
    values = _brain_values(image, brain_mask)
    if method == "nyul":
        if standard is None:
            raise ValueError("nyul needs the standard scale of the group")
        if len(standard) != len(NYUL_PERCENTS):
            raise ValueError(f"a standard scale has {len(NYUL_PERCENTS)} landmarks, not {len(standard)}")
        landmarks, scale = _increasing(np.percentile(values, NYUL_PERCENTS), np.asarray(standard, dtype=float))
        return Normalization("nyul", {"landmarks": landmarks.tolist(), "standard": scale.tolist()})
    if method == "whitestripe":
        return Normalization(method, _whitestripe(values, contrast))
    if method not in _FITS:
        raise ValueError(f"{method} is no normalisation: choose from {', '.join((*METHODS, 'nyul'))}")
    return Normalization(method, _FITS[method](values))


def nyul_landmarks(image: Any, brain_mask: Any) -> list[float]:
    """The brain's intensities at `NYUL_PERCENTS`: what `nyul_standard` learns from."""
    return [float(value) for value in np.percentile(_brain_values(image, brain_mask), NYUL_PERCENTS)]


def nyul_standard(landmarks: Sequence[Sequence[float]]) -> list[float]:
    """The group's standard scale, 0 to 100: the mean of all images' landmarks, each mapped linearly from its ends."""
    table = np.asarray(landmarks, dtype=float)
    spread = table[:, -1:] - table[:, :1]
    if table.size == 0 or (spread <= 0).any():
        raise ValueError("every image needs landmarks that rise from the first to the last")
    return [float(value) for value in (100 * (table - table[:, :1]) / spread).mean(axis=0)]


def _brain_values(image: Any, brain_mask: Any) -> _Values:
    mask = mask_of(brain_mask)
    if mask.shape != tuple(image.shape):
        raise ImageError(f"the brain mask's shape {mask.shape} is not the image's {tuple(image.shape)}")
    values = np.asarray(image.dataobj)[mask].astype(np.float64)
    if values.size == 0:
        raise ImageError("the brain mask is empty: no intensities to normalise by")
    if values.size < _FEWEST:
        raise ImageError(f"the brain mask has {values.size} voxels: no intensities to normalise by")
    if values.min() == values.max():
        raise ImageError("all voxels in the brain mask have the same value: no intensities to normalise by")
    return values


def _zscore(values: _Values) -> dict[str, float | list[float]]:
    return {"shift": float(values.mean()), "scale": float(values.std())}


def _range(low: float, high: float) -> dict[str, float | list[float]]:
    if not high > low:
        raise ImageError("nearly all voxels in the brain mask have the same value: no intensities to normalise by")
    return {"shift": low, "scale": high - low}


def _minmax(values: _Values) -> dict[str, float | list[float]]:
    return _range(float(values.min()), float(values.max()))


def _percentile(values: _Values) -> dict[str, float | list[float]]:
    low, high = np.percentile(values, [_LOWER_PERCENT, _UPPER_PERCENT])
    return {**_range(float(low), float(high)), "percents": [_LOWER_PERCENT, _UPPER_PERCENT]}


def _whitestripe(values: _Values, contrast: str) -> dict[str, float | list[float]]:
    """Mean and standard deviation of the stripe of quantiles around the mode of white matter (Shinohara 2014).

    In T1w white matter is the last mode of the smoothed histogram, in other contrasts the paper takes the largest one.
    """
    centres, density, _ = _smoothed_histogram(values)
    peaks = _peaks(density)
    peaks = [peak for peak in peaks if density[peak] >= _RARE * density.max()]
    peak = peaks[-1] if contrast in ("T1w", "UNIT1") else max(peaks, key=lambda index: density[index])
    mode = float(centres[peak])
    quantile = float((values < mode).mean())
    low, high = np.quantile(values, [max(0.0, quantile - _STRIPE_HALF_WIDTH), min(1.0, quantile + _STRIPE_HALF_WIDTH)])
    stripe = values[(values >= low) & (values <= high)]
    result: dict[str, float | list[float]] = {"mode": mode, "stripe": [float(low), float(high)], "fallback": 0.0}
    if stripe.size < 2 or stripe.std() == 0:  # so few grey levels that the stripe is one of them
        return {**result, "shift": mode, "scale": float(values.std()), "fallback": 1.0}
    return {**result, "shift": float(stripe.mean()), "scale": float(stripe.std())}


def _gaussian_mixture(values: _Values) -> dict[str, float | list[float]]:
    """The higher peak of f(x) = a1 exp(-((x - b1) / c1)^2) + a2 exp(-((x - b2) / c2)^2), fitted to the histogram.

    With this formula a peak's standard deviation is c / sqrt(2), less what the smoothing of the histogram adds. Where
    the fit fails, leaves the histogram or is not two-peaked (see `_two_peaked`), the mode and the scaled median
    absolute deviation from it are taken, and `fallback` is 1.

    After Liu et al. 2023 (doi:10.1038/s41597-023-02457-9), whose higher peak of a DWI is the brain's tissue.
    """
    # Fitted to values without their unit: the optimiser's steps and tolerances are made for numbers about 1.
    origin, unit = float(np.median(values)), float(values.std())
    found = _two_gaussians((values - origin) / unit)
    gaussians = [number * unit for number in found.gaussians]
    gaussians[::3] = found.gaussians[::3]  # heights have no unit
    gaussians[1::3] = [position + origin for position in gaussians[1::3]]
    result: dict[str, float | list[float]] = {"shift": found.shift * unit + origin, "scale": found.scale * unit}
    if gaussians:
        result["gaussians"] = gaussians
    return {**result, "fallback": 0.0 if gaussians else 1.0}


@dataclass(frozen=True)
class _Peak:
    """The higher peak of a histogram; `gaussians` (a, b, c of both) is empty where it is not that of a fit."""

    shift: float
    scale: float
    gaussians: tuple[float, ...] = ()


def _two_gaussians(values: _Values) -> _Peak:
    """The higher peak of values with median 0 and standard deviation 1, see `_gaussian_mixture`."""
    from scipy.optimize import curve_fit

    centres, density, bandwidth = _smoothed_histogram(values)
    mode = float(centres[density.argmax()])
    robust = 1.4826 * float(np.median(np.abs(values - mode))) or 1.0

    def two_gaussians(x: _Values, a1: float, b1: float, c1: float, a2: float, b2: float, c2: float) -> _Values:
        with np.errstate(over="ignore", under="ignore"):
            return a1 * np.exp(-(((x - b1) / c1) ** 2)) + a2 * np.exp(-(((x - b2) / c2) ** 2))

    low, high = float(centres[0]), float(centres[-1])
    peaks = sorted(_peaks(density), key=lambda index: -density[index])[:2]
    seconds = [float(centres[peaks[1]])] if len(peaks) > 1 else []
    seconds += [1.0, -1.0]
    narrowest, widest = (high - low) / _BINS, high - low
    best, least = None, np.inf
    for second in seconds:  # several starts, the best end: the sum of squares has more than one minimum
        start = [1.0, mode, 0.5, 0.5, float(np.clip(second, low, high)), 1.0]
        bounds = ([0, low, narrowest] * 2, [4, high, widest] * 2)
        try:
            fitted, _ = curve_fit(
                two_gaussians, centres, density / density.max(), np.clip(start, *bounds), bounds=bounds, max_nfev=2000
            )
        except RuntimeError:  # no convergence from this start
            continue
        error = float(((two_gaussians(centres, *fitted) - density / density.max()) ** 2).sum())
        if error < least:
            best, least = fitted, error
    if best is None:
        return _Peak(mode, robust)
    higher = best[:3] if best[0] >= best[3] else best[3:]
    variance = higher[2] ** 2 / 2 - bandwidth**2  # the smoothing widened a Gaussian by its own variance
    at_bound = not narrowest * 1.01 < higher[2] < widest * 0.99 or not low < higher[1] < high
    one_is_enough = _one_gaussian_explains(centres, density / density.max(), mode, robust) >= _ONE_PEAK
    if at_bound or variance <= 0 or one_is_enough or not _two_peaked(best, higher, mode):
        return _Peak(mode, robust)
    return _Peak(float(higher[1]), float(np.sqrt(variance)), tuple(float(number) for number in best))


def _one_gaussian_explains(centres: _Values, density: _Values, mode: float, spread: float) -> float:
    """The share of a histogram's variance (R^2) that one Gaussian explains."""
    from scipy.optimize import curve_fit

    def gaussian(x: _Values, a: float, b: float, c: float) -> _Values:
        return a * np.exp(-(((x - b) / c) ** 2))

    try:
        fitted, _ = curve_fit(gaussian, centres, density, [1.0, mode, 1.4 * spread], maxfev=1000)
    except (RuntimeError, ValueError, TypeError):
        return 0.0
    left = float(((gaussian(centres, *fitted) - density) ** 2).sum())
    return 1 - left / float(((density - density.mean()) ** 2).sum())


def _two_peaked(fitted: _Values, higher: _Values, mode: float) -> bool:
    """Whether a fit says more than its histogram's mode does.

    It does not where one Gaussian does nearly all of the work, where the two are the same one, or where together they
    make a mode that is neither's (two halves of one peak). A peak on a broad foot (fluid, lesion and noise on either
    side of the tissue) is two.
    """
    (a1, b1, c1), (a2, b2, c2) = fitted[:3], fitted[3:]
    share = a1 * c1 / (a1 * c1 + a2 * c2)
    if not _LEAST_PEAK <= share <= 1 - _LEAST_PEAK:
        return False
    if abs(b1 - b2) < _LEAST_APART * min(c1, c2) / np.sqrt(2) and max(c1, c2) < _LEAST_WIDER * min(c1, c2):
        return False
    return abs(higher[1] - mode) <= _FARTHEST_MODE * higher[2] / np.sqrt(2)


_FITS: Mapping[str, Callable[[_Values], _Parameters]] = {
    "zscore": _zscore,
    "minmax": _minmax,
    "percentile": _percentile,
    "gaussianmixture": _gaussian_mixture,
}


def _smoothed_histogram(values: _Values) -> tuple[_Values, _Values, float]:
    """Bin centres, a kernel density over the central 99.8 %, and its bandwidth (after Silverman's robust rule)."""
    from scipy.ndimage import gaussian_filter1d

    low, high = np.percentile(values, [0.1, 99.9])
    if not high > low:
        low, high = values.min(), values.max()
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    quarter, three_quarters = np.percentile(values, [25, 75])
    spread = min(values.std(), (three_quarters - quarter) / 1.349) or values.std()
    step = (high - low) / _BINS
    # Whole-number images have holes between their grey levels: never narrower than one of them.
    grey_level = float(np.median(np.diff(np.unique(values[:: max(1, values.size // 100_000)]))))
    bandwidth = max(0.9 * spread * values.size**-0.2, grey_level, 2 * step)
    density = gaussian_filter1d(counts.astype(float), bandwidth / step, mode="constant")
    return (edges[:-1] + edges[1:]) / 2, density, float(bandwidth)


def _peaks(density: _Values) -> list[int]:
    """Indices of the local maxima that rise at least 2 % of the highest above the valleys beside them, in order."""
    from scipy.signal import find_peaks

    padded = np.concatenate([[0.0], density, [0.0]])
    found, _ = find_peaks(padded, prominence=0.02 * float(density.max()))
    return [int(index) - 1 for index in found] or [int(density.argmax())]


def _increasing(landmarks: NDArray[Any], standard: _Values) -> tuple[_Values, _Values]:
    """Drop landmarks that repeat a value: a mapping needs strictly rising ones."""
    keep = np.concatenate([[True], np.diff(landmarks) > 0])
    if keep.sum() < 2:
        raise ImageError("nearly all voxels in the brain mask have the same value: no intensities to normalise by")
    return landmarks[keep], standard[keep]


def _piecewise_linear(values: _Values, landmarks: _Values, standard: _Values) -> _Values:
    """Interpolate between landmarks, and go on with the slope of the first and last piece beyond them."""
    result = np.interp(values, landmarks, standard)
    first, last = np.diff(standard)[[0, -1]] / np.diff(landmarks)[[0, -1]]
    result = np.where(values < landmarks[0], standard[0] + first * (values - landmarks[0]), result)
    return np.where(values > landmarks[-1], standard[-1] + last * (values - landmarks[-1]), result)


def _number(value: float | list[float]) -> float:
    if isinstance(value, list):
        raise TypeError("a number is needed, not a list")
    return float(value)
