"""What preprocessing changed: each step's numbers before and after it, paired by series, over the whole collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.group.datasets import Source
from bids_app.group.from_output import contrast_of, measured
from bids_app.group.summaries import Count
from bids_app.inputs.errors import HeaderError
from bids_app.inputs.headers import read_header
from bids_app.inputs.series import Header
from bids_app.reports.contents import SeriesContent, read_participant, subjects_of
from bids_app.steps.quality.shapes import anisotropy_ratio

CHANGE_COLUMNS = (
    "step", "measure", "dataset", "contrast", "n", "before_mean", "before_sd", "before_median", "after_mean",
    "after_sd", "after_median", "mean_difference", "sd_difference", "median_difference", "mean_change_percent",
    "increased", "decreased", "wilcoxon_p", "note",
)  # fmt: skip

#: Of each step: what is compared, by its label, and the quality numbers before and after.
PAIRS: tuple[tuple[str, str, str, str], ...] = (
    ("bias", "CV in brain", "bias_cv_before", "bias_cv_after"),
    ("bias", "SNR", "bias_snr_before", "bias_snr_after"),
    ("coregister", "mutual information with the reference", "coregister_mutual_information_before",
     "coregister_mutual_information"),
    ("atlas", "mutual information with the atlas", "atlas_mutual_information_before", "atlas_mutual_information"),
    ("normalize", "mean intensity in brain", "brain_mean", "normalized_mean"),
    ("normalize", "SD of intensity in brain", "brain_sd", "normalized_sd"),
    ("normalize", "median intensity in brain", "brain_p50", "normalized_p50"),
    ("normalize", "5th percentile in brain", "brain_p05", "normalized_p05"),
    ("normalize", "95th percentile in brain", "brain_p95", "normalized_p95"),
)  # fmt: skip
#: Fewer pairs than this are not tested (six pairs are the fewest of which Wilcoxon's p can fall below 0.05).
FEWEST_PAIRS = 6
ALL = "all"
_STEPS = ("bias", "coregister", "atlas", "resample", "normalize")


@dataclass(frozen=True)
class Pairs:
    """A number of the same series before and after a step, in one contrast of one dataset."""

    step: str
    measure: str
    dataset: str
    contrast: str
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True)
class Change:
    """All that changed: paired numbers, and what became of orientations."""

    pairs: tuple[Pairs, ...]
    orientations: tuple[Count, ...]


def collect(sources: Iterable[Source]) -> Change:
    """Read what the outputs of some datasets know, one participant after another."""
    found: dict[tuple[str, str, str, str], list[tuple[float, float]]] = {}
    turned: Counter[tuple[str, str, str, str]] = Counter()
    for source in sources:
        if source.output is None:
            continue
        for subject in subjects_of(source.output):
            for session in read_participant(source.output, subject).sessions:
                for series in session.series:
                    contrast = contrast_of(series)
                    for step, measure, before, after in _numbers(series):
                        found.setdefault((step, measure, source.label, contrast), []).append((before, after))
                    for step, measure, header, native in _grids(source.output, series):
                        for name, one, other in native.compared(header):
                            found.setdefault((step, name, source.label, contrast), []).append((one, other))
                        turned[measure, source.label, native.orientation, header.orientation] += 1
    pairs = [
        Pairs(*key, tuple(one for one, _ in values), tuple(other for _, other in values))
        for key, values in found.items()
    ]
    pairs.sort(key=lambda one: (_STEPS.index(one.step), one.measure, one.dataset, one.contrast))
    return Change(tuple(pairs), tuple(_orientations(turned)))


def change_rows(change: Change) -> list[dict[str, Any]]:
    """The table: every pair of numbers by dataset and contrast, and of all together where there are several."""
    rows = [row_of(one) for one in change.pairs]
    together: dict[tuple[str, str], list[Pairs]] = {}
    for one in change.pairs:
        together.setdefault((one.step, one.measure), []).append(one)
    for (step, measure), several in together.items():
        if len(several) > 1:
            before = tuple(value for one in several for value in one.before)
            after = tuple(value for one in several for value in one.after)
            rows.append(row_of(Pairs(step, measure, ALL, ALL, before, after)))
    return sorted(rows, key=lambda row: (_STEPS.index(row["step"]), row["measure"], row["dataset"] == ALL))


def row_of(pairs: Pairs) -> dict[str, Any]:
    """Means, medians, standard deviations and paired differences, and Wilcoxon's signed-rank test.

    Wilcoxon 1945 (doi:10.2307/3001968), two-sided, zero differences left out.
    """
    before, after = np.asarray(pairs.before), np.asarray(pairs.after)
    difference = after - before
    row: dict[str, Any] = {
        "step": pairs.step, "measure": pairs.measure, "dataset": pairs.dataset, "contrast": pairs.contrast,
        "n": before.size,
    }  # fmt: skip
    for name, values in (("before", before), ("after", after)):
        row |= {f"{name}_mean": float(values.mean()), f"{name}_median": float(np.median(values))}
        row[f"{name}_sd"] = _sd(values)
    row |= {
        "mean_difference": float(difference.mean()),
        "sd_difference": _sd(difference),
        "median_difference": float(np.median(difference)),
        "mean_change_percent": _percent(float(difference.mean()), float(before.mean())),
        "increased": int((difference > 0).sum()),
        "decreased": int((difference < 0).sum()),
    }
    return row | _wilcoxon(difference)


def _wilcoxon(difference: NDArray[np.float64]) -> dict[str, Any]:
    from scipy.stats import wilcoxon

    changed = difference[difference != 0]
    if not changed.size:
        return {"note": "nothing changed"}
    if changed.size < FEWEST_PAIRS:
        return {"note": f"fewer than {FEWEST_PAIRS} pairs that differ"}
    return {"wilcoxon_p": float(wilcoxon(changed).pvalue)}


def _sd(values: NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1)) if values.size > 1 else None


def _percent(difference: float, before: float) -> float | None:
    return 100 * difference / abs(before) if before else None


def _numbers(series: SeriesContent) -> Iterator[tuple[str, str, float, float]]:
    """Step, measure, value before and value after."""
    for step, measure, before, after in PAIRS:
        first, second = measured(series, before), measured(series, after)
        if first is not None and second is not None:
            yield step, measure, first, second
    volume, percent = measured(series, "mask_volume_ml"), measured(series, "atlas_volume_change_percent")
    if volume is not None and percent is not None:
        yield "atlas", "brain volume (mL)", volume, volume * (1 + percent / 100)


@dataclass(frozen=True)
class _Native:
    """A series' own grid, from its row of the series table."""

    orientation: str
    spacing_mm: Sequence[float]

    def compared(self, header: Header) -> Iterator[tuple[str, float, float]]:
        yield "longest voxel edge (mm)", max(self.spacing_mm), max(header.spacing_mm)
        yield "anisotropy ratio", anisotropy_ratio(tuple(self.spacing_mm)), anisotropy_ratio(header.spacing_mm)


def _grids(output: Path, series: SeriesContent) -> Iterator[tuple[str, str, Header, _Native]]:
    """The grid of a series in its first atlas, beside its own."""
    edges = [float(text) for text in series.cell("spacing_mm").split("x") if text]
    atlas = next(iter(series.atlases()), None)
    found = series.space_file(atlas) if atlas is not None else None
    if len(edges) != 3 or found is None or atlas is None or not series.cell("orientation"):
        return
    with suppress(HeaderError):
        header = read_header(output / found[1])
        yield "resample", f"orientation, native to {atlas}", header, _Native(series.cell("orientation"), edges)


def _orientations(turned: Counter[tuple[str, str, str, str]]) -> Iterator[Count]:
    totals: Counter[tuple[str, str]] = Counter()
    for (table, dataset, _, _), number in turned.items():
        totals[table, dataset] += number
    for (table, dataset, native, other), number in sorted(turned.items()):
        yield Count(table, dataset, native, other, number, number / totals[table, dataset])
