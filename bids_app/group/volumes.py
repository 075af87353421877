"""Volumes corrected for the size of the head: as a share of the intracranial volume, and as residuals of it.

Residuals are the better of the two where volumes do not grow in proportion to the head (Sanfilipo et al. 2004,
doi:10.1016/j.neuroimage.2004.04.035): a line is fitted over the collection, and each volume is moved along it to the
mean intracranial volume.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.group.datasets import Source
from bids_app.group.from_output import measured
from bids_app.reports.contents import SessionContent, read_participant, read_table, subjects_of

HEAD = "intracranial_ml"
VOLUME_COLUMNS = (
    "dataset", "participant_id", "session_id", "series", "measure", "method", "structure", "hemisphere", "volume_ml",
    "intracranial_ml", "proportion", "residual_corrected_ml",
)  # fmt: skip
#: Fewer heads than this make no line.
FEWEST = 4


def corrected_volumes(sources: Iterable[Source]) -> list[dict[str, Any]]:
    """One row for each volume whose intracranial volume is known: of every series' brain mask, and of what the tables
    of volumes have (the step `segment`)."""
    rows: list[dict[str, Any]] = []
    for source in sources:
        for subject in subjects_of(source.output) if source.output else ():
            assert source.output is not None
            for session in read_participant(source.output, subject).sessions:
                who = {"dataset": source.label, "participant_id": f"sub-{subject}", "session_id": session.name or None}
                for series, what, volume, head in _volumes(source.output, session):
                    corrected = {"volume_ml": volume, HEAD: head, "proportion": volume / head}
                    rows.append({**who, "series": series, **what, **corrected})
    for name in dict.fromkeys(row["measure"] for row in rows):
        of_name = [row for row in rows if row["measure"] == name]
        moved = residual_corrected(*(np.array([row[key] for row in of_name]) for key in ("volume_ml", HEAD)))
        for row, value in zip(of_name, moved if moved is not None else (), strict=False):
            row["residual_corrected_ml"] = float(value)
    return rows


def _volumes(output: Path, session: SessionContent) -> Iterator[tuple[str, dict[str, str], float, float]]:
    """Series, what it is, its volume and the intracranial one, for every volume of a session."""
    heads = {series.name: measured(series, HEAD) for series in session.series}
    for series in session.series:
        head, volume = heads[series.name], measured(series, "mask_volume_ml")
        if head and volume is not None:
            what = {"measure": "mask_volume_ml", "method": "mask", "structure": "brain", "hemisphere": "both"}
            yield series.name, what, volume, head
    for row in read_table(output / session.label.replace("_", "/") / f"{session.label}_volumes.tsv"):
        head = heads.get(row.get("series", ""))
        if head and row["method"] != "mask":
            what = {key: row[key] for key in ("method", "structure", "hemisphere")}
            name = " ".join(part for part in what.values() if part != "both")
            yield row["series"], {"measure": name, **what}, float(row["volume_ml"]), head


def residual_corrected(volumes: NDArray[Any], heads: NDArray[Any]) -> NDArray[np.float64] | None:
    """Volumes less what the size of the head explains: V - b (head - mean head); None for too few or equal heads."""
    if len(heads) < FEWEST or np.ptp(heads) == 0:
        return None
    centred = heads - heads.mean()
    slope = float((centred * (volumes - volumes.mean())).sum() / (centred**2).sum())
    return np.asarray(volumes - slope * centred, dtype=np.float64)
