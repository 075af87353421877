"""The page of a collection, `group_collection.html`: what it is made of, what preprocessing did, how groups differ.

It shows tables and plots of them, never an image.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bids_app import __version__
from bids_app.reports import plots
from bids_app.reports.rendering import render

VERSION = "1"

#: Summaries that are drawn as bars, and their titles.
_BARS = {
    "contrast": "Contrasts",
    "anisotropy": "Anisotropy of the voxels",
    "orientation": "Orientation of the axes",
    "plane": "Slices",
    "manufacturer": "Makers of the scanners",
    "manufacturer_model": "Scanners",
    "field_strength_t": "Field strength (T)",
}
_ORDERED = ("isotropic", "mild", "high")
_BOXES = {
    "spacing_smallest_mm": "Shortest voxel edge (mm)",
    "spacing_largest_mm": "Longest voxel edge (mm)",
    "intensity_p50": "Median intensity",
    "brain_volume_ml": "Brain volume (mL)",
}
_MOST_LEVELS = 12  # of a bar; the rest is "other"


@dataclass(frozen=True)
class Collection:
    """Everything that the page shows, as the tables of the group level have it.

    Attributes
    ----------
    counts, tests, changes, shifts, places
        Rows of group_summary, group_tests, group_change, group_shift and group_embedding.
    distributions
        Measure, label and values.
    pairs
        Step, measure, label, values before and after.
    shares
        The shares that the sampling weights reach, by factor and level, and whether they are even.
    notes
        What a person should know: what could not be done, and why.
    files
        Name and meaning of each file that was written.
    """

    datasets: Sequence[str]
    series: int
    used: int
    participants: int
    sessions: int
    counts: Sequence[Mapping[str, Any]] = ()
    distributions: Sequence[tuple[str, str, Sequence[float]]] = ()
    tests: Sequence[Mapping[str, Any]] = ()
    changes: Sequence[Mapping[str, Any]] = ()
    pairs: Sequence[tuple[str, str, str, Sequence[float], Sequence[float]]] = ()
    compared: str | None = None
    shifts: Sequence[Mapping[str, Any]] = ()
    places: Sequence[Mapping[str, Any]] = ()
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    balanced: bool = True
    notes: Sequence[str] = ()
    files: Sequence[tuple[str, str]] = ()


def collection_page(collection: Collection, has_quality_page: bool) -> bytes:
    """The page as one file that needs no network.

    Parameters
    ----------
    has_quality_page
        Whether there is a group.html beside it.
    """
    content = json.dumps(asdict(collection), sort_keys=True, default=str)
    key = hashlib.sha256(f"{__version__} {VERSION} {has_quality_page} {content}".encode()).hexdigest()
    return render(
        "collection.html.j2",
        "",
        key,
        collection=collection,
        bars=_bars(collection),
        boxes=_boxes(collection),
        tests=[row for row in collection.tests if row.get("measure") in _BOXES and row["n"]],
        labels=_BOXES,
        together=_co_occurrence(collection),
        cohorts=_cohorts(collection),
        orientations=_orientations(collection),
        changes=_changes(collection),
        shifts=_shifts(collection),
        scatters=_scatters(collection),
        has_quality_page=has_quality_page,
        version=__version__,
    )


def _bars(collection: Collection) -> list[dict[str, Any]]:
    result = []
    for table, title in _BARS.items():
        rows = [row for row in collection.counts if row["table"] == table]
        if not rows or {row["row"] for row in rows} == {"n/a"}:
            continue
        totals: Counter[str] = Counter()
        for row in rows:
            totals[row["row"]] += row["count"]
        levels = [level for level, _ in sorted(totals.items(), key=lambda one: (-one[1], one[0]))]
        if set(levels) <= {*_ORDERED, "n/a"}:
            levels = [level for level in (*_ORDERED, "n/a") if level in levels]
        kept = levels if len(levels) <= _MOST_LEVELS else [*levels[: _MOST_LEVELS - 1], "other"]
        bars = []
        for dataset in collection.datasets:
            counted: Counter[str] = Counter()
            for row in rows:
                if row["dataset"] == dataset:
                    counted[row["row"] if row["row"] in kept else "other"] += row["count"]
            bars.append((dataset, counted))
        alt = f"{title}: " + "; ".join(
            f"{dataset} " + ", ".join(f"{level} {counted[level]}" for level in kept if counted[level])
            for dataset, counted in bars
        )
        legend = [
            (plots.colour(plots.COLOURS if level == "n/a" else index), level, totals[level])
            for index, level in enumerate(kept)
            if level != "other"
        ]
        if "other" in kept:
            legend.append((plots.colour(len(kept)), "other", sum(totals[one] for one in levels if one not in kept)))
        result.append({"title": title, "plot": plots.share_bars(bars, kept, alt), "legend": legend})
    return result


def _boxes(collection: Collection) -> list[dict[str, Any]]:
    result = []
    for measure, title in _BOXES.items():
        rows = [(label, values) for name, label, values in collection.distributions if name == measure]
        plot = plots.boxes(rows, title, f"{title} by dataset and contrast; the table beside has the numbers")
        if plot is not None:
            result.append({"title": title, "plot": plot})
    return result


def _co_occurrence(collection: Collection) -> list[dict[str, Any]]:
    """A square table for each dataset: sessions that have both contrasts."""
    result = []
    for dataset in collection.datasets:
        rows = [row for row in collection.counts
                if row["table"] == "contrasts of a session" and row["dataset"] == dataset]  # fmt: skip
        cells = {(row["row"], row["column"]): (row["count"], row["share"]) for row in rows}
        names = sorted({row["row"] for row in rows})
        if names:
            table = [[cells.get((one, other), (0, 0.0)) for other in names] for one in names]
            result.append({"dataset": dataset, "names": names, "rows": list(zip(names, table, strict=True))})
    return result


def _cohorts(collection: Collection) -> list[dict[str, Any]]:
    """Participants by level of each column, datasets beside each other."""
    prefix = "participants by "
    tables = dict.fromkeys(row["table"] for row in collection.counts if row["table"].startswith(prefix))
    result = []
    for table in tables:
        rows = [row for row in collection.counts if row["table"] == table]
        levels = list(dict.fromkeys(row["row"] for row in rows))
        if levels == ["n/a"]:
            continue
        cells = {(row["row"], row["dataset"]): (row["count"], row["share"]) for row in rows}
        lines = [(level, [cells.get((level, one)) for one in collection.datasets]) for level in levels]
        result.append({"title": table.removeprefix(prefix), "rows": lines})
    return result


def _orientations(collection: Collection) -> list[Mapping[str, Any]]:
    return [row for row in collection.counts if row["table"].startswith("orientation, ")]


def _changes(collection: Collection) -> list[dict[str, Any]]:
    """A plot and the rows of the table for each number that a step changes."""
    result: dict[tuple[str, str], dict[str, Any]] = {}
    for row in collection.changes:
        entry = {"step": row["step"], "measure": row["measure"], "rows": [], "plots": []}
        result.setdefault((row["step"], row["measure"]), entry)["rows"].append(row)
    for step, measure, label, before, after in collection.pairs:
        alt = f"{measure}, {label}, before and after {step}: {len(before)} series"
        result[step, measure]["plots"].append((label, plots.pairs(before, after, alt)))
    return list(result.values())


def _shifts(collection: Collection) -> list[dict[str, Any]]:
    """The variants of one comparison beside each other; the one with the smallest effect is marked."""
    result: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in collection.shifts:
        result.setdefault((row["contrast"], row["a"], row["b"], row["descriptor"]), []).append(row)
    tables = []
    for (contrast, a, b, descriptor), rows in result.items():
        best = min(rows, key=lambda row: row["effect"])["variant"] if len(rows) > 1 else None
        by_chance = str(a).startswith("half of ")
        tables.append({
            "contrast": contrast, "a": a, "b": b, "descriptor": descriptor, "rows": rows,
            "best": None if by_chance else best, "by_chance": by_chance,
        })  # fmt: skip
    return sorted(tables, key=lambda one: (one["contrast"], one["descriptor"], one["by_chance"]))


def _scatters(collection: Collection) -> list[dict[str, Any]]:
    """Small multiples of each contrast, one a variant."""
    grouped: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for row in collection.places:
        grouped.setdefault((row["contrast"], row["descriptor"]), {}).setdefault(row["variant"], []).append(row)
    result = []
    for (contrast, descriptor), variants in grouped.items():
        groups = sorted({row["group"] for rows in variants.values() for row in rows})
        drawn = []
        for variant, rows in variants.items():
            points = [(row["x"], row["y"], row["group"]) for row in rows]
            alt = f"{contrast}, {variant}: {len(points)} participants on the first two principal components"
            shares = f"{rows[0]['variance_x']:.0%} and {rows[0]['variance_y']:.0%} of the variance"
            drawn.append((variant, shares, plots.scatter(points, groups, alt)))
        legend = [(plots.colour(index), group, "") for index, group in enumerate(groups)]
        result.append({"contrast": contrast, "descriptor": descriptor, "plots": drawn, "legend": legend})
    return result
