"""The series table of a session: one row for each image that was found, accepted or not, and what became of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_app.inputs.reference import Reference
from bids_app.inputs.series import Series, Session
from bids_app.outputs.anonymise import safe_text
from bids_app.outputs.manifest import Manifest, TaskRecord
from bids_app.outputs.measures import measures_of
from bids_app.outputs.names import session_folder
from bids_app.outputs.writer import write_if_changed
from bids_app.steps.quality.flags import flags
from bids_app.steps.quality.shapes import anisotropy_class, anisotropy_ratio

#: Columns of the table and what they mean: the table's data dictionary.
COLUMNS: dict[str, dict[str, Any]] = {
    "participant_id": {"Description": "Participant."},
    "session_id": {"Description": "Session; n/a in datasets without sessions."},
    "series": {"Description": "Name of the raw image, without its extension."},
    "suffix": {"Description": "BIDS suffix: the contrast."},
    "contrast_agent": {"Description": "Whether a contrast agent was given.", "Levels": {"0": "no", "1": "yes"}},
    "status": {
        "Description": "What became of the series.",
        "Levels": {
            "done": "every step that was asked for is finished",
            "failed": "a step failed, or the image or its lesion mask is broken; see reason",
            "rejected": "not processed; see reason",
        },
    },
    "reason": {"Description": "Why the series was rejected, or at which step it failed and why (read: broken image)."},
    "warnings": {"Description": "What a person should look at; n/a: nothing."},
    "reference": {"Description": "Whether it is the session's reference.", "Levels": {"0": "no", "1": "yes"}},
    "reference_rank": {"Description": "For the other series: why they stand behind the reference."},
    "shape": {"Description": "Voxels along the axes of the file."},
    "spacing_mm": {"Description": "Voxel edges along the axes of the file.", "Units": "mm"},
    "fov_mm": {"Description": "Field of view along the axes of the file.", "Units": "mm"},
    "orientation": {"Description": "Directions of the axes of the file, such as RAS."},
    "plane": {"Description": "Slices.", "Levels": {p: p for p in ("axial", "coronal", "sagittal", "oblique")}},
    "anisotropy": {
        "Description": "Longest over shortest edge of a voxel.",
        "Levels": {"isotropic": "1", "mild": "under 2", "high": "2 or more"},
    },
    "dtype": {"Description": "Data type on disk."},
    "mask_method": {"Description": "How the brain mask was made."},
    "mask_volume_ml": {"Description": "Volume of the brain mask.", "Units": "mL"},
    "face_share": {"Description": "Share of the image's voxels that was set to 0 as face."},
    "face_check": {
        "Description": "The face check after defacing.",
        "Levels": {
            "passed": "no face is left",
            "failed": "a face is left; nothing was written",
            "allowed": "a face is left; --allow-face was given",
        },
    },
    "face_skin_before": {"Description": "Share of the face's skin, brow to chin, that the raw image shows (0 to 1)."},
    "face_skin_left": {"Description": "Share of it that is left after defacing; n/a: the field of view has none."},
    "face_eyes_left": {"Description": "Share of the eyes' volume that is left after defacing."},
    "bias_p01": {"Description": "1st percentile of the bias field in the brain (its geometric mean is 1)."},
    "bias_p99": {"Description": "99th percentile of the bias field in the brain."},
    "coregister_rotation_deg": {"Description": "Rotation against the reference.", "Units": "deg"},
    "coregister_translation_mm": {"Description": "Shift of the brain's centre against the reference.", "Units": "mm"},
    "coregister_mutual_information": {"Description": "Mattes mutual information with the reference, after."},
    "tissue_gate": {"Description": "Why the reference has no segmentation of grey matter, white matter and fluid; n/a: "
                    "it has one, or none was asked for."},
    "atlas_mutual_information": {"Description": "Mattes mutual information with the first atlas, after (reference)."},
}  # fmt: skip


def table_path(output: Path, session: Session) -> Path:
    """Where a session's table is."""
    return output / session_folder(session.subject, session.session) / f"{session.label}_series.tsv"


def write_series_table(
    session: Session, reference: Reference | None, manifest: Manifest, failures: Mapping[str, str], output: Path
) -> tuple[str, bytes]:
    """Write the table of a session; its path in the output and its content.

    Parameters
    ----------
    failures
        For a series that did not come to its end, where and why.
    """
    path = table_path(output, session)
    ranks = dict(reference.runners_up) if reference else {}
    earlier = _earlier(path) if any(one.filtered for one in session.rejected) else {}
    rows = []
    for series in sorted((*session.series, *session.rejected), key=_place):
        row = _described(series, session)
        if series.rejection is None:
            row["status"] = "failed" if series.name in failures else "done"
            row["reason"] = safe_text(failures.get(series.name, ""))
            row["reference"] = str(int(reference is not None and series.name == reference.series.name))
            row["reference_rank"] = ranks.get(series.name, "")
            row.update(_facts(series, manifest))
            row["warnings"] = "; ".join(_warnings(series, manifest))
        elif series.filtered and series.name in earlier and _tasks_of(series, manifest):
            # this run leaves it out; what earlier ones made of it is there, and so is what they found
            row = earlier[series.name] | ({"reference": "0"} if reference else {})
        rows.append(row)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="", delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(row.get(key)) for key in COLUMNS} for row in rows)
    content = stream.getvalue().encode()
    write_if_changed(path, content)
    return path.relative_to(output).as_posix(), content


def _earlier(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a table as an earlier run wrote it, of series that it processed."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
    except (OSError, ValueError, csv.Error):
        return {}
    return {row["series"]: row for row in rows if row.get("series") and row.get("status") in ("done", "failed")}


def _place(series: Series) -> tuple[str, bool, str]:
    """Where a series stands in the table: of two files of one name, the one that is processed has the last word."""
    return series.relative.removesuffix(series.extension), series.accepted, series.relative


def _described(series: Series, session: Session) -> dict[str, Any]:
    row: dict[str, Any] = {
        "participant_id": f"sub-{session.subject}",
        "session_id": f"ses-{session.session}" if session.session else None,
        "series": series.name,
        "suffix": series.suffix,
        "contrast_agent": int(series.contrast_agent),
        "status": "rejected",
        "reason": safe_text(series.rejection or ""),
    }
    if not series.entities:  # its name, and with it what is wrong with that, can be anything; --dry-run tells it
        row |= {"series": "misnamed", "suffix": None, "reason": "not a BIDS name, or not a NIfTI file; see --dry-run"}
        if series.unreadable:
            row["reason"] = "a file or folder that cannot be read; see --dry-run"
    if series.unreadable:
        row |= {"status": "failed", "reason": f"read: {row['reason']}"}
    if series.header is not None:
        header = series.header
        row |= {
            "shape": "x".join(str(size) for size in header.shape),
            "spacing_mm": "x".join(f"{edge:.4g}" for edge in header.spacing_mm),
            "fov_mm": "x".join(f"{edge:.4g}" for edge in header.fov_mm),
            "orientation": header.orientation,
            "plane": header.plane,
            "anisotropy": anisotropy_class(anisotropy_ratio(header.spacing_mm)),
            "dtype": header.dtype,
        }
    return row


def _warnings(series: Series, manifest: Manifest) -> list[str]:
    """The flags that the series' numbers raise; how thick its slices are is known without a step."""
    edges = series.header.spacing_mm if series.header else (1.0,)
    known = {"anisotropy_ratio": anisotropy_ratio(edges), "slice_thickness_mm": max(edges)}
    result = [*series.doubts, *flags({**known, **measures_of(series.name, manifest)})]
    if any(task.facts.get("face_check") == "allowed" for task in _tasks_of(series, manifest)):
        result.insert(0, "a face is left")
    return result


def _tasks_of(series: Series, manifest: Manifest) -> list[TaskRecord]:
    return [task for name, task in manifest.tasks.items() if name.split("/")[1] == series.name]


def _facts(series: Series, manifest: Manifest) -> dict[str, Any]:
    """What the steps found, by column."""
    result: dict[str, Any] = {}
    if (tissue := manifest.tasks.get(f"segment/{series.name}/tissue")) is not None:
        result["tissue_gate"] = tissue.facts.get("tissue_gate")  # not what stands on it has to say
    for name, task in manifest.tasks.items():
        step, of, *_ = name.split("/")
        if of != series.name:
            continue
        for key, value in task.facts.items():
            column = key if key in COLUMNS else f"{step}_{key}"
            if column in COLUMNS and column != "tissue_gate":
                result.setdefault(column, value)
    return result


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    return " ".join(str(value).split())
