"""The within-subject template in a participant's page: its picture, and how each session lies in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_app.outputs.manifest import individual_manifest, read_manifest
from bids_app.reports import drawing
from bids_app.reports.contents import UNREADABLE, read_image
from bids_app.reports.encoding import ORANGE, lines_uri, picture_uri
from bids_app.reports.figures import Figure, Picture
from bids_app.steps.images import array_of, spacing_mm


@dataclass(frozen=True)
class TemplateView:
    """The template as a page shows it: `rows` are session, rotation (deg), shift (mm) and mutual information."""

    figure: Figure
    rows: tuple[tuple[str, float, float, float], ...]
    problems: tuple[tuple[str, str], ...]


def template_view(output: Path, subject: str) -> TemplateView | None:
    """The template of a participant; None where there is none."""
    tasks = read_manifest(individual_manifest(output, subject)).tasks
    record = next((task for name, task in sorted(tasks.items()) if name.startswith("template/")), None)
    if record is None:
        return None
    visits = record.facts.get("visits", {})
    rows = tuple(
        (label, one["rotation_deg"], one["translation_mm"], one["mutual_information"])
        for label, one in sorted(visits.items())
    )
    try:
        figure = _figure(output, [file.path for file in record.files])
    except (*UNREADABLE, StopIteration):
        told = "A file that this picture is made from is damaged or missing; `bids_app verify` tells which one."
        figure = Figure("template", "Within-subject template", problem=told)
    return TemplateView(figure, rows, tuple(sorted(record.facts.get("problems", {}).items())))


def _figure(output: Path, paths: list[str]) -> Figure:
    images = [path for path in paths if path.endswith(".nii.gz")]
    image = read_image(output, next(path for path in images if "_desc-template_" in path))
    brain = array_of(read_image(output, next(path for path in images if "_label-brain_" in path))) > 0
    layout = drawing.mosaic(brain, spacing_mm(image))
    array = np.where(brain, array_of(image), np.float32(0))  # no face check was made of the average
    picture = drawing.grey(layout.image(array), drawing.window(array[drawing.sample(brain)]))
    alt = "Axial, coronal and sagittal slices of the within-subject template with the border of its brain mask."
    shown = Picture(picture_uri(picture), alt, lines=lines_uri((layout.outline(brain), ORANGE)))
    note = (
        "The average of all sessions should be sharp: gyri that are doubled or blurred tell of one that does not fit."
    )
    return Figure("template", "Within-subject template", note, pictures=(shown,), legend=(("orange", "brain mask"),))
