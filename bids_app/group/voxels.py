"""Intensities of raw images of which no quality numbers are known (`--read-voxels`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bids_app.group.columns import Row
from bids_app.inputs.content import read_image
from bids_app.inputs.errors import HeaderError
from bids_app.inputs.walker import DATATYPES
from bids_app.steps.images import ImageError


def foreground_cells(root: Path, participant: str, row: Row) -> Row:
    """Intensities of the voxels above Otsu's threshold (1979, doi:10.1109/TSMC.1979.4310076); none of a bad image."""
    folder = root / participant / (row.get("session_id") or "")
    paths = (
        folder / datatype / f"{row['series']}{extension}" for datatype in DATATYPES for extension in (".nii.gz", ".nii")
    )
    path = next((one for one in paths if one.is_file()), None)
    if path is None:
        return {}
    try:
        return intensities(np.asarray(read_image(path).dataobj))
    except (HeaderError, ImageError, OSError, MemoryError):
        return {}


def intensities(array: Any) -> Row:
    """The profile's intensity cells of an image's foreground; none where all of it is one value."""
    values = np.asarray(array, dtype=np.float32).ravel()
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        return {}
    inside = values[values > otsu_threshold(values)].astype(np.float64)
    low, middle, high = (float(one) for one in np.percentile(inside, (5, 50, 95)))
    return {
        "intensity_of": "foreground", "intensity_mean": float(inside.mean()), "intensity_sd": float(inside.std()),
        "intensity_p05": low, "intensity_p50": middle, "intensity_p95": high,
    }  # fmt: skip


def otsu_threshold(values: Any, bins: int = 256) -> float:
    """The threshold that makes the variance between what lies below and above it the largest."""
    counts, edges = np.histogram(values, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = below[-1] + counts[-1] - below
    sums = np.cumsum(counts * centres)
    means = sums[:-1] / np.maximum(below, 1), (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][np.argmax(below * above * (means[0] - means[1]) ** 2)])
