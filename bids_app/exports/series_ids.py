"""MR-RATE's names of series: `{modality}-{role}-{plane}[-N]`, such as `t1w-raw-axi-2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bids_app.exports.raw import RawFacts
from bids_app.exports.studies import StudySeries
from bids_app.outputs.series_ids import numbered, series_stem

#: Contrast -> MR-RATE's name of the modality in its metadata (in a series' name in small letters).
MODALITIES: Mapping[str, str] = {"T1w": "T1w", "T2w": "T2w", "FLAIR": "FLAIR", "SWI": "SWI", "angio": "MRA"}


def series_ids(
    series: Sequence[StudySeries], facts: Mapping[str, RawFacts]
) -> tuple[dict[str, str], list[tuple[StudySeries, str]]]:
    """The name of each series of a study, by its own name; and those that have none, with the reason.

    Series with the same modality, role and plane are counted in the order in which they were acquired (SeriesNumber,
    then run, then name).
    """
    stems: dict[str, str] = {}
    refused = []
    for one in sorted(series, key=lambda each: _acquired(each, facts)):
        modality, derived = MODALITIES.get(one.contrast), facts.get(one.name, RawFacts()).derived
        stem = modality and series_stem(modality, one.row.get("plane", ""), bool(derived))
        if not stem:
            refused.append((one, f"MR-RATE has no {one.contrast if modality is None else 'series without a plane'}"))
            continue
        stems[one.name] = stem
    return dict(zip(stems, numbered(stems.values()), strict=True)), refused


def _acquired(one: StudySeries, facts: Mapping[str, RawFacts]) -> tuple[float, int, str]:
    number = facts.get(one.name, RawFacts()).series_number
    return (float("inf") if number is None else number, one.series.run, one.name)
