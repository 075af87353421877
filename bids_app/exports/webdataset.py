"""Tar shards for streaming (the WebDataset convention): a sample is a study, its files share the name up to the dot.

`<study>.t1w.nii.gz`, `<study>.flair.nii.gz`, `<study>.brain.nii.gz` (the label), `<study>.json`. Shards hold one split
each, `train-000000.tar` and so on, and samples in an order that is shuffled once, by the seed.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_app.exports.archives import tar_pieces, tar_size
from bids_app.exports.formats import Export, no_image, no_label
from bids_app.exports.jobs import Job
from bids_app.exports.journal import Journal, Record, derivative_bytes, file_record, unit_key
from bids_app.exports.metadata import csv_pieces
from bids_app.exports.options import SPLITS, ExportSettings
from bids_app.exports.studies import Derivative
from bids_app.exports.survey import Entry, Source
from bids_app.outputs.writer import json_bytes

_VERSION = 2
_MB = 1_000_000
#: Two blocks of zeros at the end of a tar file.
_END = 1024
COLUMNS = ("shard", "split", "patient", "sample", "images", "label")


@dataclass(frozen=True)
class Sample:
    """A study in a shard: derivatives by the ending of their names, and what its JSON says."""

    name: str
    patient: str
    files: tuple[tuple[str, str, str], ...]  # ending, path, sha256
    about: bytes
    size: int
    left_out: tuple[tuple[str, str], ...] = ()  # contrast and reason of what it lacks


@dataclass(frozen=True)
class ShardJob:
    """A shard."""

    unit: str
    key: str
    output: Path
    samples: tuple[Sample, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """The tar file."""
        return (f"{self.unit}.tar",)

    def make(self, root: Path) -> Record:
        """Write the tar file."""
        file = file_record(root, f"{self.unit}.tar", tar_pieces(self._members()))
        split = self.unit.partition("-")[0]
        rows = [[file.path, split, one.patient, one.name, *_kinds(one)] for one in self.samples]
        return Record(self.unit, self.key, (file,), {"rows": rows})

    def _members(self) -> Iterator[tuple[str, bytes]]:
        for sample in self.samples:
            for ending, path, sha256 in sample.files:
                yield f"{sample.name}.{ending}", derivative_bytes(self.output, path, sha256)
            yield f"{sample.name}.json", sample.about


def _kinds(sample: Sample) -> tuple[str, str]:
    kinds = [ending.removesuffix(".nii.gz") for ending, *_ in sample.files]
    images = [one for one in kinds if not one.startswith("label-")]
    return " ".join(images), " ".join(one for one in kinds if one.startswith("label-"))


class Shards(Export):
    """Shards of the studies of each split."""

    noun = "shards"

    @property
    def total(self) -> int | None:
        """How many shards there will be is known at the end."""
        return None

    def jobs(self) -> Iterator[Job]:
        """One shard after another, each filled until the next sample would make it larger than asked for."""
        for split in SPLITS:
            entries = [one for one in self.seen.entries if one.split == split]
            entries.sort(key=lambda one: hashlib.sha256(f"{self.settings.random_seed}\0{one.study}".encode()).digest())
            samples: list[Sample] = []
            number = 0
            for entry in entries:
                sample = _sample(self.source, entry, self.export)
                if sample is None:
                    self._left_out.append((entry.study, "", "there is no image of these kinds"))
                    continue
                self._left_out += [(entry.study, *one) for one in sample.left_out]
                if samples and _END + sample.size + sum(one.size for one in samples) > self.export.shard_mb * _MB:
                    yield self._shard(split, number, samples)
                    number, samples = number + 1, []
                samples.append(sample)
            if samples:
                yield self._shard(split, number, samples)

    def _shard(self, split: str, number: int, samples: list[Sample]) -> ShardJob:
        unit = f"{split}-{number:06d}"
        self.units.append(unit)
        said = [(one.name, one.files, one.about.decode()) for one in samples]
        key = unit_key("webdataset", _VERSION, unit, said, secret=self.source.names.key)
        return ShardJob(unit, key, self.source.output, tuple(samples))

    def tables(self, journal: Journal, units: list[str]) -> Iterator[tuple[str, Iterable[bytes]]]:
        """What is in which shard."""
        yield "samples.csv", csv_pieces(COLUMNS, (row for one in journal.records(units) for row in one.facts["rows"]))

    def readme(self) -> str:
        """How to read it."""
        return _README


_README = """# Brain MRI in tar shards

For the `webdataset` library and others that follow its convention: the files of a sample share the name up to the first
dot. `t1w.nii.gz`, `flair.nii.gz` and so on are images, `label-<name>.nii.gz` is a label on the same grid, `json` says
what each is. `samples.csv` lists all samples; `manifest.jsonl` has the sha256 of every shard; `left_out.csv` says what
is not here and why.
"""


def _sample(source: Source, entry: Entry, export: ExportSettings) -> Sample | None:
    study = source.read(entry.subject, entry.session)
    wanted = export.wanted()
    found: dict[str, tuple[Derivative, Derivative | None]] = {}
    images: dict[str, Any] = {}
    lacking = []
    for series in study.series:
        for kind in wanted:
            if (image := series.image(kind)) is None:
                if series.is_of(kind):
                    lacking.append((series.channel, no_image(kind)))
                continue
            own = [f"{key}-{value}" for key, value in series.series.entities if key not in ("sub", "ses")]
            name = "_".join((*own, series.series.suffix)).lower()
            name += f"_{image.space}-{kind.desc}".lower() if len(wanted) > 1 else ""
            name = _another(name, found)
            label = study.label(series, image, export.export_label) if export.export_label else None
            found[name] = (image, label)
            images[name] = {"contrast": series.channel, "image": str(kind), "reference": series.is_reference}
            images[name] |= {"acquisition": series.acquisition}
    if not found:
        return None
    labels = {label.path for _, label in found.values() if label is not None}
    shared = len(labels) == 1 and len(wanted) == 1 and wanted[0].space not in ("native", "isotropic")
    files: dict[str, Derivative] = {}
    for name, (image, label) in found.items():
        files[f"{name}.nii.gz"] = image
        if label is not None:
            images[name]["label"] = f"label-{export.export_label}" + ("" if shared else f"_{name}")
            files.setdefault(f"{images[name]['label']}.nii.gz", label)
    if export.export_label:
        reason = no_label(export.export_label)
        lacking += [(images[name]["contrast"], reason) for name, (_, label) in found.items() if label is None]
    about = {"sample": entry.study, "patient": entry.patient, "split": entry.split, **study.person, "images": images}
    content = json_bytes(about)
    size = sum(tar_size(one) for one in (*(file.size for file in files.values()), len(content)))
    said = tuple((ending, file.path, file.sha256) for ending, file in files.items())
    return Sample(entry.study, entry.patient, said, content, size, tuple(lacking))


def _another(name: str, taken: Container[str]) -> str:
    """The name, or with a number where it is taken: in small letters, series can have the same one."""
    names = itertools.chain((name,), (f"{name}_{number}" for number in itertools.count(2)))
    return next(one for one in names if one not in taken)
