"""The regions of all participants as one table: volumes and thickness, one row a region of a hemisphere of a series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bids_app.group.datasets import Source
from bids_app.reports.contents import SessionContent, read_participant, read_table, subjects_of

REGION_COLUMNS = (
    "dataset", "participant_id", "session_id", "series", "parcellation", "index", "region", "hemisphere", "voxels",
    "volume_ml", "grey_matter_ml", "thickness_voxels", "thickness_mean_mm", "thickness_sd_mm", "thickness_median_mm",
)  # fmt: skip
#: The tables of a session's reference by their tasks, and what a column of one is called here where that differs.
_TABLES: dict[str, dict[str, str]] = {"regions": {}, "thickness": {"voxels": "thickness_voxels"}}


def regions_of(sources: Iterable[Source]) -> Iterator[dict[str, Any]]:
    """The rows of every session's tables, those of one region (volume, thickness) joined; cells as they are there.

    They come one session after another: those of 20,000 sessions would take gigabytes together.
    """
    for source in sources:
        for subject in subjects_of(source.output) if source.output else ():
            assert source.output is not None
            for session in read_participant(source.output, subject).sessions:
                where = {"dataset": source.label, "participant_id": f"sub-{subject}"}
                for row in _rows(source.output, session):
                    yield {name: _known((where | row).get(name)) for name in REGION_COLUMNS}


def _rows(output: Path, session: SessionContent) -> Iterable[dict[str, str]]:
    """The rows of a session."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for series in session.series:
        for task, renamed in _TABLES.items():
            record = series.tasks.get(task)
            paths = [one.path for one in record.files if one.path.endswith("_stats.tsv")] if record else []
            for row in read_table(output / paths[0]) if paths else ():
                key = (series.name, row["parcellation"], row["index"], row["region"], row["hemisphere"])
                told = {renamed.get(name, name): cell for name, cell in row.items()}
                rows.setdefault(key, {"session_id": session.name, "series": series.name}).update(told)
    return rows.values()


def _known(cell: Any) -> Any:
    return None if cell in (None, "n/a", "") else cell
