"""Histograms as lines, for the page's template to draw as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 420, 150  # of the plot, in the SVG's own units
_BINS = 80


@dataclass(frozen=True)
class Line:
    """One histogram: its name, the SVG path, and which of the page's line styles it has (0, 1, …)."""

    name: str
    path: str
    style: int


@dataclass(frozen=True)
class Chart:
    """Histograms over one axis.

    Attributes
    ----------
    ticks
        Place along the axis (SVG units) and text of each tick.
    axis
        What the axis shows.
    alt
        The same in words.
    """

    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    axis: str
    alt: str
    width: int = WIDTH
    height: int = HEIGHT


def histogram(
    values: Sequence[tuple[str, NDArray[np.float32]]], axis: str, limits: tuple[float, float] | None = None
) -> Chart | None:
    """Densities of several sets of values on one axis; None where there is nothing to be drawn.

    Parameters
    ----------
    limits
        Of the axis; by default the 0.2nd to the 99.8th percentile of all values.
    """
    known = [(name, one[np.isfinite(one)]) for name, one in values]
    known = [(name, one) for name, one in known if one.size]
    if not known:
        return None
    if limits is None:
        both = [np.percentile(one, (0.2, 99.8)) for _, one in known]
        limits = float(min(low for low, _ in both)), float(max(high for _, high in both))
    low, high = limits
    if not high > low:
        return None
    counts = [(name, np.histogram(one, bins=_BINS, range=limits)[0] / one.size) for name, one in known]
    top = max(float(count.max()) for _, count in counts) or 1.0
    lines = tuple(Line(name, _path(count / top), style) for style, (name, count) in enumerate(counts))
    middles = [(name, _sentence(one)) for name, one in known]
    alt = f"Histograms of the brain's voxels ({axis}). " + " ".join(f"{name}: {text}." for name, text in middles)
    places = [((tick - low) / (high - low) * WIDTH, f"{tick:g}".replace("-", "−")) for tick in round_ticks(low, high)]
    return Chart(lines, tuple((round(at, 1), text) for at, text in places), axis, alt)


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten; none where that is no range."""
    if not (np.isfinite(low) and np.isfinite(high) and high > low):
        return []
    raw = (high - low) / max(1, most - 1)
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = np.ceil(low / step - 1e-9)
    return [
        float(f"{(first + index) * step:.12g}")
        for index in range(most + 1)
        if (first + index) * step <= high + step * 1e-9
    ]


def _path(share: NDArray[np.float64]) -> str:
    """An SVG path through the middles of the bins, heights from 0 to 1."""
    x = (np.arange(_BINS) + 0.5) * WIDTH / _BINS
    y = HEIGHT - share * (HEIGHT - 4)
    return "M" + "L".join(f"{one:.1f},{other:.1f}" for one, other in zip(x, y, strict=True))


def _sentence(values: NDArray[np.float32]) -> str:
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"median {middle:.3g}, 5th percentile {low:.3g}, 95th percentile {high:.3g}"
