"""Plots of tables as SVG for a page: bars of shares, boxes with their values, pairs, and scatters.

Each is one inline SVG that takes its colours from the page's style and says in words what it shows. All text is
escaped. Nothing in it is random: values that lie on each other are spread by their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bids_app.reports.charts import round_ticks

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH, _LABELS, _ROW = 640, 190, 26
_SQUARE, _PAIRED_WIDTH, _HEIGHT = 230, 200, 150
#: Colours of the page's style; further levels share the last one.
COLOURS = 8
_MOST_DOTS = 400
_MOST_LINES = 150


def share_bars(rows: Sequence[tuple[str, Mapping[str, int]]], levels: Sequence[str], alt: str) -> Markup:
    """One horizontal bar a row, cut into the shares of the levels."""
    parts = []
    wide = _WIDTH - _LABELS - 60
    for index, (label, counts) in enumerate(rows):
        top, total = index * _ROW, sum(counts.values())
        parts.append(_text(_LABELS - 10, top + 16, label, "end"))
        at = float(_LABELS)
        for level in levels:
            width = wide * counts.get(level, 0) / total if total else 0
            if width:
                shade = colour(COLOURS if level == "n/a" else levels.index(level))
                said = f"{label}, {level}: {counts[level]} ({counts[level] / total:.0%})"
                parts.append(
                    f'<rect class="{shade}" x="{at:.1f}" y="{top + 3}" width="{width:.1f}" '
                    f'height="{_ROW - 8}"><title>{_escaped(said)}</title></rect>'
                )
            at += width
        parts.append(_text(at + 8, top + 16, f"{total:,}", "start"))
    return _svg(_WIDTH, len(rows) * _ROW, parts, alt)


def boxes(rows: Sequence[tuple[str, Sequence[float]]], axis: str, alt: str) -> Markup | None:
    """One row of values each: quartiles as a box, the median in it, the values as dots. None without a value."""
    known = [(label, np.asarray(values, dtype=float)) for label, values in rows if len(values)]
    if not known:
        return None
    everything = np.concatenate([values for _, values in known])
    low, high = float(everything.min()), float(everything.max())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    wide = _WIDTH - _LABELS - 20
    bottom = len(known) * _ROW

    def place(value: float) -> float:
        return _LABELS + (value - low) / (high - low) * wide

    parts = [_axis(place, low, high, bottom, axis)]
    for index, (label, values) in enumerate(known):
        top = index * _ROW
        parts.append(_text(_LABELS - 10, top + 17, f"{label} ({values.size:,})", "end"))
        ordered = np.sort(values)[:: max(1, values.size // _MOST_DOTS)]
        dots = "".join(
            f'<circle cx="{place(value):.1f}" cy="{top + 13 + (order * 7 % 11 - 5) * 0.8:.1f}" r="2.4"/>'
            for order, value in enumerate(ordered.tolist())
        )
        quarter, middle, three = (place(float(one)) for one in np.percentile(values, (25, 50, 75)))
        parts.append(f'<g class="dots">{dots}</g>')
        parts.append(
            f'<rect class="box" x="{quarter:.1f}" y="{top + 5}" width="{max(three - quarter, 1):.1f}" height="16"/>'
            f'<line class="middle" x1="{middle:.1f}" x2="{middle:.1f}" y1="{top + 3}" y2="{top + 23}"/>'
        )
    return _svg(_WIDTH, bottom + 42, parts, alt)


def pairs(before: Sequence[float], after: Sequence[float], alt: str) -> Markup:
    """Each pair as a line from left (before) to right (after); the medians are thick."""
    one, other = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    low, high = float(min(one.min(), other.min())), float(max(one.max(), other.max()))
    if not high > low:
        low, high = low - 0.5, high + 0.5

    def place(value: float) -> float:
        return 8 + (high - value) / (high - low) * (_HEIGHT - 16)

    step = max(1, one.size // _MOST_LINES)
    left, right = 52, _PAIRED_WIDTH - 12
    lines = "".join(
        f'<line x1="{left}" x2="{right}" y1="{place(a):.1f}" y2="{place(b):.1f}"/>'
        for a, b in zip(one[::step].tolist(), other[::step].tolist(), strict=True)
    )
    middle = place(float(np.median(one))), place(float(np.median(other)))
    parts = [
        *(
            f'<line class="axis" x1="{left - 4}" x2="{left}" y1="{place(tick):.1f}" y2="{place(tick):.1f}"/>'
            + _text(left - 7, place(tick) + 4, _number(tick), "end")
            for tick in round_ticks(low, high, 4)
        ),
        f'<g class="pairs">{lines}</g>',
        f'<line class="middle" x1="{left}" x2="{right}" y1="{middle[0]:.1f}" y2="{middle[1]:.1f}"/>',
        _text(left, _HEIGHT + 14, "before", "middle"),
        _text(right, _HEIGHT + 14, "after", "end"),
    ]
    return _svg(_PAIRED_WIDTH, _HEIGHT + 18, parts, alt)


def scatter(points: Sequence[tuple[float, float, str]], groups: Sequence[str], alt: str) -> Markup:
    """Points (x, y, group) in a square; each group has its colour."""
    x, y = (np.array([point[axis] for point in points], dtype=float) for axis in (0, 1))
    spans = [(float(values.min()), float(np.ptp(values)) or 1.0) for values in (x, y)]
    inner = _SQUARE - 20
    step = max(1, len(points) // (4 * _MOST_DOTS))
    dots = [
        f'<circle class="{colour(groups.index(group))}" cx="{10 + (at - spans[0][0]) / spans[0][1] * inner:.1f}" '
        f'cy="{10 + inner - (up - spans[1][0]) / spans[1][1] * inner:.1f}" r="3.2"><title>{_escaped(group)}</title>'
        "</circle>"
        for at, up, group in points[::step]
    ]
    frame = f'<rect class="frame" x="1" y="1" width="{_SQUARE - 2}" height="{_SQUARE - 2}"/>'
    return _svg(_SQUARE, _SQUARE, [frame, *dots], alt)


def colour(index: int) -> str:
    """The class of the style that colours a level."""
    return f"c{min(index, COLOURS - 1)}"


def _axis(place: object, low: float, high: float, bottom: int, label: str) -> str:
    assert callable(place)
    ticks = "".join(
        f'<line class="axis" x1="{place(tick):.1f}" x2="{place(tick):.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        + _text(place(tick), bottom + 17, _number(tick), "middle")
        for tick in round_ticks(low, high)
    )
    line = f'<line class="axis" x1="{_LABELS}" x2="{_WIDTH - 20}" y1="{bottom}" y2="{bottom}"/>'
    return line + ticks + _text((_LABELS + _WIDTH - 20) / 2, bottom + 35, label, "middle")


def _text(x: float, y: float, words: str, anchor: str) -> str:
    short = words if len(words) <= 32 else words[:31] + "…"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_escaped(short)}</text>'


def _svg(width: int, height: int, parts: Sequence[str], alt: str) -> Markup:
    from markupsafe import Markup

    return Markup(  # every text in it went through _escaped
        f'<svg class="plot" viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{_escaped(alt)}">'
        + "".join(parts)
        + "</svg>"
    )


def _escaped(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")
