"""The columns of the profile: one schema for every dataset, and the row of a series that is known from its header.

It has the fields of MR-RATE's metadata table and of the image tables of a review of 54 public brain MRI datasets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bids_app.inputs.acceptance import content_flags
from bids_app.inputs.series import Header, Series
from bids_app.outputs.anonymise import safe_text
from bids_app.outputs.landmarks import contrast_label
from bids_app.outputs.series_ids import numbered, series_stem
from bids_app.outputs.sidecars import acquisition_fields
from bids_app.steps.quality.shapes import anisotropy_class, anisotropy_ratio

Row = dict[str, Any]

_YES_NO = {"Levels": {"0": "no", "1": "yes"}}


def _axes(what: str, units: str | None = None) -> list[dict[str, Any]]:
    entry = {"Units": units} if units else {}
    return [{"Description": f"{what} along axis {axis} of the file.", **entry} for axis in (1, 2, 3)]


#: Columns of `group_profile.tsv` and what they mean: the table's data dictionary.
COLUMNS: dict[str, dict[str, Any]] = {
    "dataset": {"Description": "Which of the datasets."},
    "participant_id": {"Description": "Participant."},
    "session_id": {"Description": "Session; n/a in datasets without sessions."},
    "series": {"Description": "Name of the raw image, without its extension."},
    "series_id": {"Description": "Modality, raw or derived, plane, and a number where a session has several such."},
    "modality": {"Description": "Contrast: the BIDS suffix, names of SWI, PDw and T2starw made one."},
    "contrast": {"Description": "The same, apart where a contrast agent was given."},
    "suffix": {"Description": "BIDS suffix."},
    "contrast_agent": {"Description": "Whether a contrast agent was given.", **_YES_NO},
    "classification_rule": {"Description": "What told the modality."},
    "sequence_family": {"Description": "DICOM scanning sequence (SE, GR, IR, EP, joined by +)."},
    "acquisition_type": {"Description": "2D or 3D (DICOM MR acquisition type)."},
    "dwi_sub_type": {"Description": "Kind of a diffusion series."},
    "status": {
        "Description": "What became of it, or would become of it.",
        "Levels": {
            "accepted": "would be processed", "rejected": "is not processed; see reason",
            "done": "processed", "failed": "a step failed; see reason",
        },
    },
    "reason": {"Description": "Why it is rejected or failed."},
    "is_reference": {"Description": "Whether it is the session's reference (center modality).", **_YES_NO},
    "is_derived": {"Description": "Whether its ImageType says derived.", **_YES_NO},
    "is_localizer": {"Description": "Whether its sidecar says localizer.", **_YES_NO},
    "is_subtraction": {"Description": "Whether its sidecar says subtraction.", **_YES_NO},
    "plane": {"Description": "Slices: axial, coronal, sagittal or oblique."},
    "orientation": {"Description": "Directions of the axes of the file, such as RAS."},
    **dict(zip(("dim_1", "dim_2", "dim_3"), _axes("Voxels"), strict=True)),
    **dict(zip(("spacing_1_mm", "spacing_2_mm", "spacing_3_mm"), _axes("Voxel edge", "mm"), strict=True)),
    **dict(zip(("fov_1_mm", "fov_2_mm", "fov_3_mm"), _axes("Field of view", "mm"), strict=True)),
    "anisotropy_ratio": {"Description": "Longest over shortest edge of a voxel."},
    "anisotropy": {
        "Description": "Its class.", "Levels": {"isotropic": "1", "mild": "under 2", "high": "2 or more"},
    },
    "affine": {"Description": "Voxels to RAS+ mm: three rows of four numbers, joined by semicolons."},
    "dtype": {"Description": "Data type on disk."},
    "series_number": {"Description": "DICOM series number."},
    "manufacturer": {"Description": "Maker of the scanner."},
    "manufacturer_model": {"Description": "Model of the scanner."},
    "field_strength_t": {"Description": "Field strength.", "Units": "T"},
    "tr_ms": {"Description": "Repetition time.", "Units": "ms"},
    "te_ms": {"Description": "Echo time; of several, the first.", "Units": "ms"},
    "ti_ms": {"Description": "Inversion time.", "Units": "ms"},
    "flip_angle_deg": {"Description": "Flip angle.", "Units": "deg"},
    "slice_thickness_mm": {"Description": "Slice thickness as the scanner says.", "Units": "mm"},
    "acq_time": {"Description": "When the session was acquired, shifted by a secret time (only with --date-key)."},
    "age": {"Description": "Age in whole years; 89+ from 89 on.", "Units": "year"},
    "sex": {"Description": "Sex.", "Levels": {"F": "female", "M": "male", "O": "other"}},
    "intensity_of": {
        "Description": "Which voxels the intensities are of.",
        "Levels": {"brain": "the brain mask, after the bias field", "foreground": "raw, above Otsu's threshold"},
    },
    "intensity_mean": {"Description": "Mean intensity."},
    "intensity_sd": {"Description": "Standard deviation of the intensities."},
    "intensity_p05": {"Description": "5th percentile of the intensities."},
    "intensity_p50": {"Description": "Median intensity."},
    "intensity_p95": {"Description": "95th percentile of the intensities."},
    "brain_volume_ml": {"Description": "Volume of the brain mask.", "Units": "mL"},
    "sampling_weight": {
        "Description": "Weight for drawing the series in training, so that what --balance names is in equal parts; "
        "mean 1 over the series that are used, n/a for the others."
    },
}  # fmt: skip

_DWI = {"dwi": "dwi", "S0map": "b0", "trace": "trace", "ADC": "adc", "FA": "fa", "sbref": "sbref"}
_MISNAMED = "not a BIDS name, or not a NIfTI file; see participant --dry-run"


def raw_rows(participant: str, session: str | None, series: Iterable[Series]) -> list[Row]:
    """The rows of a session's series, accepted or not, from headers and sidecars alone; n/a is left out."""
    rows = []
    for one in series:
        row: Row = {"participant_id": participant, "session_id": session}
        if not one.entities:  # its name, and with it what is wrong with that, can be anything
            rows.append(row | {"series": "misnamed", "status": "rejected", "reason": _MISNAMED})
            continue
        row |= {
            "series": one.name,
            "status": "accepted" if one.accepted else "rejected",
            "reason": safe_text(one.rejection) if one.rejection else None,
            **_told(one.metadata),
            **contrast_cells(one.suffix, one.contrast, one.contrast_agent),
        }
        row |= acquisition_cells(acquisition_fields(one.metadata))
        if one.header is not None:
            row |= header_cells(one.header)
        rows.append(row)
    return with_series_ids(rows)


def contrast_cells(suffix: str, contrast: str, contrast_agent: bool) -> Row:
    """What a series shows, and what told it."""
    return {
        "suffix": suffix,
        "modality": contrast,
        "contrast": contrast_label(contrast, contrast_agent),
        "contrast_agent": int(contrast_agent),
        "classification_rule": "BIDS suffix" if contrast == suffix else "BIDS suffix, made one with its other names",
        "dwi_sub_type": _DWI.get(suffix),
    }


def header_cells(header: Header) -> Row:
    """The grid of an image."""
    rows = [header.affine[start : start + 4] for start in range(0, len(header.affine), 4)]
    cells: Row = {
        "plane": header.plane,
        "orientation": header.orientation,
        "anisotropy_ratio": round(anisotropy_ratio(header.spacing_mm), 4),
        "anisotropy": anisotropy_class(anisotropy_ratio(header.spacing_mm)),
        "affine": "; ".join(" ".join(f"{number:g}" for number in row) for row in rows) or None,
        "dtype": header.dtype,
    }
    for axis in range(3):
        cells[f"dim_{axis + 1}"] = header.shape[axis]
        cells[f"spacing_{axis + 1}_mm"] = round(header.spacing_mm[axis], 4)
        cells[f"fov_{axis + 1}_mm"] = round(header.fov_mm[axis], 2)
    return cells


def acquisition_cells(fields: Mapping[str, Any]) -> Row:
    """The acquisition, from what of a sidecar may be passed on (`outputs.sidecars`); times in milliseconds."""
    return {
        "manufacturer": _text(fields.get("Manufacturer")),
        "manufacturer_model": _text(fields.get("ManufacturersModelName")),
        "field_strength_t": _number(fields.get("MagneticFieldStrength")),
        "tr_ms": _number(fields.get("RepetitionTime"), 1000),
        "te_ms": _number(fields.get("EchoTime"), 1000),
        "ti_ms": _number(fields.get("InversionTime"), 1000),
        "flip_angle_deg": _number(fields.get("FlipAngle")),
        "slice_thickness_mm": _number(fields.get("SliceThickness")),
        "acquisition_type": _text(fields.get("MRAcquisitionType")),
        "sequence_family": _sequence(fields.get("ScanningSequence")),
    }


def with_series_ids(rows: list[Row]) -> list[Row]:
    """Name each series of a session by modality, origin and plane, counted in the order of acquisition."""
    stems: dict[int, str] = {}
    for place, row in sorted(enumerate(rows), key=lambda each: _acquired(each[1])):
        modality = "mra" if row.get("modality") == "angio" else row.get("modality")
        stem = modality and series_stem(str(modality), str(row.get("plane")), bool(row.get("is_derived")))
        if stem:
            stems[place] = stem
    for place, name in zip(stems, numbered(stems.values()), strict=True):
        rows[place]["series_id"] = name
    return rows


def _acquired(row: Row) -> tuple[float, str]:
    number = row.get("series_number")
    return (float("inf") if number is None else float(number), str(row.get("series")))


def _told(metadata: Mapping[str, Any]) -> Row:
    flags = content_flags(metadata)
    number = metadata.get("SeriesNumber")
    return {
        "is_derived": int(flags.derived),
        "is_localizer": int(flags.localizer),
        "is_subtraction": int(flags.subtraction),
        "series_number": number if isinstance(number, int) and 0 <= number < 100_000 else None,
    }


def _number(value: Any, factor: float = 1.0) -> float | None:
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value * factor, 4)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _sequence(value: Any) -> str | None:
    parts = value.split("\\") if isinstance(value, str) else value
    return "+".join(sorted({str(one).upper() for one in parts})) if isinstance(parts, list) and parts else None
