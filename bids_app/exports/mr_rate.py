"""MR-RATE's layout: four repositories with a zip file a study, metadata by series, splits by patient.

After the MR-RATE dataset guide (sections 3 to 6): native `img/ seg/`, `coreg_img/ coreg_seg/ transform/`,
`atlas_img/ atlas_seg/ transform/`, and segmentations. All four unpack into one folder, and no two files in them have
the same name. The segmentation is ours, so its file says by what it was made; the zip and its repository have the names
that MR-RATE's scripts look for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bids_app.exports.archives import zip_pieces
from bids_app.exports.formats import Export, no_image
from bids_app.exports.images import compact
from bids_app.exports.jobs import Job
from bids_app.exports.journal import Journal, Record, derivative_bytes, file_record, unit_key
from bids_app.exports.metadata import COLUMNS, SPLIT_COLUMNS, csv_pieces, study_rows
from bids_app.exports.options import ExportSettings, Wanted
from bids_app.exports.raw import raw_facts
from bids_app.exports.series_ids import series_ids
from bids_app.exports.studies import Derivative, Study, StudySeries
from bids_app.exports.survey import Entry, Source

#: Of the layout of the files; another number, and everything is made again.
_VERSION = 1
#: Repository and ending of the zip file, as MR-RATE's download script has them.
NATIVE, COREG, ATLAS, SEG = "MR-RATE", "MR-RATE-coreg", "MR-RATE-atlas", "MR-RATE-vista-seg"
_ENDINGS = {NATIVE: "", COREG: "_coreg", ATLAS: "_atlas", SEG: "_vista-seg"}


@dataclass(frozen=True)
class Member:
    """A file in a zip file: its name there, the derivative, and whether its data type is made compact."""

    name: str
    path: str
    sha256: str
    compacted: bool = False


@dataclass(frozen=True)
class StudyJob:
    """The zip files of a study, and its rows of the metadata."""

    unit: str
    key: str
    output: Path
    archives: Mapping[str, tuple[Member, ...]]
    facts: Mapping[str, Any]

    @property
    def places(self) -> tuple[str, ...]:
        """The zip files."""
        return tuple(self.archives)

    def make(self, root: Path) -> Record:
        """Write the zip files."""
        files = [file_record(root, path, zip_pieces(self._contents(found))) for path, found in self.archives.items()]
        return Record(self.unit, self.key, tuple(files), self.facts)

    def _contents(self, members: tuple[Member, ...]) -> Iterator[tuple[str, bytes]]:
        for member in members:
            content = derivative_bytes(self.output, member.path, member.sha256)
            yield member.name, compact(content) if member.compacted else content


class MrRate(Export):
    """MR-RATE's layout."""

    def jobs(self) -> Iterator[Job]:
        """The studies in the order of their patients; a batch is full when it has as many as asked for."""
        for entry in self.seen.entries:
            batch = f"batch{len(self.units) // self.export.batch_studies:02d}"
            job, left_out = study_job(self.source, entry, batch, self.export)
            self._left_out += left_out
            if job is not None:
                self.units.append(job.unit)
                yield job

    def tables(self, journal: Journal, units: list[str]) -> Iterator[tuple[str, Iterable[bytes]]]:
        """The metadata of each batch and the splits."""
        for batch, group in itertools.groupby(journal.records(units), key=lambda record: record.facts["batch_id"]):
            rows = (row for record in group for row in record.facts["rows"])
            yield f"{NATIVE}/metadata/{batch}_metadata.csv", csv_pieces(COLUMNS, rows)
        splits = ([record.facts[name] for name in SPLIT_COLUMNS] for record in journal.records(units))
        yield f"{NATIVE}/splits.csv", csv_pieces(SPLIT_COLUMNS, splits)

    def readme(self) -> str:
        """What the folders are, and where this differs from MR-RATE."""
        return _README


_README = """# Brain MRI in the layout of MR-RATE

Each folder has a zip file a study, in `mri/batchNN/`; all of them unpack into one folder.

| folder | what |
|---|---|
| `MR-RATE` | `img/`: defaced images in native space, uint16 where that loses nothing, else float32; `seg/`: masks |
| `MR-RATE-coreg` | `coreg_img/`: the centre as in `img/`, the others on its grid; `coreg_seg/`: its masks; transforms |
| `MR-RATE-atlas` | `atlas_img/`, `atlas_seg/`: all of them in the atlas; the centre's transform |
| `MR-RATE-vista-seg` | `seg/`: the centre's segmentation by the method in its name, and a table of its labels |

`MR-RATE/metadata/` has a row a series, `MR-RATE/splits.csv` a row a study, split by patient. Transforms are ITK
files: `M_coreg_*` moves to the centre, `M_atlas_*` the centre to the atlas. Names are keyed pseudonyms; days are moved
by years that are the same for all studies of a patient; ages from 89 on read 89+. `manifest.jsonl` has the sha256 of
every file.
"""


def study_job(source: Source, entry: Entry, batch: str, settings: ExportSettings) -> tuple[StudyJob | None, list[Any]]:
    """The work of a study, or None; and (study, contrast, reason) of each series that has no place here."""
    study = source.read(entry.subject, entry.session)
    facts = raw_facts(source.bids_dir, entry.subject, entry.session)
    native, coreg, atlas = settings.three_images()
    ids, refused = series_ids(study.series, facts)
    left_out = [(entry.study, series.channel, reason) for series, reason in refused]
    named = []
    for series in study.series:
        if series.name in ids:
            if native_image(series, native) is None:
                left_out.append((entry.study, series.channel, f"there is no image {native} of it"))
            else:
                named.append((series, ids[series.name]))
                if atlas.space != "atlas" and series.image(atlas) is None:  # some study has it
                    left_out.append((entry.study, series.channel, no_image(atlas)))
    if not named:
        return None, left_out
    members = {
        NATIVE: _native(entry.study, named, native),
        COREG: _coreg(entry.study, study, named, native, coreg),
        ATLAS: _atlas(entry.study, study, named, atlas),
        SEG: _segmentation(entry.study, study, named),
    }
    archives = {
        f"{repository}/mri/{batch}/{entry.study}{_ENDINGS[repository]}.zip": tuple(found)
        for repository, found in members.items()
        if found
    }
    rows = study_rows(source, entry, study, named, facts)
    told = {"batch_id": batch, "patient_uid": entry.patient, "study_uid": entry.study, "split": entry.split}
    said = {**told, "rows": rows}
    made = {path: [vars(member) for member in found] for path, found in archives.items()}
    key = unit_key("mr-rate", _VERSION, made, said, secret=source.names.key)
    return StudyJob(entry.study, key, source.output, archives, said), left_out


def native_image(series: StudySeries, wanted: Wanted) -> Derivative | None:
    """The native image; of data that came defaced (`--no-deface`) there is only the bias-corrected one."""
    return series.image(wanted) or (series.image(Wanted("native", "preproc")) if wanted.desc == "defaced" else None)


def _native(uid: str, named: list[tuple[StudySeries, str]], native: Wanted) -> list[Member]:
    members = []
    for series, identifier in named:
        stem = f"{uid}_{identifier}"
        members += _members(f"{uid}/img/{stem}.nii.gz", native_image(series, native), compacted=True)
        members += _masks(f"{uid}/seg/{stem}", series, "native")
    return members


def _coreg(uid: str, study: Study, named: list[tuple[StudySeries, str]], native: Wanted, coreg: Wanted) -> list[Member]:
    """The centre is a copy of its native image; the others are on its grid. Nothing where the centre cannot leave."""
    center = study.reference
    ids = {series.name: identifier for series, identifier in named}
    if center is None or center.name not in ids or len(named) < 2:
        return []
    stem = f"{uid}_{ids[center.name]}"
    members = _members(f"{uid}/coreg_img/{stem}.nii.gz", native_image(center, native), compacted=True)
    members += _masks(f"{uid}/coreg_seg/{stem}", center, "native")
    for series, identifier in named:
        if series is not center:
            members += _members(f"{uid}/coreg_img/{uid}_coreg_{identifier}.nii.gz", series.image(coreg))
            members += _transform(f"{uid}/transform/M_coreg_{identifier}", series.transform("coregister"))
    return members


def _atlas(uid: str, study: Study, named: list[tuple[StudySeries, str]], atlas: Wanted) -> list[Member]:
    center = study.reference
    ids = {series.name: identifier for series, identifier in named}
    if center is None or center.name not in ids or (image := center.image(atlas)) is None:
        return []
    members = []
    for series, identifier in named:
        members += _members(f"{uid}/atlas_img/{uid}_atlas_{identifier}.nii.gz", series.image(atlas))
    stem = f"{uid}/atlas_seg/{uid}_atlas_{ids[center.name]}"
    members += _masks(stem, center, image.space, image.entity("res"))
    found = center.transform("atlas", image.space)
    return members + _transform(f"{uid}/transform/M_atlas_{ids[center.name]}", found)


def _segmentation(uid: str, study: Study, named: list[tuple[StudySeries, str]]) -> list[Member]:
    """The reference's segmentation by `synth` in native space, with the table of its labels; no other stands for it."""
    return [
        Member(f"{uid}/seg/{uid}_{identifier}_synth-seg{one.extension}", one.path, one.sha256)
        for series, identifier in named
        if series is study.reference
        for one in series.files
        if (one.suffix, one.space, one.entity("seg")) == ("dseg", "native", "synth")
    ]


def _masks(stem: str, series: StudySeries, space: str, res: str | None = None) -> list[Member]:
    return [
        *_members(f"{stem}_brain-mask.nii.gz", series.label("brain", space, res)),
        *_members(f"{stem}_defacing-mask.nii.gz", series.label("face", space, res)),
    ]


def _transform(stem: str, file: Derivative | None) -> list[Member]:
    return _members(f"{stem}{PurePosixPath(file.path).suffix}", file) if file else []


def _members(name: str, file: Derivative | None, compacted: bool = False) -> list[Member]:
    return [Member(name, file.path, file.sha256, compacted)] if file else []
