"""Slices for 2-D foundation models (MRI-CORE, Dong et al. 2025): PNG files and a table with a row for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bids_app.exports.formats import Export, no_image, no_label
from bids_app.exports.images import canonical, image_of, label_dtype
from bids_app.exports.jobs import Job
from bids_app.exports.journal import FileRecord, Journal, Record, derivative_bytes, file_record, unit_key
from bids_app.exports.metadata import csv_pieces
from bids_app.exports.options import ExportSettings
from bids_app.exports.slicing import (
    AXES,
    BrokenStackError,
    Grey,
    check_spacing,
    check_stack,
    fitted,
    picture,
    png_bytes,
    slicing_plane,
)
from bids_app.exports.studies import Derivative, StudySeries
from bids_app.exports.survey import Entry, Source
from bids_app.settings import Settings

_VERSION = 3
TABLE = "slices.csv"
#: Of the person and the acquisition: what a linear probe may be asked for, beside the columns before.
_ABOUT = ("age", "sex", "Manufacturer", "ManufacturersModelName", "MagneticFieldStrength", "MRAcquisitionType")
COLUMNS = (
    "path", "split", "patient", "study", "series", "contrast", "image", "plane", "index", "rows", "columns", "row_mm",
    "column_mm", "slice_mm", "low", "high", "bits", "label_path", "label_pixels", *_ABOUT,
)  # fmt: skip


@dataclass(frozen=True)
class Volume:
    """A volume to be cut, its label on the same grid, and what the table says of all of its slices."""

    name: str
    image: Derivative
    label: Derivative | None
    planes: tuple[str, ...]
    said_spacing_mm: float | None
    about: Mapping[str, str]


@dataclass(frozen=True)
class SlicesJob:
    """The slices of a study."""

    unit: str
    key: str
    output: Path
    folder: str
    volumes: tuple[Volume, ...]
    export: ExportSettings

    @property
    def places(self) -> tuple[str, ...]:
        """The study's folder."""
        return (self.folder,)

    def make(self, root: Path) -> Record:
        """Write the PNG files; volumes that are no continuous stack are told in the facts."""
        files: list[FileRecord] = []
        rows: list[list[str]] = []
        refused: list[list[str]] = []
        for volume in self.volumes:
            try:
                made, said = self._cut(root, volume)
            except BrokenStackError as error:
                refused.append([self.unit, volume.about["contrast"], str(error)])
            else:
                files += made
                rows += said
        return Record(self.unit, self.key, tuple(files), {"rows": rows, "left_out": refused})

    def _cut(self, root: Path, volume: Volume) -> tuple[list[FileRecord], list[list[str]]]:
        array, affine = canonical(image_of(derivative_bytes(self.output, volume.image.path, volume.image.sha256)))
        labels = self._labels(volume, array.shape)
        spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        if volume.said_spacing_mm is not None:
            check_spacing(volume.said_spacing_mm, spacing)
        planes = tuple(dict.fromkeys(slicing_plane(plane, spacing) for plane in volume.planes))
        for plane in planes:
            check_stack(array, AXES[plane])
        whole = Grey(float(array.min()), float(array.max()), self.export.png_bits)
        files, rows = [], []
        for plane in planes:
            for index in range(array.shape[AXES[plane]]):
                values = picture(array, plane, index)
                low, high = float(values.min()), float(values.max())
                if low == high:
                    continue  # an empty slice
                grey = whole if self.export.png_scale == "volume" else Grey(low, high, self.export.png_bits)
                pixels = fitted(grey.pixels(values), self.export.png_square, self.export.png_size)
                stem = f"{self.folder}/{volume.name}_{plane}-{index:03d}"
                files.append(file_record(root, f"{stem}.png", [png_bytes(pixels)]))
                said = {**volume.about, "path": f"{stem}.png", "plane": plane, "index": index, "bits": grey.bits}
                said |= {"low": f"{grey.low:.9g}", "high": f"{grey.high:.9g}"}
                said |= dict(zip(("rows", "columns"), pixels.shape, strict=True))
                said |= _millimetres(plane, spacing, values.shape, pixels.shape, self.export)
                if labels is not None:
                    cut = fitted(picture(labels, plane, index), self.export.png_square, self.export.png_size, True)
                    files.append(file_record(root, f"{stem}_label.png", [png_bytes(cut)]))
                    said |= {"label_path": f"{stem}_label.png", "label_pixels": int((cut > 0).sum())}
                rows.append([str(said.get(column, "")) for column in COLUMNS])
        return files, rows

    def _labels(self, volume: Volume, shape: tuple[int, ...]) -> NDArray[Any] | None:
        if volume.label is None:
            return None
        labels, _ = canonical(image_of(derivative_bytes(self.output, volume.label.path, volume.label.sha256)))
        if labels.shape != shape:
            raise BrokenStackError("its label is on another grid")
        try:
            return labels.astype(label_dtype(int(labels.max())))
        except ValueError as error:
            raise BrokenStackError(str(error)) from error


def _millimetres(
    plane: str, spacing: NDArray[Any], before: tuple[int, ...], after: tuple[int, ...], export: ExportSettings
) -> dict[str, str]:
    """Edges of a pixel and the distance of slices; scaling makes pixels larger or smaller."""
    column, row = (axis for axis in range(3) if axis != AXES[plane])
    longest = max(before)
    factor = longest / max(after) if export.png_size else 1.0
    return {
        "row_mm": f"{spacing[row] * factor:.6g}",
        "column_mm": f"{spacing[column] * factor:.6g}",
        "slice_mm": f"{spacing[AXES[plane]]:.6g}",
    }


class Slices(Export):
    """A study's slices of each kind of image that was asked for."""

    @classmethod
    def check(cls, export: ExportSettings, settings: Settings) -> None:
        """Whether the encoder, the library for its output and the columns to probe are there."""
        if export.embed is not None:
            from bids_app.exports.embeddings import check_library
            from bids_app.exports.encoders import load_encoder
            from bids_app.exports.probe import check_columns

            check_columns(export.probe, COLUMNS)
            check_library(export.embed_format)
            load_encoder(export.embed, export.embed_size, settings.device, settings.nprocs)

    def jobs(self) -> Iterator[Job]:
        """The studies in the order of their patients."""
        for entry in self.seen.entries:
            job, lacking = _job(self.source, entry, self.export)
            self._left_out += lacking
            if job is None:
                self._left_out.append((entry.study, "", "there is no image of these kinds"))
            else:
                if self.export.export_label:
                    unlabelled = {one.about["contrast"] for one in job.volumes if one.label is None}
                    reason = no_label(self.export.export_label)
                    self._left_out += [(entry.study, contrast, reason) for contrast in sorted(unlabelled)]
                self.units.append(job.unit)
                yield job

    def tables(self, journal: Journal, units: list[str]) -> Iterator[tuple[str, Iterable[bytes]]]:
        """The table of all slices; volumes that were refused are known by now."""
        yield TABLE, csv_pieces(COLUMNS, (row for one in journal.records(units) for row in one.facts["rows"]))
        for record in journal.records(units):
            self._left_out += [tuple(one) for one in record.facts["left_out"]]

    def afterwards(self, journal: Journal, console: Console) -> int:
        """Embeddings, where an encoder was given."""
        if self.export.embed is None:
            from bids_app.exports.embeddings import drop_outdated

            drop_outdated(journal.root, console)
            return super().afterwards(journal, console)
        from bids_app.exports.embeddings import embed

        return embed(journal.root, self.export, self.settings, console)

    def readme(self) -> str:
        """What a picture shows."""
        return _README


_README = """# Slices of brain MRI

`slices.csv` has a row for each PNG file. Slices are cut in RAS+ orientation without interpolation: axial pictures have
the front at the top, coronal and sagittal ones the top of the head; the patient's left (in sagittal ones, the back) is
at the left. A pixel p stands for the intensity low + p / (2^bits - 1) (high - low), with low and high of the row; where
pictures were padded, the padding is 0. Empty slices are dropped. `_label.png` has the label's numbers, in 16 bits where
one of the volume is over 255.
`left_out.csv` says what is not here and why; `manifest.jsonl` has the sha256 of every file.
"""


def _job(source: Source, entry: Entry, export: ExportSettings) -> tuple[SlicesJob | None, list[tuple[str, str, str]]]:
    """The slices of a study, or None; and (study, contrast, reason) of each image that it lacks."""
    study = source.read(entry.subject, entry.session)
    volumes = []
    lacking = []
    for series in study.series:
        for wanted in export.wanted():
            if (image := series.image(wanted)) is None:
                if series.is_of(wanted):
                    lacking.append((entry.study, series.channel, no_image(wanted)))
                continue
            label = study.label(series, image, export.export_label) if export.export_label else None
            volumes.append(_volume(entry, series, image, label, str(wanted), export, study.person))
    if not volumes:
        return None, []
    said = [
        [one.name, one.image.sha256, one.label and one.label.sha256, one.said_spacing_mm, one.about] for one in volumes
    ]
    folder = f"images/{entry.patient}/{entry.study}"
    key = unit_key("slices", _VERSION, folder, said, export.public(), secret=source.names.key)
    return SlicesJob(entry.study, key, source.output, folder, tuple(volumes), export), lacking


def _volume(
    entry: Entry, series: StudySeries, image: Derivative, label: Derivative | None, kind: str, export: ExportSettings,
    person: Mapping[str, str],
) -> Volume:  # fmt: skip
    """A volume by its names in the export: the series' entities but those that say whose it is."""
    own = [f"{key}-{value}" for key, value in series.series.entities if key not in ("sub", "ses")]
    place = [f"space-{image.space}"] if image.space != "native" else []
    place += [f"{key}-{value}" for key in ("res", "desc") if (value := image.entity(key))]
    name = "_".join((*own, *place, series.series.suffix))
    about = {**{key: str(series.acquisition[key]) for key in _ABOUT if key in series.acquisition}, **person}
    about |= {
        "split": entry.split,
        "patient": entry.patient,
        "study": entry.study,
        "series": "_".join((*own, series.series.suffix)),
        "contrast": series.channel,
        "image": kind,
    }
    said = series.acquisition.get("SpacingBetweenSlices") if image.space == "native" else None
    return Volume(name, image, label, export.planes, said if isinstance(said, int | float) else None, about)
