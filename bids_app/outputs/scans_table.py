"""The scans table of a session, `sub-01[_ses-1]_scans.tsv`: every quality number of every series.

BIDS has this place for such numbers. The data dictionary of all of these tables is `scans.json` at the root.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_app.inputs.series import Series, Session
from bids_app.outputs.manifest import Manifest
from bids_app.outputs.measures import load_measures, measures_of
from bids_app.outputs.names import session_folder
from bids_app.outputs.writer import write_if_changed

#: The step and the name of the file that stands for a series, the best one first; each exists once for a series.
_FILES = (("bias", "_desc-preproc_"), ("deface", "_desc-defaced_"), ("mask", "_label-brain_"))


def scans_dictionary() -> dict[str, dict[str, Any]]:
    """The content of `scans.json`: the columns of every session's table."""
    columns: dict[str, dict[str, Any]] = {"filename": {"Description": "The series, by the best of its native images."}}
    for name, measure in load_measures().items():
        columns[name] = {"LongName": measure.label, "Description": f"{measure.meaning} Formula: {measure.source}."}
        if measure.unit:
            columns[name]["Units"] = measure.unit
    return columns


def write_scans_table(session: Session, manifest: Manifest, output: Path) -> tuple[str, bytes | None]:
    """Write a session's table; its path in the output and its content, None where nothing was measured."""
    path = output / session_folder(session.subject, session.session) / f"{session.label}_scans.tsv"
    rows = []
    for series in sorted((*session.series, *session.rejected), key=lambda one: one.relative):
        file = _file_of(series, manifest)
        if file is not None and f"measure/{series.name}" in manifest.tasks:
            name = (output / file).relative_to(path.parent).as_posix()
            rows.append([name, *_cells(measures_of(series.name, manifest))])
    content = None
    if rows:
        lines = ["\t".join(row) for row in [["filename", *load_measures()], *rows]]
        content = ("\n".join(lines) + "\n").encode()
        write_if_changed(path, content)
    else:
        path.unlink(missing_ok=True)
    return path.relative_to(output).as_posix(), content


def _file_of(series: Series, manifest: Manifest) -> str | None:
    for step, part in _FILES:
        task = manifest.tasks.get(f"{step}/{series.name}")
        for file in task.files if task else ():
            if part in file.path and file.path.endswith(".nii.gz"):
                return file.path
    return None


def _cells(numbers: Mapping[str, float | None]) -> list[str]:
    found = (numbers.get(name) for name in load_measures())
    return ["n/a" if value is None else str(value) for value in found]
