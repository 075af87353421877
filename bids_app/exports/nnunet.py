"""nnU-Net's raw dataset: `imagesTr/<case>_0000.nii.gz` a channel, `labelsTr/<case>.nii.gz`, `dataset.json`.

A case is a study that has every channel and the label, all on one grid. Studies of the split `test` go to `imagesTs`
and `labelsTs`. `splits_final.json` has five folds that keep a patient's studies together; nnU-Net reads it from its
folder of preprocessed data.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bids_app.exports.formats import Export
from bids_app.exports.images import image_of, label_dtype
from bids_app.exports.jobs import Job
from bids_app.exports.journal import Journal, Record, derivative_bytes, file_record, unit_key
from bids_app.exports.options import ExportSettings, Wanted
from bids_app.exports.splits import assign_folds
from bids_app.exports.studies import Derivative, Study, StudySeries
from bids_app.exports.survey import Entry, Source
from bids_app.outputs.writer import image_bytes, json_bytes
from bids_app.steps.images import same_grid

_VERSION = 2
_FOLDS = 5


class CaseError(Exception):
    """A study that nnU-Net cannot use; the message says why."""


@dataclass(frozen=True)
class CaseJob:
    """A case: the file of each channel, the label, and the consecutive number of each of its values."""

    unit: str
    key: str
    output: Path
    folders: tuple[str, str]
    channels: tuple[Derivative, ...]
    label: Derivative
    numbers: tuple[int, ...]
    facts: dict[str, Any]

    @property
    def places(self) -> tuple[str, ...]:
        """The images and, last, the label."""
        images, labels = self.folders
        numbers = range(len(self.channels))
        return (*(f"{images}/{self.unit}_{number:04d}.nii.gz" for number in numbers), f"{labels}/{self.unit}.nii.gz")

    def make(self, root: Path) -> Record:
        """Write the images as they are and the label with consecutive numbers; both are looked at before."""
        contents = [derivative_bytes(self.output, one.path, one.sha256) for one in self.channels]
        label = image_of(derivative_bytes(self.output, self.label.path, self.label.sha256))
        for one, content in zip(self.channels, contents, strict=True):
            if not same_grid(image_of(content), label):
                raise CaseError(f"{PurePosixPath(one.path).name} is not on the grid of the label")
        values = np.asanyarray(label.dataobj)
        if missing := sorted(set(np.unique(values).tolist()) - set(self.numbers)):
            raise CaseError(f"the label has the value {missing[0]}, which its table does not have")
        dtype = label_dtype(len(self.numbers) - 1)
        image = type(label)(np.searchsorted(self.numbers, values).astype(dtype), label.affine, label.header)
        contents.append(image_bytes(image, dtype))
        files = [file_record(root, path, [content]) for path, content in zip(self.places, contents, strict=True)]
        return Record(self.unit, self.key, tuple(files), self.facts)


class Cases(Export):
    """A dataset of nnU-Net."""

    noun = "cases"

    @property
    def folder(self) -> str:
        """nnU-Net's name of the dataset."""
        return f"Dataset{self.export.dataset_id:03d}_{self.export.export_label}"

    def jobs(self) -> Iterator[Job]:
        """The studies in the order of their patients."""
        self._channels = _channels(self.source, self.seen.entries, self.export)
        for entry in self.seen.entries:
            try:
                job = _case(self.source, entry, self.export, self._channels, self.folder)
            except CaseError as error:
                self._left_out.append((entry.study, "", str(error)))
            else:
                self.units.append(job.unit)
                yield job

    def tables(self, journal: Journal, units: list[str]) -> Iterator[tuple[str, Iterable[bytes]]]:
        """`dataset.json` and the folds."""
        training: dict[str, str] = {}
        names: list[str] = ["background"]
        for record in journal.records(units):
            names = max(names, record.facts["labels"], key=len)
            if record.facts["split"] != "test":
                training[record.unit] = record.facts["patient"]
        about = {
            "channel_names": dict(enumerate(_channel_names(self._channels))),
            "labels": {name: index for index, name in enumerate(names)},
            "numTraining": len(training),
            "file_ending": ".nii.gz",
        }
        yield f"{self.folder}/dataset.json", [json_bytes(about)]
        folds = assign_folds(sorted(set(training.values())), _FOLDS, self.settings.random_seed)
        splits = [
            {
                "train": sorted(case for case, patient in training.items() if folds[patient] != fold),
                "val": sorted(case for case, patient in training.items() if folds[patient] == fold),
            }
            for fold in range(_FOLDS)
        ]
        yield f"{self.folder}/splits_final.json", [(json.dumps(splits, indent=2) + "\n").encode()]

    def readme(self) -> str:
        """Where it goes."""
        return _README.format(folder=self.folder, id=self.export.dataset_id)


_README = """# A raw dataset of nnU-Net

Set `nnUNet_raw` to this folder and run `nnUNetv2_plan_and_preprocess -d {id} --verify_dataset_integrity`. Then copy
`{folder}/splits_final.json` to the dataset's folder in `nnUNet_preprocessed`: its five folds keep a patient's studies
together. Studies of the test split are in `imagesTs` and `labelsTs`. `left_out.csv` says what is not here and why;
`manifest.jsonl` has the sha256 of every file.
"""


def _channels(source: Source, entries: Iterable[Entry], export: ExportSettings) -> tuple[Wanted, ...]:
    """The channels: the kinds that name a contrast, and for the others the contrasts of most studies."""
    if all(one.contrast for one in export.wanted()):
        return export.wanted()
    counts: dict[str, int] = {}
    studies = 0
    for entry in entries:
        studies += 1
        for contrast in {series.channel for series in source.read(entry.subject, entry.session).series}:
            counts[contrast] = counts.get(contrast, 0) + 1
    common = sorted(contrast for contrast, count in counts.items() if 2 * count > studies)
    return tuple(
        Wanted(one.space, one.desc, one.res, contrast)
        for one in export.wanted()
        for contrast in ([one.contrast] if one.contrast else common)
    )


def _channel_names(channels: tuple[Wanted, ...]) -> list[str]:
    """The contrasts, or where one is there twice the kinds of images: nnU-Net takes from a name how to normalise."""
    contrasts = [str(one.contrast) for one in channels]
    return contrasts if len(set(contrasts)) == len(contrasts) else [str(one) for one in channels]


def _case(source: Source, entry: Entry, export: ExportSettings, channels: tuple[Wanted, ...], folder: str) -> CaseJob:
    study = source.read(entry.subject, entry.session)
    images = [_image(study, one) for one in channels]
    if not images:
        raise CaseError("no contrast is there in most studies; name the channels, as T1w@atlas/preproc")
    found = [image for _, image in images]
    name = str(export.export_label)
    labels = (study.label(series, image, name) for series, image in images)
    label = next((one for one in labels if one is not None), None)
    if label is None:
        raise CaseError(f"it has no label {name} in the space of the images")
    numbers, names = _values(source, study, label, name)
    which = "Ts" if entry.split == "test" else "Tr"
    folders = (f"{folder}/images{which}", f"{folder}/labels{which}")
    facts = {"patient": entry.patient, "split": entry.split, "labels": names}
    key = unit_key(
        "nnunet", _VERSION, folders, [one.sha256 for one in (*found, label)], numbers, facts, secret=source.names.key
    )
    return CaseJob(entry.study, key, source.output, folders, tuple(found), label, numbers, facts)


def _image(study: Study, wanted: Wanted) -> tuple[StudySeries, Derivative]:
    """The image of a channel; of several the reference's, which all others were moved to."""
    for series in sorted(study.series, key=lambda one: not one.is_reference):
        if (image := series.image(wanted)) is not None:
            return series, image
    with_agent = wanted.contrast and replace(wanted, contrast=f"{wanted.contrast}+ce")
    if with_agent and any(series.image(with_agent) for series in study.series):
        raise CaseError(f"it has no image {wanted} without contrast agent; name {with_agent} for those with one")
    raise CaseError(f"it has no image {wanted}")


def _values(source: Source, study: Study, label: Derivative, name: str) -> tuple[tuple[int, ...], list[str]]:
    """The values of a label in order, and their names: a mask's, or those of a segmentation's table."""
    if label.suffix == "mask":
        return (0, 1), ["background", name]
    for series in study.series:
        for file in series.files:
            if (file.suffix, file.extension, file.entity("seg")) == ("dseg", ".tsv", label.entity("seg")):
                lines = derivative_bytes(source.output, file.path, file.sha256).decode().splitlines()
                header = lines[0].split("\t")
                rows = [dict(zip(header, line.split("\t"), strict=False)) for line in lines[1:]]
                by_value = {int(row["index"]): row for row in rows if int(row["index"]) != 0}
                return (0, *sorted(by_value)), _label_names([by_value[value] for value in sorted(by_value)])
    raise CaseError("its segmentation has no table of labels")


def _label_names(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """A name for each label, the background's first; none twice, or `dataset.json` would lose one of the two.

    Where a name is there more than once, the hemisphere tells them apart, else the value.
    """
    rows = list(rows)
    names = ["background"]
    counts = Counter([*names, *(row["name"] for row in rows)])
    for row in rows:
        name, side = row["name"], row.get("hemisphere", "n/a")
        if counts[name] > 1 and side not in ("", "n/a"):
            name = f"{side} {name}"
        if name in names or (counts[name] > 1):
            name = f"{name} {row['index']}"
        names.append(name)
    return names
