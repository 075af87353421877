"""The first look at an output: which studies can be exported, who they are of, and in which split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from bids_app.exit_codes import USAGE
from bids_app.exports.atlases import Places
from bids_app.exports.identity import Names
from bids_app.exports.options import Wanted
from bids_app.exports.splits import assign_splits
from bids_app.exports.studies import Study, read_people, read_study

#: What MR-RATE calls the columns of ours.
_ALIASES = {
    "Patient'sAge": "age", "Patient'sSex": "sex", "FieldStrength_T": "MagneticFieldStrength",
    "Manufacturer'sModelName": "ManufacturersModelName",
}  # fmt: skip


class NoColumnError(Exception):
    """A column that no study has; `code` is the exit code."""

    code = USAGE


@dataclass(frozen=True)
class Entry:
    """A study that can be exported, by its names in the dataset and in the export."""

    patient: str
    study: str
    subject: str
    session: str | None
    split: str = ""


@dataclass(frozen=True)
class Source:
    """Where studies come from and what may leave."""

    bids_dir: Path
    output: Path
    names: Names
    defaced_before: bool = False
    allow_face: bool = False

    def read(self, subject: str, session: str | None) -> Study:
        """A study of the output."""
        return read_study(
            self.output, subject, session, self._people, defaced_before=self.defaced_before, allow_face=self.allow_face
        )

    @cached_property
    def _people(self) -> dict[str, dict[str, str]]:
        """The table of participants, read once for all studies."""
        return read_people(self.output)


@dataclass(frozen=True)
class Survey:
    """The studies in the order of the export, and the series that cannot leave: (study, series, reason).

    Attributes
    ----------
    wanted
        The kinds of images with the atlas and the resolution that the whole export has.
    told
        What the user should know of that choice.
    """

    entries: tuple[Entry, ...]
    left_out: tuple[tuple[str, str, str], ...]
    wanted: tuple[Wanted, ...] = ()
    told: tuple[str, ...] = ()


def survey(
    source: Source, studies: Iterator[tuple[str, str | None]], columns: tuple[str, ...], fractions: tuple[float, ...],
    seed: int, wanted: tuple[Wanted, ...] = (), before: Mapping[str, str] | None = None,
) -> Survey:  # fmt: skip
    """Look at all studies once; patients keep the splits that they had before.

    Raises
    ------
    NoColumnError
        A column to stratify by that no study has.
    """
    found: list[Entry] = []
    left_out: list[tuple[str, str, str]] = []
    strata: dict[str, tuple[str, ...]] = {}
    places = Places(wanted)
    for subject, session in studies:
        study = source.read(subject, session)
        entry = Entry(source.names.patient(subject), source.names.study(subject, session), subject, session)
        left_out += [(entry.study, series.rpartition("_")[2], reason) for series, reason in study.left_out]
        if study.series:
            found.append(entry)
            places.see(study)
            if entry.patient not in strata:  # the first visit stands for the patient
                strata[entry.patient] = tuple(column_of(study, name) for name in columns)
    for index, name in enumerate(columns):
        if strata and all(values[index] == "n/a" for values in strata.values()):
            raise NoColumnError(f"--stratify {name}: no study has such a column")
    splits = assign_splits(strata, fractions, seed, before=before)
    found.sort(key=lambda one: (one.patient, one.study))
    entries = tuple(replace(one, split=splits[one.patient]) for one in found)
    return Survey(entries, tuple(sorted(left_out)), places.chosen(), tuple(places.told()))


def column_of(study: Study, name: str) -> str:
    """A study's value of a column: of the person, of the reference's acquisition, or of its row of the series table."""
    name = _ALIASES.get(name, name)
    series = study.reference or study.series[0]
    for place in (study.person, series.acquisition, series.row):
        if (value := place.get(name)) is not None:
            return str(value)
    return "n/a"
