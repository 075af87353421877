"""The lesion table of a session, `sub-01[_ses-1]_lesions.tsv`: volume and centre of each lesion mask in each space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bids_app.inputs.series import Session
from bids_app.outputs.manifest import Manifest
from bids_app.outputs.names import session_folder
from bids_app.outputs.writer import write_if_changed

#: Columns of the table and what they mean.
LESION_COLUMNS: dict[str, dict[str, Any]] = {
    "series": {"Description": "The series that the lesion was drawn on."},
    "space": {"Description": "Where: orig (the series' own grid), the reference's, isotropic, or the atlas."},
    "volume_ml": {"Description": "Volume of the lesion mask; 0 where it is empty.", "Units": "mL"},
    "volume_ratio": {"Description": "Volume over that in the series' own space; n/a for an empty mask."},
    "x_mm": {"Description": "Centre of mass, towards the right (RAS+).", "Units": "mm"},
    "y_mm": {"Description": "Centre of mass, towards the front.", "Units": "mm"},
    "z_mm": {"Description": "Centre of mass, upwards.", "Units": "mm"},
    "parts": {"Description": "Connected parts of the mask (26 neighbours)."},
    "filename": {"Description": "The mask."},
}


def write_lesions_table(session: Session, manifest: Manifest, output: Path) -> tuple[str, bytes | None]:
    """Write a session's table; its path in the output and its content, None where it has no lesion mask."""
    path = output / session_folder(session.subject, session.session) / f"{session.label}_lesions.tsv"
    rows = []
    for name in sorted(manifest.tasks, key=lambda one: (one.split("/")[1], one.count("/"), one)):
        step, series, *rest = name.split("/")
        task = manifest.tasks[name]
        if step != "lesion" and not (step == "resample" and rest[-1] == "lesion"):
            continue
        native = manifest.tasks.get(f"lesion/{series}")
        whole = native.facts.get("lesion_ml") if native else None
        volume = task.facts.get("lesion_ml")
        ratio = round(volume / whole, 4) if whole and volume is not None else None
        files = [file.path for file in task.files if file.path.endswith(".nii.gz")]
        cells = [series, rest[0] if rest else "orig", volume, ratio]
        cells += [task.facts.get(f"lesion_{axis}_mm") for axis in "xyz"] + [task.facts.get("lesion_parts")]
        cells.append((output / files[0]).relative_to(path.parent).as_posix() if files else None)
        rows.append(["n/a" if cell is None else str(cell) for cell in cells])
    content = None
    if rows:
        content = ("\n".join("\t".join(row) for row in [list(LESION_COLUMNS), *rows]) + "\n").encode()
        write_if_changed(path, content)
    else:
        path.unlink(missing_ok=True)
    return path.relative_to(output).as_posix(), content
