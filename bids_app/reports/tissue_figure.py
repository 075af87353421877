"""Pictures of the tissue of a reference, and of what `synth` labels in any series: borders over the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_app.reports.contents import SeriesContent, read_image, read_table
from bids_app.reports.drawing import Layout, Mask
from bids_app.reports.encoding import GREEN, ORANGE, SKY, lines_uri
from bids_app.steps.images import array_of

#: Words in the names of the classes of `synth` by what is drawn as one.
_GREY, _WHITE, _VENTRICLE = ("cortex", "deep grey", "cerebellum"), ("white matter", "brain stem"), ("ventricle",)


def tissue_lines(series: SeriesContent, output: Path, layout: Layout) -> tuple[str, str] | None:
    """Borders of the tissues and their method (tissue or synth); None where there is no segmentation."""
    tissue, ventricles = (
        series.file("segment/tissue", "_seg-tissue_"),
        series.file("segment/tissue", "_seg-ventricles_"),
    )
    if tissue and ventricles:
        labels = array_of(read_image(output, tissue))
        return _lines(layout, labels == 1, labels == 2, array_of(read_image(output, ventricles)) > 0), "tissue"
    path = series.file("segment", "_seg-synth_")
    if path is None:
        return None
    names = {int(row["index"]): row["name"] for row in read_table(output / path.replace(".nii.gz", ".tsv"))}
    labels = array_of(read_image(output, path))

    def of(words: tuple[str, ...]) -> NDArray[np.bool_]:
        chosen = [index for index, name in names.items() if any(word in name for word in words)]
        return np.isin(labels, chosen)

    return _lines(layout, of(_GREY), of(_WHITE), of(_VENTRICLE)), "synth"


def why_none(series: SeriesContent) -> str:
    """Why there is no segmentation of tissue; empty where there is one, or none was asked for."""
    task = series.tasks.get("segment/tissue")
    return str(task.facts.get("tissue_gate") or "") if task else ""


def _lines(layout: Layout, grey: Mask, white: Mask, ventricles: Mask) -> str:
    return lines_uri((layout.outline(grey), ORANGE), (layout.outline(white), SKY), (layout.outline(ventricles), GREEN))
