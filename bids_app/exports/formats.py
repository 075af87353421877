"""The formats of an export: each goes from the survey to jobs, and from their records to tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from rich.console import Console

from bids_app.exit_codes import ALL_WELL
from bids_app.exports.jobs import Job
from bids_app.exports.journal import Journal
from bids_app.exports.options import ExportSettings, Wanted
from bids_app.exports.survey import Source, Survey
from bids_app.settings import Settings


class Export(ABC):
    """One format. `jobs` is gone through once; then `units` has the names of all units, done before or now."""

    noun = "studies"

    def __init__(self, source: Source, export: ExportSettings, settings: Settings, seen: Survey) -> None:
        self.source = source
        self.export = export
        self.settings = settings
        self.seen = seen
        self.units: list[str] = []
        self._left_out: list[tuple[str, str, str]] = list(seen.left_out)

    @classmethod
    def check(cls, export: ExportSettings, settings: Settings) -> None:
        """Raise an error for what can be told to be wrong before anything is written."""
        del export, settings

    @property
    def total(self) -> int | None:
        """How many units there are at most."""
        return len(self.seen.entries)

    @property
    def left_out(self) -> tuple[tuple[str, str, str], ...]:
        """(study, contrast, reason) of what is not in the export."""
        return tuple(sorted(set(self._left_out)))

    @abstractmethod
    def jobs(self) -> Iterator[Job]:
        """The work, one unit after another; nothing of an image is read yet."""

    @abstractmethod
    def tables(self, journal: Journal, units: list[str]) -> Iterator[tuple[str, Iterable[bytes]]]:
        """The files that are made from the records of all units: path and pieces."""

    def afterwards(self, journal: Journal, console: Console) -> int:
        """What is made from a finished export; the exit code."""
        del journal, console
        return ALL_WELL

    @abstractmethod
    def readme(self) -> str:
        """What a reader of the export should know."""


def no_label(name: str) -> str:
    """What `left_out.csv` says of an image that is in the export without the label that was asked for."""
    return f"it has no label {name}: its images are there without it"


def no_image(wanted: Wanted) -> str:
    """What `left_out.csv` says of a series without an image that was asked for."""
    return f"it has no image {wanted}"
