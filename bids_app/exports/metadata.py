"""The tables of MR-RATE's layout: a row a series with its published columns, and the splits."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bids_app.exports.raw import RawFacts
from bids_app.exports.series_ids import MODALITIES
from bids_app.exports.studies import Study, StudySeries
from bids_app.exports.survey import Entry, Source
from bids_app.outputs.people import visit_times

#: The columns of `metadata/batchNN_metadata.csv` in their order (MR-RATE dataset guide, section 3).
COLUMNS = (
    "patient_uid", "study_uid", "series_id", "classified_modality", "is_derived", "acquisition_plane", "SeriesNumber",
    "is_localizer", "is_subtraction", "is_center_modality", "anon_study_date", "classification_rule", "sequence_family",
    "dwi_sub_type", "array_shape", "array_spacing_mm", "array_fov_mm", "Patient'sAge", "Patient'sSex", "FlipAngle",
    "TI_ms", "TE_ms", "TR_ms", "FieldStrength_T", "Manufacturer", "Manufacturer'sModelName",
)  # fmt: skip
SPLIT_COLUMNS = ("batch_id", "patient_uid", "study_uid", "split")
#: DICOM's Scanning Sequence (PS3.3 C.8.3.1.1.1), the most telling one first, and the family's usual name.
_FAMILIES = (("EP", "EPI"), ("IR", "IR"), ("GR", "GRE"), ("SE", "SE"))


def study_rows(
    source: Source, entry: Entry, study: Study, named: Sequence[tuple[StudySeries, str]], facts: Mapping[str, RawFacts]
) -> list[list[str]]:
    """The rows of a study's series, in the order of their names."""
    times = visit_times(source.bids_dir, entry.subject, entry.session)
    days = [day for time in times if (day := source.names.day(entry.subject, time))]
    shared = {
        "patient_uid": entry.patient,
        "study_uid": entry.study,
        "anon_study_date": min(days, default=""),
        "Patient'sAge": study.person.get("age", ""),
        "Patient'sSex": study.person.get("sex", ""),
    }
    rows = [_row(series, identifier, facts.get(series.name, RawFacts()), shared) for series, identifier in named]
    return sorted(rows, key=lambda row: row[COLUMNS.index("series_id")])


def _row(series: StudySeries, identifier: str, facts: RawFacts, shared: Mapping[str, str]) -> list[str]:
    acquired, table = series.acquisition, series.row
    values: dict[str, Any] = {
        **shared,
        "series_id": identifier,
        "classified_modality": MODALITIES[series.contrast],
        "is_derived": facts.derived,
        "acquisition_plane": table.get("plane", "").upper(),
        "SeriesNumber": facts.series_number,
        "is_localizer": facts.localizer,
        "is_subtraction": facts.subtraction,
        "is_center_modality": series.is_reference,
        "classification_rule": "bids_suffix",
        "sequence_family": _family(acquired.get("ScanningSequence")),
        "array_shape": _list(table.get("shape")),
        "array_spacing_mm": _list(table.get("spacing_mm")),
        "array_fov_mm": _list(table.get("fov_mm")),
        "FlipAngle": _number(acquired.get("FlipAngle")),
        "TI_ms": _number(acquired.get("InversionTime"), 1000),
        "TE_ms": _number(acquired.get("EchoTime"), 1000),
        "TR_ms": _number(acquired.get("RepetitionTime"), 1000),
        "FieldStrength_T": _number(acquired.get("MagneticFieldStrength")),
        "Manufacturer": acquired.get("Manufacturer"),
        "Manufacturer'sModelName": acquired.get("ManufacturersModelName"),
    }
    return ["" if values.get(name) is None else str(values[name]) for name in COLUMNS]


def csv_pieces(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """A CSV file (RFC 4180, but for line ends as on Unix), row by row."""
    yield _csv_line(columns)
    yield from map(_csv_line, rows)


def _csv_line(row: Sequence[Any]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(row)
    return stream.getvalue().encode()


def _list(text: str | None) -> str | None:
    """`256x256x192` of the series table as `[256, 256, 192]`."""
    return None if text in (None, "n/a") else f"[{', '.join(text.split('x'))}]"


def _number(value: Any, factor: float = 1) -> str | None:
    """A number, or the first of several (one an echo), in the column's unit."""
    if isinstance(value, list):
        value = value[0] if value else None
    return f"{value * factor:.6g}" if isinstance(value, int | float) else None


def _family(sequence: Any) -> str | None:
    terms = sequence.split("\\") if isinstance(sequence, str) else sequence or []
    return next((name for term, name in _FAMILIES if term in terms), None)
