"""Diffusion: b0 and trace from the volumes of an acquisition, the apparent diffusion coefficient, and its unit.

Signals follow S = S0 exp(-b D) (Stejskal & Tanner 1965, doi:10.1063/1.1695690); b is in s/mm^2, D in mm^2/s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .images import ImageError

VERSION = "2"

#: Volumes with a b-value up to this (s/mm^2) count as b0: scanners write 0, 5 or 50 for them.
B0_MAX = 50.0
#: b0 volumes that are averaged have b-values this near to each other: with 0 and 50 both there, 50 is a weighting.
_B0_WIDTH = 15.0
#: The shell of a clinical DWI; of several the nearest to it is taken (acute stroke MRI dataset: b = 1000).
CLINICAL_B = 1000.0
#: Volumes of one shell: their b-values differ by no more than this share (gradients are never quite as asked for).
_SHELL_WIDTH = 0.08
#: How far the weighted directions may be from seeing all directions alike (largest element of their mean dyad less a
#: third of the identity) before their mean is no trace.
_MAX_ANISOTROPY = 0.05
#: Units in which scanners write an ADC, as mm^2/s: 1e-6 (Siemens, GE), 1e-3 (Philips), 1e-9 (m^2/s with 1e3) and 1.
ADC_UNITS = (1.0, 1e-3, 1e-6, 1e-9)
#: Median ADC (mm^2/s) of a brain, about 0.8e-3; with fluid or oedema up to twice as much.
_BRAIN_ADC = 0.8e-3
#: How far the median may be from it (as a factor) to be a brain's: 0.27e-3 to 2.4e-3, between ischaemia and water.
_UNIT_FACTOR = 3.0


@dataclass(frozen=True)
class Shell:
    """The volumes of one b-value, and with which weight the logarithm of each enters the trace.

    Attributes
    ----------
    exact
        Whether the weighted directions see all directions alike, so that the mean is the trace for any tensor.
    """

    volumes: tuple[int, ...]
    weights: tuple[float, ...]
    b_value: float
    exact: bool = True


def b0_volumes(b_values: Sequence[float]) -> tuple[int, ...]:
    """Indices of the volumes without diffusion weighting, or with the least of it where none is without."""
    least = min((b for b in b_values if b <= B0_MAX), default=0.0)
    return tuple(index for index, b in enumerate(b_values) if b <= min(B0_MAX, least + _B0_WIDTH))


def clinical_shell(b_values: Sequence[float], directions: NDArray[np.float64] | None = None) -> Shell | None:
    """The weighted volumes that make the trace: those of the shell nearest to 1000 s/mm^2; None where there is none.

    Parameters
    ----------
    b_values
        s/mm^2, one a volume.
    directions
        3 x n, as in a `.bvec` file. With them the weights are those of least norm under which the directions see all
        directions alike: then the geometric mean is exp(-b trace(D) / 3) for every tensor D. Without them (or with
        directions of length 0: the scanner's own trace) all weigh the same.
    """
    weighted = [index for index, b in enumerate(b_values) if b > B0_MAX]
    if not weighted:
        return None
    middle = min((b_values[index] for index in weighted), key=lambda b: (abs(b - CLINICAL_B), b))
    volumes = tuple(index for index in weighted if abs(b_values[index] - middle) <= _SHELL_WIDTH * middle)
    weights, exact = np.full(len(volumes), 1 / len(volumes)), True
    if directions is not None:
        found = np.asarray(directions, dtype=float)[:, list(volumes)]
        length = np.linalg.norm(found, axis=0)
        if (length > 0.5).all():
            weights, exact = _isotropic(found / length)
        else:
            exact = not (length > 0.5).any()
    b_value = float(weights @ np.array([b_values[index] for index in volumes]))
    return Shell(volumes, tuple(float(weight) for weight in weights), b_value, exact)


def _isotropic(directions: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """Weights of sum 1 under which the mean dyad of unit vectors (3 x n) is a third of the identity."""
    dyads = np.einsum("in,jn->ijn", directions, directions)[np.triu_indices(3)]
    wanted = (np.eye(3) / 3)[np.triu_indices(3)]
    even = np.full(directions.shape[1], 1 / directions.shape[1])
    if np.abs(dyads @ even - wanted).max() < 1e-6:
        return even, True
    weights = even + np.linalg.lstsq(dyads, wanted - dyads @ even, rcond=1e-6)[0]
    if np.abs(dyads @ weights - wanted).max() < _MAX_ANISOTROPY and (weights > 0).all():
        return weights / weights.sum(), True
    return even, bool(np.abs(dyads @ even - wanted).max() < _MAX_ANISOTROPY)


def mean_b0(volumes: Iterable[NDArray[np.floating]]) -> NDArray[np.float32]:
    """Arithmetic mean of the b0 volumes (x, y, z), which may come one at a time."""
    count, total = 0, None
    for volume in volumes:
        total = volume.astype(np.float64) if total is None else np.add(total, volume, out=total)
        count += 1
    if total is None:
        raise ImageError("there is no b0 volume")
    return np.asarray(total / count, np.float32)


def trace_image(volumes: Iterable[NDArray[np.floating]], weights: Sequence[float]) -> NDArray[np.float32]:
    """Weighted geometric mean of volumes (x, y, z), which may come one at a time; 0 where one has no signal."""
    logarithm, positive = None, None
    for volume, weight in zip(volumes, weights, strict=True):
        if logarithm is None or positive is None:
            logarithm, positive = np.zeros(volume.shape), np.ones(volume.shape, bool)
        positive &= volume > 0
        logarithm[positive] += weight * np.log(volume[positive].astype(np.float64))
    if logarithm is None or positive is None:
        raise ImageError("there is no diffusion-weighted volume")
    result = np.zeros(logarithm.shape, np.float32)
    result[positive] = np.exp(logarithm[positive])
    return result


def apparent_diffusion(
    b0: NDArray[np.floating], trace: NDArray[np.floating], b_value: float, b_value_of_b0: float = 0.0
) -> NDArray[np.float32]:
    """The apparent diffusion coefficient, -ln(trace / b0) / (b - b of b0), in mm^2/s; never negative.

    Parameters
    ----------
    b0, trace
        Signals on one grid, in one unit.
    b_value
        Of the trace, in s/mm^2.
    b_value_of_b0
        Some scanners weight what is called b0 a little, with 50 s/mm^2 for instance.

    Returns
    -------
    0 where one of the two has no signal, or the trace is brighter than the b0 image, which no diffusion explains.

    Raises
    ------
    ImageError
        The b-value is not above that of b0, or the grids differ.
    """
    if not (np.isfinite(b_value) and b_value > b_value_of_b0):
        raise ImageError(f"a b-value of {b_value:g} s/mm^2 gives no ADC; it must be above {b_value_of_b0:g}")
    if b0.shape != trace.shape:
        raise ImageError(f"the b0 image's shape {b0.shape} is not the trace's {trace.shape}")
    some = (b0 > 0) & (trace > 0)
    result = np.zeros(b0.shape, np.float32)
    ratio = trace[some].astype(np.float64) / b0[some].astype(np.float64)
    result[some] = np.maximum(-np.log(ratio) / (b_value - b_value_of_b0), 0.0)
    return result


def adc_unit(values: NDArray[np.floating]) -> float:
    """What an ADC map's numbers are multiplied by to be in mm^2/s, told from those in the brain.

    Raises
    ------
    ImageError
        They are the ADC of a brain in none of the known units.
    """
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size == 0:
        raise ImageError("the ADC map has no value above 0 in the brain")
    median = float(np.median(positive))
    unit = min(ADC_UNITS, key=lambda one: abs(np.log(median * one / _BRAIN_ADC)))
    if not 1 / _UNIT_FACTOR < median * unit / _BRAIN_ADC < _UNIT_FACTOR:
        raise ImageError(f"the ADC map's median in the brain is {median:g}: no brain's ADC in any unit that is known")
    return unit


@dataclass(frozen=True)
class Agreement:
    """How a recomputed ADC compares with the scanner's, over the voxels of the brain where both are above 0."""

    median_ratio: float
    correlation: float


def agreement(computed: NDArray[np.floating], scanner: NDArray[np.floating]) -> Agreement:
    """Compare two ADC maps at the same voxels (1-D, mm^2/s).

    Raises
    ------
    ImageError
        Fewer than two voxels have a value in both.
    """
    both = (computed > 0) & (scanner > 0) & np.isfinite(computed) & np.isfinite(scanner)
    if both.sum() < 2:
        raise ImageError("the two ADC maps have no voxel in common")
    one, other = computed[both].astype(np.float64), scanner[both].astype(np.float64)
    return Agreement(float(np.median(one / other)), float(np.corrcoef(one, other)[0, 1]))
