"""What a collection is made of: counts of every kind, distributions, and tests between datasets.

Everything is counted over the series that are processed or would be. A summary is a long table, one count a row, so
that all of them are one file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.group.profile import Profile

#: What the tables say in place of a value that is not known.
UNKNOWN = "n/a"
#: Fewer values than this make no group for a test.
FEWEST = 3
_COUNTED = (
    "status", "modality", "contrast", "anisotropy", "orientation", "plane", "acquisition_type", "manufacturer",
    "manufacturer_model", "field_strength_t", "sequence_family",
)  # fmt: skip
_MEASURED = (
    "spacing_smallest_mm", "spacing_largest_mm", "anisotropy_ratio", "fov_largest_mm", "intensity_p50",
    "brain_volume_ml", "tr_ms", "te_ms",
)  # fmt: skip
#: Numbers of which participants' columns with more different ones are cut into quarters of their range.
_MOST_LEVELS = 12

SUMMARY_COLUMNS = ("table", "dataset", "row", "column", "count", "share")
DISTRIBUTION_COLUMNS = (
    "measure", "dataset", "contrast", "n", "missing", "mean", "sd", "minimum", "p05", "p25", "median", "p75", "p95",
    "maximum",
)  # fmt: skip
TEST_COLUMNS = ("measure", "contrast", "groups", "n", "test", "statistic", "p", "note")


@dataclass(frozen=True)
class Count:
    """How often something occurs: `row` (and `column`, in a table of two ways) among the series of a dataset.

    `share` is of all series, participants or sessions that the table counts in the dataset.
    """

    table: str
    dataset: str
    row: str
    column: str
    count: int
    share: float


@dataclass(frozen=True)
class Distribution:
    """A number's values in one dataset and contrast."""

    measure: str
    dataset: str
    contrast: str
    values: tuple[float, ...]
    missing: int

    def row(self) -> dict[str, Any]:
        """As in the table; nothing but the counts where there are no values."""
        cells: dict[str, Any] = {"measure": self.measure, "dataset": self.dataset, "contrast": self.contrast}
        cells |= {"n": len(self.values), "missing": self.missing}
        if self.values:
            array = np.asarray(self.values)
            points = np.percentile(array, (0, 5, 25, 50, 75, 95, 100)).tolist()
            names = ("minimum", "p05", "p25", "median", "p75", "p95", "maximum")
            cells |= {"mean": float(array.mean()), "sd": float(array.std(ddof=1)) if array.size > 1 else None}
            cells |= dict(zip(names, points, strict=True))
        return cells


def counts(profile: Profile, columns: Sequence[str] = ()) -> list[Count]:
    """All summaries that count.

    Parameters
    ----------
    columns
        Further columns whose balance is counted, such as a cohort.
    """
    used = profile.used()
    datasets = profile.columns["dataset"]
    result = _shares("status", [(datasets[i], profile.columns["status"][i]) for i in range(len(profile))])
    for name in (*_COUNTED[1:], *(one for one in columns if one not in _COUNTED and one != "dataset")):
        values = levels_of(profile.column(name))
        result += _shares(name, [(datasets[i], values[i]) for i in used])
    result += _cohorts(profile, used, ("sex", "age", *columns))
    return result + _co_occurrence(profile, used)


def _shares(table: str, pairs: Iterable[tuple[str, str]]) -> list[Count]:
    counted = Counter(pairs)
    totals: Counter[str] = Counter()
    for (dataset, _), number in counted.items():
        totals[dataset] += number
    ordered = sorted(counted.items(), key=lambda one: (one[0][0], -one[1], one[0][1]))
    return [
        Count(table, dataset, level, "series", number, number / totals[dataset]) for (dataset, level), number in ordered
    ]


def _cohorts(profile: Profile, used: Sequence[int], names: Sequence[str]) -> list[Count]:
    """How many participants there are of each level of a column; one who changes level counts in each."""
    result = []
    datasets, people = profile.columns["dataset"], profile.columns["participant_id"]
    for name in dict.fromkeys(names):
        if name == "dataset":
            continue
        levels = levels_of(profile.column(name))
        found = {(datasets[i], people[i], levels[i]) for i in used}
        by_level = Counter((dataset, level) for dataset, _, level in found)
        totals = Counter(dataset for dataset, _ in {(datasets[i], people[i]) for i in used})
        result += [
            Count(f"participants by {name}", dataset, level, "participants", number, number / totals[dataset])
            for (dataset, level), number in sorted(by_level.items())
        ]
    return result


def _co_occurrence(profile: Profile, used: Sequence[int]) -> list[Count]:
    """In how many sessions two contrasts are both there; on the diagonal, in how many one is."""
    sessions: dict[tuple[str, str, Any], set[str]] = {}
    columns = profile.columns
    for i in used:
        key = (columns["dataset"][i], columns["participant_id"][i], columns["session_id"][i])
        sessions.setdefault(key, set()).add(text_of(columns["contrast"][i]))
    counted: Counter[tuple[str, str, str]] = Counter()
    totals: Counter[str] = Counter()
    for (dataset, _, _), contrasts in sessions.items():
        totals[dataset] += 1
        counted.update((dataset, one, other) for one in contrasts for other in contrasts)
    return [
        Count("contrasts of a session", dataset, one, other, number, number / totals[dataset])
        for (dataset, one, other), number in sorted(counted.items())
    ]


def distributions(profile: Profile) -> list[Distribution]:
    """The values of each number by dataset and contrast, in the profile's order; raw and brain intensities apart."""
    result = []
    for measure in _MEASURED:
        values = numbers_of(profile, measure)
        found: dict[tuple[str, str], list[float]] = {}
        for i in profile.used():
            key = (profile.columns["dataset"][i], text_of(profile.columns["contrast"][i]))
            found.setdefault(key, []).append(values[i])
        for (dataset, contrast), group in sorted(found.items()):
            known = tuple(value for value in group if np.isfinite(value))
            result.append(Distribution(measure, dataset, contrast, known, len(group) - len(known)))
    return result


def numbers_of(profile: Profile, measure: str) -> NDArray[np.float64]:
    """A number of every series, NaN where it is not known.

    Intensities are those of the brain where any series has them, else those of the foreground: never mixed.
    """
    if measure in ("spacing_smallest_mm", "spacing_largest_mm", "fov_largest_mm"):
        kind, which, _ = measure.split("_")
        axes = np.array([_floats(profile.columns[f"{kind}_{axis}_mm"]) for axis in (1, 2, 3)])
        return axes.min(axis=0) if which == "smallest" else axes.max(axis=0)
    values = _floats(profile.column(measure))
    if measure.startswith("intensity_"):
        kinds = profile.columns["intensity_of"]
        kind = "brain" if "brain" in kinds else "foreground"
        values[[one != kind for one in kinds]] = np.nan
    return values


def group_tests(profile: Profile, by: str) -> list[dict[str, Any]]:
    """Kruskal and Wallis' H of every number between the groups of a column, within each contrast.

    Kruskal & Wallis 1952 (doi:10.1080/01621459.1952.10483441), with its correction for ties. Where there is nothing to
    be tested the row says why.
    """
    groups = levels_of(profile.column(by))
    contrasts = [text_of(value) for value in profile.columns["contrast"]]
    result = []
    for measure in _MEASURED:
        values = numbers_of(profile, measure)
        found: dict[str, dict[str, list[float]]] = {}
        for i in profile.used():
            if np.isfinite(values[i]) and groups[i] != UNKNOWN:
                found.setdefault(contrasts[i], {}).setdefault(groups[i], []).append(float(values[i]))
        for contrast, samples in sorted(found.items()):
            row = {"measure": measure, "contrast": contrast, "test": f"Kruskal-Wallis by {by}"}
            result.append(row | kruskal(samples))
    return result


def kruskal(samples: dict[str, list[float]]) -> dict[str, Any]:
    """H and p between named samples, or a note that says why there is none."""
    from scipy.stats import kruskal as of_scipy

    large = {name: values for name, values in sorted(samples.items()) if len(values) >= FEWEST}
    row: dict[str, Any] = {"groups": ", ".join(large), "n": sum(map(len, large.values()))}
    if len(large) < 2:
        return row | {"note": f"fewer than two groups with at least {FEWEST} values"}
    if len({value for values in large.values() for value in values}) == 1:
        return row | {"note": "all values are equal"}
    left_out = sorted(set(samples) - set(large))
    found = of_scipy(*large.values())
    note = f"too small: {', '.join(left_out)}" if left_out else None
    return row | {"statistic": float(found.statistic), "p": float(found.pvalue), "note": note}


def levels_of(values: Sequence[Any]) -> list[str]:
    """A column as levels: a number with many different values is cut into quarters of its range."""
    known = [number for value in values if (number := _float(value)) is not None]
    texts = [text_of(value) for value in values]
    if len(known) < sum(text != UNKNOWN for text in texts) or len(set(known)) <= _MOST_LEVELS:
        return texts  # mixed types are levels as they are
    edges = np.linspace(min(known), max(known), 5)
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    result = []
    for value in values:
        number = _float(value)
        at = -1 if number is None else min(int(np.searchsorted(edges, number, side="right")) - 1, 3)
        result.append(UNKNOWN if number is None else names[at])
    return result


def text_of(value: Any) -> str:
    """A value as a level: 3.0 and 3 are one."""
    if value is None or value == "":
        return UNKNOWN
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _float(value: Any) -> float | None:
    """A number; "89+" is 89, what is none is None."""
    try:
        number = float(str(value).removesuffix("+"))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _floats(values: Sequence[Any]) -> NDArray[np.float64]:
    return np.array([np.nan if (number := _float(value)) is None else number for value in values], dtype=float)
