"""Tables of regions: their volumes and the thickness of their cortex, one row for each region of each hemisphere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bids_app.steps.regions import Region

_WHICH: dict[str, dict[str, Any]] = {
    "parcellation": {"Description": "The parcellation, as in seg- of its label image."},
    "index": {"Description": "Label of the region in that image; n/a for the whole cortex."},
    "region": {"Description": "Name of the region in the parcellation's table."},
    "hemisphere": {
        "Description": "left or right: the side that the table or the name says, else that of the atlas' midline "
        "(regions on both sides are two rows)."
    },
}
REGION_COLUMNS: dict[str, dict[str, Any]] = {
    **_WHICH,
    "voxels": {"Description": "Voxels of the region on the reference's grid; 0 where none is in the image."},
    "volume_ml": {"Description": "Volume of those voxels, whatever tissue they are.", "Units": "mL"},
    "grey_matter_ml": {
        "Description": "Volume of the grey matter in them: sum of the probabilities times a voxel's volume.",
        "Units": "mL",
    },
}
THICKNESS_COLUMNS: dict[str, dict[str, Any]] = {
    **_WHICH,
    "parcellation": {"Description": "The parcellation, as in seg- of its label image; cortex for the whole cortex."},
    "voxels": {"Description": "Voxels with a thickness in the region."},
    "thickness_mean_mm": {
        "Description": "Mean cortical thickness over the surface: a voxel counts by its volume over its thickness. "
        "n/a for fewer than two voxels.",
        "Units": "mm",
    },
    "thickness_sd_mm": {"Description": "Its standard deviation over the surface.", "Units": "mm"},
    "thickness_median_mm": {"Description": "Its median over the surface.", "Units": "mm"},
}


def stats_table(columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A table as BIDS has it: tabs, n/a for what is missing; numbers with four decimals."""
    lines = ["\t".join(columns), *("\t".join(_cell(value) for value in row) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def labels_table(regions: Iterable[Region]) -> bytes:
    """The table of a label image."""
    return stats_table(("index", "name"), [(0, "background"), *((one.index, one.name) for one in regions)])


def _cell(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
