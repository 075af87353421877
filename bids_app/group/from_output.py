"""What an output of ours knows of its series: for the profile of a dataset that was processed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bids_app.group.columns import Row, acquisition_cells, contrast_cells, header_cells, with_series_ids
from bids_app.inputs.errors import HeaderError
from bids_app.inputs.headers import read_header
from bids_app.inputs.series import Series, parse_entities
from bids_app.outputs.names import session_folder
from bids_app.reports.contents import SeriesContent, read_participant, read_table, sidecar, subjects_of

#: Columns of the profile and the quality numbers that fill them.
_MEASURES = {
    "intensity_mean": "brain_mean",
    "intensity_sd": "brain_sd",
    "intensity_p05": "brain_p05",
    "intensity_p50": "brain_p50",
    "intensity_p95": "brain_p95",
    "brain_volume_ml": "mask_volume_ml",
}
#: Where the raw image's grid lives on, best first: task and part of the file's name.
_NATIVE = (("deface", "_desc-defaced_"), ("bias", "_desc-preproc_"))


def known_of(output: Path, participant: str) -> dict[str, Row]:
    """What became of the series of a participant, by their names: status, role, intensities."""
    found: dict[str, Row] = {}
    for session, series in _series_of(output, participant):
        row: Row = {"status": series.cell("status") or None, "reason": series.cell("reason") or None}
        if row["status"] == "rejected":
            if series.name in found:  # a second file of one name, which is rejected for that
                continue
            row["reason"] = row["reason"] or "rejected"
        else:
            row["is_reference"] = int(series.is_reference)
        row |= _numbers(series)
        row["acq_time"] = _times(output, participant).get(session)
        found[series.name] = {key: value for key, value in row.items() if value is not None}
    return found


def rows_of_output(output: Path) -> Iterator[list[Row]]:
    """The rows of a dataset of which only the output is at hand, one participant after another."""
    for subject in subjects_of(output):
        participant = f"sub-{subject}"
        times = _times(output, participant)
        sessions: dict[str | None, list[Row]] = {}
        for session, series in _series_of(output, participant):
            row = {"participant_id": participant, "session_id": session, "series": series.name}
            row |= {"acq_time": times.get(session), **_described(output, series)}
            sessions.setdefault(session, []).append(row)
        yield [row for rows in sessions.values() for row in with_series_ids(rows)]


def _series_of(output: Path, participant: str) -> Iterator[tuple[str | None, SeriesContent]]:
    for session in read_participant(output, participant.removeprefix("sub-")).sessions:
        for series in session.series:
            yield session.name or None, series


def _described(output: Path, series: SeriesContent) -> Row:
    """A series by its row of the series table, and by its native image, which has the raw one's grid and fields."""
    row: Row = {"status": series.cell("status"), "reason": series.cell("reason") or None}
    row["is_reference"] = int(series.is_reference) if row["status"] != "rejected" else None
    row |= _contrast(series)
    for column in ("orientation", "plane", "anisotropy", "dtype"):
        row[column] = series.cell(column) or None
    for name, column in (("shape", "dim_{}"), ("spacing_mm", "spacing_{}_mm"), ("fov_mm", "fov_{}_mm")):
        for axis, text in enumerate(series.cell(name).split("x")[:3] if series.cell(name) else (), start=1):
            row[column.format(axis)] = int(text) if name == "shape" else float(text)
    path = next((found for task, part in _NATIVE if (found := series.file(task, part))), None)
    if path is not None:
        row |= acquisition_cells(sidecar(output, path))
        with suppress(HeaderError):  # then the table's cells stay
            row |= {**header_cells(read_header(output / path)), "dtype": row["dtype"]}
    return row | _numbers(series)


def contrast_of(series: SeriesContent) -> str:
    """The contrast of a processed series, by which what is learnt from a group goes."""
    return str(_contrast(series).get("contrast") or series.cell("suffix"))


def measured(series: SeriesContent, name: str) -> float | None:
    """A quality number of a series; None where it could not be had, or is none (NaN, infinite)."""
    value = series.measures.get(name)
    return value if value is not None and math.isfinite(value) else None


def _contrast(series: SeriesContent) -> Row:
    try:
        entities, suffix = parse_entities(series.name)
    except ValueError:  # a misnamed file
        return {}
    known = Series(Path(series.name), series.name, entities, suffix, "", "")
    return contrast_cells(suffix, known.contrast, series.cell("contrast_agent") == "1")


def _numbers(series: SeriesContent) -> dict[str, Any]:
    """The intensities in the brain and its volume, where they were measured."""
    row: Row = {column: measured(series, name) for column, name in _MEASURES.items()}
    row["intensity_of"] = "brain" if row["intensity_p50"] is not None else None
    return row


def _times(output: Path, participant: str) -> dict[str | None, str]:
    """Shifted times of acquisition by session, where a key was given."""
    path = output / session_folder(participant.removeprefix("sub-"), None) / f"{participant}_sessions.tsv"
    rows = read_table(path)
    return {row.get("session_id"): row["acq_time"] for row in rows if row.get("acq_time", "n/a") != "n/a"}
