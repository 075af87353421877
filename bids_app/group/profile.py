"""The profile: one row for each series of all datasets, from headers, sidecars and what the outputs know.

Rows are read one participant after another and kept as columns, in which equal texts are one: 20,000 series take some
tens of megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.group.columns import COLUMNS, Row
from bids_app.group.datasets import Source
from bids_app.group.errors import GroupError
from bids_app.group.from_output import known_of, rows_of_output
from bids_app.group.people import public_cell
from bids_app.group.profile_cache import cached_rows
from bids_app.inputs.dataset import Selection
from bids_app.inputs.participants import participant_rows
from bids_app.outputs.writer import json_bytes, write_if_changed, write_pieces

NAME = "group_profile"
_SEX = {"f": "F", "female": "F", "m": "M", "male": "M", "o": "O", "other": "O"}
#: Texts that stand for nothing in tables.
_NOTHING = frozenset({"", "n/a", "na", "nan", "none", "null", "unknown"})


class Profile:
    """The rows of all series by column; `n/a` is None.

    Attributes
    ----------
    names
        Of the columns: those of `COLUMNS`, then the participants' columns that were asked for.
    columns
        Their values, all of one length.
    """

    def __init__(self, further: Sequence[str] = ()) -> None:
        self.names: tuple[str, ...] = (*COLUMNS, *(name for name in further if name not in COLUMNS))
        self.columns: dict[str, list[Any]] = {name: [] for name in self.names}
        self._texts: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.columns["series"])

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row; what it does not have is None."""
        for name, column in self.columns.items():
            value = row.get(name)
            column.append(self._texts.setdefault(value, value) if isinstance(value, str) else value)

    def rows(self) -> Iterator[Row]:
        """The rows, one after another."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.names, values, strict=True))

    def used(self) -> list[int]:
        """Indices of the series that are processed or would be."""
        return [index for index, status in enumerate(self.columns["status"]) if status in ("accepted", "done")]

    def column(self, name: str) -> list[Any]:
        """A column by its name.

        Raises
        ------
        GroupError
            There is no such column; the message lists those that there are.
        """
        if name not in self.columns:
            raise GroupError(f"there is no column {name} in the profile or in participants.tsv; it has {_list(self)}")
        return self.columns[name]


def gather(
    sources: Sequence[Source],
    selection: Selection,
    cache: Path,
    further: Sequence[str] = (),
    measured: Callable[[Path, str, Row], Row] | None = None,
) -> Profile:
    """The profile of some datasets.

    Parameters
    ----------
    cache
        Folder in which the rows of raw datasets are kept for the next time.
    further
        Columns of the datasets' participants.tsv that are taken over beside age and sex.
    measured
        Given the root, the label of the participant and the row of a raw image of which no intensities are known,
        further cells (`--read-voxels`).

    Raises
    ------
    InputError, GroupError, OutputError
        A dataset or a column is not there, or the cache cannot be written.
    """
    people = {source.label: _people(source) for source in sources}
    known = {name for of_source, _ in people.values() for row in of_source.values() for name in row}
    headers = {name for _, names in people.values() for name in names}
    for name in further:
        if name.lower() not in headers | known | set(COLUMNS):
            raise GroupError(f"no participants.tsv has the column {name}; there are {', '.join(sorted(headers))}")
    profile = Profile(further)
    for source in sources:
        persons = people[source.label][0]
        for rows in _rows(source, selection, cache):
            for row in rows:
                if measured and source.raw and row.get("intensity_of") is None and row.get("dim_1"):
                    row = row | measured(source.raw, str(row["participant_id"]), row)
                person = persons.get(str(row["participant_id"]), {})
                profile.add({**_person(person, further), **row, "dataset": source.label})
    return profile


def _rows(source: Source, selection: Selection, cache: Path) -> Iterator[list[Row]]:
    """The rows of one participant after another."""
    if source.raw is None:
        assert source.output is not None
        yield from rows_of_output(source.output)
        return
    for rows in cached_rows(source.raw, selection, cache / f"profile-{source.label}.jsonl"):
        if source.output is not None and rows:
            known = known_of(source.output, str(rows[0]["participant_id"]))
            rows = [row if row["status"] == "rejected" else {**row, **known.get(row["series"], {})} for row in rows]
        yield rows


def write_profile(profile: Profile, output: Path) -> list[str]:
    """Write `group_profile.tsv`, its dictionary, and `.parquet` where pyarrow is at hand; what to tell the user.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    write_pieces(output / f"{NAME}.tsv", _lines(profile))
    further = {name: {"Description": "A column of the dataset's participants.tsv."} for name in profile.names}
    write_if_changed(output / f"{NAME}.json", json_bytes({**further, **COLUMNS}))
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        (output / f"{NAME}.parquet").unlink(missing_ok=True)  # it would be an earlier run's
        return [f"{NAME}.parquet is not written: that needs pyarrow (pip install 'bids_app[parquet]')"]
    columns = {name: _of_one_type(values) for name, values in profile.columns.items()}
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink, compression="zstd")
    write_if_changed(output / f"{NAME}.parquet", sink.getvalue().to_pybytes())
    return []


def cell(value: Any) -> str:
    """A value as it stands in a table."""
    if value is None or value == "":
        return "n/a"
    if isinstance(value, float):
        return f"{value:.10g}"
    return " ".join(str(value).split())


def table_pieces(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """A table as tab-separated text, one line after another."""
    yield ("\t".join(columns) + "\n").encode()
    for row in rows:
        yield ("\t".join(cell(row.get(name)) for name in columns) + "\n").encode()


def _lines(profile: Profile) -> Iterator[bytes]:
    yield ("\t".join(profile.names) + "\n").encode()
    for values in zip(*profile.columns.values(), strict=True):
        yield ("\t".join(map(cell, values)) + "\n").encode()


def _of_one_type(values: list[Any]) -> list[Any]:
    """A column as one type: numbers where all are numbers, else text."""
    if all(value is None or isinstance(value, int | float) for value in values):
        return values
    return [None if value is None else str(value) for value in values]


def _people(source: Source) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The rows of a dataset's participants.tsv by participant, and its columns, in small letters."""
    root = source.raw or source.output
    assert root is not None
    rows = {f"sub-{label}": row for label, row in participant_rows(root).items()}
    names = {name for row in rows.values() for name in row} - {"participant_id"}
    if not any(row["age"] for row in rows.values()):  # the reader gives every row an age, if an empty one
        names -= {"age"}
    return rows, sorted(names)


def _person(row: Mapping[str, str], further: Sequence[str]) -> Row:
    """Age and sex, made anonymous, and the columns that were asked for; a value that could be more than a word or a
    number is left out."""
    result: Row = {"age": public_cell("age", row.get("age", "")), "sex": _SEX.get(row.get("sex", "").strip().lower())}
    for name in further:
        text = public_cell(name, row.get(name.lower(), ""))
        if name not in COLUMNS and text is not None and text.lower() not in _NOTHING:
            result[name] = text
    return result


def _list(profile: Profile) -> str:
    return ", ".join(profile.names)
