"""What an export asks of the dataset itself: flags, numbers and days from its sidecars and tables; no image of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bids_app.inputs.acceptance import content_flags
from bids_app.inputs.dataset import Selection
from bids_app.inputs.walker import Walker

#: No series of a study has a larger number; patients and dates do.
_MAX_SERIES_NUMBER = 100_000


@dataclass(frozen=True)
class RawFacts:
    """What a raw sidecar says of a series, free of text."""

    series_number: int | None = None
    derived: bool = False
    localizer: bool = False
    subtraction: bool = False


def raw_facts(bids_dir: Path, subject: str, session: str | None) -> dict[str, RawFacts]:
    """The facts of each series of a session by its name; those that the dataset no longer has are not there."""
    result: dict[str, RawFacts] = {}
    for found in Walker(bids_dir, Selection()).walk([subject]):
        if found.session != session:
            continue
        for series in (*found.series, *found.rejected):
            flags = content_flags(series.metadata)
            number = series.metadata.get("SeriesNumber")
            good = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _MAX_SERIES_NUMBER
            number = number if good else None
            result.setdefault(series.name, RawFacts(number, flags.derived, flags.localizer, flags.subtraction))
    return result
