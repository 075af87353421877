"""Sampling weights: how often each series should be drawn so that datasets, contrasts and cohorts come in equal parts.

Raking (iterative proportional fitting; Deming & Stephan 1940, doi:10.1214/aoms/1177731829): the weights of the series
of each level of each factor sum to the same. Where levels exclude each other (a contrast that only one dataset has)
that cannot be reached for all factors at once; the last rounds' compromise is taken, and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 200
_TOLERANCE = 1e-9
#: A series is drawn no more than this many times as often as the average one: rare levels are not learnt by heart.
MOST = 20.0


@dataclass(frozen=True)
class Weights:
    """Weights with mean 1, and what they reach.

    Attributes
    ----------
    shares
        The share of the sum of all weights that each level of each factor has.
    balanced
        Whether all levels of each factor have equal shares (to 1 %).
    """

    values: NDArray[np.float64]
    shares: Mapping[str, Mapping[str, float]]
    balanced: bool


def balance(factors: Mapping[str, Sequence[str]], most: float = MOST) -> Weights:
    """Weights of series by the levels of some factors.

    Parameters
    ----------
    factors
        For each factor the level of every series.
    most
        The largest weight.

    Raises
    ------
    ValueError
        The factors are not of one length, or there is no series.
    """
    lengths = {len(levels) for levels in factors.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError("every factor needs the level of every series, and there has to be one")
    (size,) = lengths
    coded = {name: np.unique(np.asarray(levels, dtype=object).astype(str), return_inverse=True)
             for name, levels in factors.items()}  # fmt: skip
    weights = np.ones(size)
    for _ in range(_ROUNDS):
        before = weights
        for names, index in coded.values():
            sums = np.bincount(index, weights, minlength=len(names))
            weights = weights * (weights.sum() / len(names) / sums)[index]
        weights = np.minimum(weights * (size / weights.sum()), most)
        if np.abs(weights - before).max() < _TOLERANCE:
            break
    for _ in range(_ROUNDS):  # what the largest weights lack goes to the others
        weights = np.minimum(weights * (size / weights.sum()), most)
    shares = {
        name: {
            str(level): float(part)
            for level, part in zip(names, np.bincount(index, weights) / weights.sum(), strict=True)
        }
        for name, (names, index) in coded.items()
    }
    even = all(abs(part * len(parts) - 1) <= 0.01 for parts in shares.values() for part in parts.values())
    return Weights(weights, shares, even)
