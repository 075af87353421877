"""All quality numbers of all participants in one long table, from the sessions' manifests, one session at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bids_app.outputs.manifest import read_manifest
from bids_app.outputs.measures import load_measures, measures_of
from bids_app.outputs.writer import json_bytes, write_if_changed, write_pieces

COLUMNS = ("participant_id", "session_id", "series", "suffix", "measure", "value")


def write_group_measures(output: Path) -> None:
    """Write `group_measures.tsv` and its data dictionary; participants, series and measures in order.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    write_pieces(output / "group_measures.tsv", _pieces(output))
    write_if_changed(output / "group_measures.json", json_bytes(_dictionary()))


def _pieces(output: Path) -> Iterator[bytes]:
    """The header, then the rows of one session after another."""
    yield ("\t".join(COLUMNS) + "\n").encode()
    logs = output / "logs"
    found = [*logs.glob("sub-*/manifest.json"), *logs.glob("sub-*/ses-*/manifest.json")]
    for path in sorted(found, key=lambda one: one.parts):
        subject, *session = path.relative_to(logs).parts[:-1]
        manifest = read_manifest(path)
        rows = []
        for series in sorted({name.split("/")[1] for name in manifest.tasks}):
            where = (subject, session[0] if session else "n/a", series, series.rpartition("_")[2])
            for name, value in measures_of(series, manifest).items():
                rows.append(
                    "\t".join((*where, name, str(value) if value is not None and math.isfinite(value) else "n/a"))
                    + "\n"
                )
        yield "".join(rows).encode()


def _dictionary() -> dict[str, Any]:
    levels = {}
    for name, measure in load_measures().items():
        unit = f" in {measure.unit}" if measure.unit else ""
        levels[name] = f"{measure.label}{unit}. {measure.meaning} Formula: {measure.source}."
    return {
        "participant_id": {"Description": "Participant."},
        "session_id": {"Description": "Session; n/a in datasets without sessions."},
        "series": {"Description": "Name of the raw image, without its extension."},
        "suffix": {"Description": "BIDS suffix: the contrast."},
        "measure": {"Description": "What was measured.", "Levels": levels},
        "value": {"Description": "Its value; n/a where it could not be had."},
    }
