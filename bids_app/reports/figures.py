"""The pictures of a series, each with what it shows, what to look for, and the same in words."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_app.reports import charts, drawing
from bids_app.reports.atlases import AtlasEdges
from bids_app.reports.charts import Chart
from bids_app.reports.contents import UNREADABLE, SeriesContent, SessionContent, read_image
from bids_app.reports.drawing import Layout, Mask
from bids_app.reports.encoding import GREEN, ORANGE, QUALITY, SKY, lines_uri, picture_uri
from bids_app.reports.morphometry_figures import morphometry_pictures
from bids_app.reports.tissue_figure import tissue_lines, why_none
from bids_app.steps.images import Image, array_of, spacing_mm

log = logging.getLogger("bids_app")

#: Series of a session that are drawn with one pixel a millimetre; more are drawn coarser, so that the page stays small.
_FINE_SERIES = 8


@dataclass(frozen=True)
class Picture:
    """A picture, perhaps with lines over it that can be hidden."""

    uri: str
    alt: str
    caption: str = ""
    lines: str = ""


@dataclass(frozen=True)
class Figure:
    """Pictures that belong together.

    Attributes
    ----------
    key
        mask, face, bias, registration, atlas or normalization; also the group of the numbers beside it.
    kind
        How they are laid out: "stack" (one below the other), "flicker" (the first two in one place, by turns).
    note
        What to look for.
    problem
        Why there is no picture.
    """

    key: str
    title: str
    note: str = ""
    kind: str = "stack"
    pictures: tuple[Picture, ...] = ()
    chart: Chart | None = None
    legend: tuple[tuple[str, str], ...] = ()
    scale: str = ""
    problem: str = ""


@dataclass
class SessionImages:
    """What the pictures of a session share: the reference on its grid, and the atlases."""

    output: Path
    session: SessionContent
    atlases: Mapping[str, AtlasEdges]
    pixel_mm: float = 1.0
    quality: int = QUALITY
    _seen: dict[str, tuple[Image, Mask, Layout]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, output: Path, session: SessionContent, atlases: Mapping[str, AtlasEdges], coarser: float = 1.0
    ) -> SessionImages:
        """Coarser the more series there are."""
        drawn = max(1, sum(1 for series in session.series if series.tasks))
        return cls(output, session, atlases, coarser * max(1.0, (drawn / _FINE_SERIES) ** 0.5))

    def load_shared(self) -> None:
        """Read what several series will ask for, before they do so at the same time."""
        for space in sorted({"reference", *(atlas for series in self.session.series for atlas in series.atlases())}):
            with contextlib.suppress(*UNREADABLE):  # the figures that need it will tell
                self.shared(space)

    def shared(self, space: str) -> tuple[Image, Mask, Layout] | None:
        """The reference in a space, its brain mask there, and the slices of it; None where one is missing."""
        if space not in self._seen:
            reference = self.session.reference()
            shown = reference.space_file(space) if reference else None
            mask = reference.file(f"resample/{space}/masks", "label-brain") if reference else None
            if reference is None or shown is None or mask is None:
                return None
            image, brain = read_image(self.output, shown[1]), array_of(read_image(self.output, mask)) > 0
            layout = drawing.mosaic(brain, spacing_mm(image), self.pixel_mm)
            self._seen[space] = image, brain, layout
        return self._seen[space]


def series_figures(series: SeriesContent, images: SessionImages) -> tuple[Figure, ...]:
    """All figures of a series; where a file is damaged, the figure says so."""
    drawing_of = _SeriesFigures(series, images)
    result: list[Figure] = []
    steps: tuple[tuple[str, str, Callable[[], Figure | None]], ...] = (
        ("mask", "Brain mask", drawing_of.mask_outline),
        ("face", "Defacing", drawing_of.face),
        ("bias", "Bias field", drawing_of.bias),
        ("registration", "Alignment to the reference", drawing_of.registration),
        ("atlas", "Alignment to the atlas", drawing_of.atlas),
        ("tissue", "Tissue and structures", drawing_of.tissue),
        ("normalization", "Normalised intensities", drawing_of.normalization),
        ("morphometry", "Regions, thickness, grey matter", drawing_of.morphometry),
    )
    for key, title, make in steps:
        try:
            figure = make()
        except UNREADABLE as error:
            log.debug("%s: no picture of %s: %s", series.name, key, error)
            told = "A file that this picture is made from is damaged or missing; `bids_app verify` tells which one."
            figure = Figure(key, title, problem=told)
        if figure is not None:
            result.append(figure)
    return tuple(result)


class _SeriesFigures:
    """Each method draws one figure; None where its products were not made."""

    def __init__(self, series: SeriesContent, images: SessionImages) -> None:
        self.series = series
        self.images = images
        self.contrast = series.cell("suffix") or "image"

    @cached_property
    def _mask(self) -> Mask | None:
        path = self.series.file("mask", "_mask")
        return array_of(read_image(self.images.output, path)) > 0 if path else None

    @cached_property
    def _corrected(self) -> Image | None:
        path = self.series.file("bias", "desc-preproc")
        return read_image(self.images.output, path) if path else None

    @cached_property
    def _defaced(self) -> Image | None:
        path = self.series.file("deface", "desc-defaced")
        return read_image(self.images.output, path) if path else None

    def _grey(self, layout: Layout, image: Image, brain: Mask) -> NDArray[np.uint8]:
        """The slices of an image; without a passed face check, nothing but the brain."""
        array = array_of(image)
        limits = drawing.window(array[drawing.sample(brain)])
        if not self.series.face_is_gone:
            array = np.where(brain, array, np.float32(0))
        return drawing.grey(layout.image(array), limits)

    def _uri(self, picture: NDArray[np.uint8]) -> str:
        return picture_uri(picture, self.images.quality)

    def mask_outline(self) -> Figure | None:
        """The border of the brain mask on slices in three planes."""
        mask, image = self._mask, self._corrected or self._defaced
        if mask is None or image is None or mask.shape != image.shape:
            return None
        layout = drawing.mosaic(mask, spacing_mm(image), self.images.pixel_mm)
        volume = self.series.measures.get("mask_volume_ml")
        size = f" of {volume:,.0f} mL" if volume is not None else ""
        picture = Picture(
            self._uri(self._grey(layout, image, mask)),
            f"Axial, coronal and sagittal slices of the {self.contrast} image with the border of the brain mask{size}.",
            lines=lines_uri((layout.outline(mask), ORANGE)),
        )
        note = "The line should follow the brain: no brain outside it, no skull, eye or neck inside."
        return Figure("mask", "Brain mask", note, pictures=(picture,), legend=(("orange", "brain mask"),))

    def face(self) -> Figure | None:
        """The surface of the defaced head."""
        from bids_app.reports.surface import head_surface

        said = self.series.tasks["deface"].facts.get("face_check") if "deface" in self.series.tasks else None
        if said is None:
            return None
        if not self.series.face_check_passed or self._defaced is None:
            why = "The face check did not pass, so the surface of this head is not shown."
            return Figure("face", "Defacing", problem=why)
        alt = "Surface of the defaced head, from the front and from its left; the face check found no face in it."
        picture = Picture(self._uri(head_surface(self._defaced)), alt, "from the front and from the left")
        note = "Eyes, nose and mouth should be gone; the brow and the brain behind it stay."
        return Figure("face", "Defacing", note, pictures=(picture,))

    def bias(self) -> Figure | None:
        """Before and after N4, the field, and both histograms."""
        mask, after = self._mask, self._corrected
        path = self.series.file("bias", "desc-biasfield")
        if mask is None or after is None or path is None or not mask.any():
            return None
        some = drawing.sample(mask)
        field_image = read_image(self.images.output, path)
        ratio, corrected = array_of(field_image), array_of(after)
        before = array_of(self._defaced) if self._defaced is not None else corrected * ratio
        layout = drawing.strip(mask, spacing_mm(after), self.images.pixel_mm)
        shown = np.where(mask, ratio, np.float32(0))
        largest = float(np.exp(np.abs(np.log(np.clip(np.percentile(ratio[some], (0.5, 99.5)), 1e-3, 1e3))).max()))
        largest = max(1.05, np.ceil(largest * 20) / 20)
        scale = f"1/{largest:.2f}"
        what = f"slices of the {self.contrast} image"
        before_image = Image(before, after.affine)
        pictures = (
            Picture(self._uri(self._grey(layout, before_image, mask)), f"Before: {what}, as scanned.", "before"),
            Picture(self._uri(self._grey(layout, after, mask)), f"After: the same {what}, corrected.", "after"),
            Picture(
                self._uri(drawing.coloured_ratio(layout.image(shown), largest)),
                f"The field in the brain on the same slices: {scale} is blue, 1 white, {largest:.2f} orange.",
                "field",
            ),
        )
        sets = [(name, _over_median(one[some])) for name, one in (("before", before), ("after", corrected))]
        chart = charts.histogram(sets, "intensity in the brain, median = 1")
        note = (
            "One tissue should be equally bright everywhere after the correction; the field should be smooth and show "
            "no anatomy. Peaks of the histogram get narrower."
        )
        return Figure("bias", "Bias field", note, pictures=pictures, chart=chart, scale=f"{largest:.2f}")

    def registration(self) -> Figure | None:
        """The reference and the series on its grid, by turns and as a checkerboard."""
        shared = self.images.shared("reference")
        shown = self.series.space_file("reference")
        if shared is None or shown is None or self.series.is_reference:
            return None
        reference, brain, layout = shared
        moved = read_image(self.images.output, shown[1])
        main = self.images.session.reference()
        fixed = _SeriesFigures(main, self.images)._grey(layout, reference, brain) if main else None
        if fixed is None or moved.shape != reference.shape:
            return None
        one = self._grey(layout, moved, brain)
        mixed = np.where(layout.checkerboard(), fixed, one)
        name = main.cell("suffix") if main else ""
        pictures = (
            Picture(self._uri(fixed), f"Slices of the reference, a {name} image.", f"reference ({name})"),
            Picture(self._uri(one), f"The same slices of the {self.contrast} image, aligned to it.", self.contrast),
            Picture(self._uri(mixed), "Checkerboard of the two: squares of 22 mm by turns.", "checkerboard"),
        )
        note = (
            "Edges of the ventricles, folds and skull should stay where they are when the images change, and run on "
            "from square to square."
        )
        return Figure("registration", "Alignment to the reference", note, "flicker", pictures)

    def atlas(self) -> Figure | None:
        """The series in the atlas with the edges of the atlas' brain."""
        spaces = self.series.atlases()
        if not spaces:
            return None
        pictures, known = [], True
        for space in spaces:
            shared, shown = self.images.shared(space), self.series.space_file(space)
            if shared is None or shown is None:
                continue
            _, brain, layout = shared
            image = read_image(self.images.output, shown[1])
            edges = self.images.atlases.get(space)
            name = space.partition("_")[0]
            if edges is not None and edges.brain.shape == image.shape:
                lines = lines_uri((layout.outline(edges.bright), SKY), (layout.outline(edges.brain), ORANGE))
            else:
                known, lines = False, lines_uri((layout.outline(brain), GREEN))
            alt = f"Axial, coronal and sagittal slices of the {self.contrast} image in {name}, with the atlas' edges."
            pictures.append(Picture(self._uri(self._grey(layout, image, brain)), alt, name, lines))
        if not pictures:
            return None
        note = (
            "The outer line should surround the brain and the inner one follow its tissue; a rigid alignment keeps the "
            "brain's own size."
        )
        legend: tuple[tuple[str, str], ...] = (("orange", "atlas: brain"), ("sky", "atlas: its brightest tissue"))
        if not known:
            note = "An atlas was not at hand for this page: the line is the border of the reference's brain mask."
            legend = (("green", "brain mask"),)
        return Figure("atlas", "Alignment to the atlas", note, pictures=tuple(pictures), legend=legend)

    def tissue(self) -> Figure | None:
        """Borders of the tissues over the image, and why there are only those of the network's labels."""
        mask, image = self._mask, self._corrected
        if mask is None or image is None or mask.shape != image.shape:
            return None
        layout = drawing.mosaic(mask, spacing_mm(image), self.images.pixel_mm)
        found = tissue_lines(self.series, self.images.output, layout)
        if found is None:
            return None
        lines, method = found
        what = "grey and white matter and the ventricles"
        alt = f"Axial, coronal and sagittal slices of the {self.contrast} image with the borders of {what} ({method})."
        picture = Picture(self._uri(self._grey(layout, image, mask)), alt, lines=lines)
        why = why_none(self.series)
        note = (
            f"No grey matter, white matter and fluid by intensity: {why}. The lines are those of synth. " if why else ""
        )
        note += "The lines should follow the folds; the white matter's should not run through grey matter."
        legend = (("orange", "grey matter"), ("sky", "white matter"), ("green", "ventricles"))
        return Figure("tissue", "Tissue and structures", note, pictures=(picture,), legend=legend)

    def morphometry(self) -> Figure | None:
        """Regions, thickness of the cortex, and grey matter in the atlas, where they were made."""
        mask, image = self._mask, self._corrected
        steps = {name.split("/")[0] for name in self.series.tasks}
        if mask is None or image is None or mask.shape != image.shape or not steps & {"vbm", "regions", "thickness"}:
            return None
        made = morphometry_pictures(
            self.series, self.images.output, image, mask, lambda layout: self._grey(layout, image, mask),
            self.images.pixel_mm, self.images.quality,
        )  # fmt: skip
        if not made:
            return None
        pictures = tuple(Picture(uri, alt, caption) for caption, (uri, alt) in made.items())
        note = (
            "Borders of regions should follow the folds that they are named after; thickness is blue at 1 mm, white at "
            "3 mm, orange at 5 mm, and should be shown on the cortex alone."
        )
        return Figure("morphometry", "Regions, thickness, grey matter", note, pictures=pictures)

    def normalization(self) -> Figure | None:
        """Histograms of the normalised intensities in the brain."""
        mask = self._mask
        sets = []
        for variant, path in self.series.normalized():
            values = array_of(read_image(self.images.output, path))
            if mask is not None and mask.shape == values.shape:
                sets.append((variant, values[drawing.sample(mask)]))
        chart = charts.histogram(sets, "normalised intensity in the brain")
        if chart is None:
            return None
        note = "After a z-score, the mean is 0 and the standard deviation 1; series of one contrast should look alike."
        return Figure("normalization", "Normalised intensities", note, chart=chart)


def _over_median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values over their median; as they are where that is 0 or below (a phase, say)."""
    middle = float(np.median(values))
    return values / np.float32(middle) if middle > 0 else values
