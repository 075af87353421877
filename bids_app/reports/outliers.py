"""Which numbers stand out of those of other series of the same contrast, by a rule that outliers do not bend.

Iglewicz and Hoaglin's modified z-score, 0.6745 (x - median) / MAD, with their limit of 3.5 (How to Detect and Handle
Outliers, ASQC Quality Press 1993); where more than half of the values are the same and the MAD is 0, the mean absolute
deviation takes its place, as they say. Where higher (or lower) speaks for an image, only the other side is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_app.outputs.measures import Better

LIMIT = 3.5
#: With fewer values, the median and the MAD say little of what is usual.
FEWEST = 8
_NORMAL_MAD = 0.6745  # of the standard normal distribution
_NORMAL_MEAN_AD = 0.7979


@dataclass(frozen=True)
class Usual:
    """What is usual in a contrast: how many values, their median, and a robust standard deviation."""

    count: int
    median: float
    sd: float


def usual(values: Sequence[float | None]) -> Usual:
    """Count, median and spread of the values that there are (NaN where there are none)."""
    known = np.array([value for value in values if value is not None and np.isfinite(value)], dtype=float)
    if not known.size:
        return Usual(0, float("nan"), float("nan"))
    median = float(np.median(known))
    away = np.abs(known - median)
    mad = float(np.median(away))
    return Usual(int(known.size), median, mad / _NORMAL_MAD if mad > 0 else float(away.mean()) / _NORMAL_MEAN_AD)


def robust_z(value: float | None, of: Usual) -> float:
    """The modified z-score; 0 where there is no value or no spread to judge it by."""
    if value is None or not np.isfinite(value) or of.count < FEWEST or not of.sd > 0:
        return 0.0
    return (value - of.median) / of.sd


def is_outlier(value: float | None, of: Usual, better: Better) -> bool:
    """Whether a value stands out on the side that matters."""
    score = robust_z(value, of)
    if better == "higher":
        return score < -LIMIT
    if better == "lower":
        return score > LIMIT
    return abs(score) > LIMIT
