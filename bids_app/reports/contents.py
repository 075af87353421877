"""What there is of a participant in an output: tables, manifests and files. Nothing else is read for a page.

A page never sees the raw data. Of the images, those are taken whose task stands, that is, whose parents are the ones
that the manifest has now; and the face check's verdict is that of the very file that the image was made from.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app.outputs.defaced import still_with_face
from bids_app.outputs.manifest import Manifest, TaskRecord, individual_manifest, read_manifest
from bids_app.outputs.measures import measures_of
from bids_app.steps.images import Image

#: What can be wrong with a file that a picture is made from.
UNREADABLE = (OSError, EOFError, ValueError, zlib.error, nib.filebasedimages.ImageFileError, MemoryError)


@dataclass(frozen=True)
class SeriesContent:
    """A series: its row of the series table, its numbers, and the tasks that stand.

    Attributes
    ----------
    row
        Of the series table, cells as they are; "n/a" where there is nothing.
    tasks
        By what follows the series' name: `mask`, `bias`, `resample/reference/preproc`.
    """

    row: Mapping[str, str]
    measures: Mapping[str, float | None]
    tasks: Mapping[str, TaskRecord]

    @property
    def name(self) -> str:
        """Name of the raw image without its extension."""
        return self.row.get("series", "")

    @property
    def is_reference(self) -> bool:
        """Whether it is the session's reference."""
        return self.row.get("reference") == "1"

    @property
    def warnings(self) -> list[str]:
        """What its numbers warn of, one sentence each."""
        return [one for part in self.cell("warnings").split(";") if (one := part.strip())]

    @property
    def face_check_passed(self) -> bool:
        """Whether there is a defaced image in which no face was found."""
        task = self.tasks.get("deface")
        return task is not None and bool(task.files) and task.facts.get("face_check") == "passed"

    @property
    def face_is_gone(self) -> bool:
        """Whether the face check passed, and of the very image that all others were made from.

        Otherwise a picture shows nothing but the brain.
        """
        if not self.face_check_passed:
            return False
        of_series = {}
        for name, task in self.tasks.items():
            step, *rest = name.split("/")
            of_series["/".join((step, self.name, *rest))] = task
        return not still_with_face(of_series)

    def cell(self, column: str) -> str:
        """A cell of the table, empty where it is missing or "n/a"."""
        text = self.row.get(column) or ""
        return "" if text == "n/a" else text

    def file(self, task: str, part: str) -> str | None:
        """Path (below the output) of an image of a task by a part of its name."""
        record = self.tasks.get(task)
        files = (
            [one.path for one in record.files if part in one.path and one.path.endswith(".nii.gz")] if record else []
        )
        return files[0] if files else None

    def space_file(self, space: str) -> tuple[str, str] | None:
        """The variant to be shown in a space and its path: with skull where there is one."""
        found = {}
        for name, record in self.tasks.items():
            step, *rest = name.split("/")
            if step in ("resample", "normalize") and len(rest) == 2 and rest[0] == space and rest[1] != "masks":
                paths = [one.path for one in record.files if one.path.endswith(".nii.gz")]
                if paths:
                    found[rest[1]] = paths[0]
        best = next((one for one in ("preproc", "brain") if one in found), min(found, default=None))
        return (best, found[best]) if best is not None else None

    def atlases(self) -> list[str]:
        """The atlas spaces that it was brought to, with their resolutions (`MNI152NLin2009aSym_res-1`)."""
        names = {
            name.split("/")[1]
            for name in self.tasks
            if name.split("/")[0] in ("resample", "normalize") and name.count("/") == 2
        }
        return sorted(names - {"reference", "isotropic"})

    def normalized(self) -> list[tuple[str, str]]:
        """The normalised variants in native space, as (variant, path)."""
        tasks = sorted(name for name in self.tasks if name.startswith("normalize/") and name.count("/") == 1)
        files = [(name.split("/")[1], self.file(name, "_desc-")) for name in tasks]
        return [(variant, path) for variant, path in files if path]


@dataclass(frozen=True)
class SessionContent:
    """A session: its series in the table's order, and what went wrong."""

    label: str
    series: tuple[SeriesContent, ...]
    errors: str = ""

    @property
    def name(self) -> str:
        """`ses-1`, empty in datasets without sessions."""
        return self.label.partition("_")[2]

    def reference(self) -> SeriesContent | None:
        """The session's reference."""
        return next((one for one in self.series if one.is_reference), None)


@dataclass(frozen=True)
class ParticipantContent:
    """A participant and the sessions."""

    label: str
    sessions: tuple[SessionContent, ...]


def read_participant(output: Path, subject: str) -> ParticipantContent:
    """What there is of a participant (label without `sub-`)."""
    sessions = tuple(_session(output, folder) for folder in session_folders(output, subject))
    return ParticipantContent(f"sub-{subject}", sessions)


def session_folders(output: Path, subject: str) -> list[Path]:
    """The folders (`sub-01` or `sub-01/ses-1`) of the sessions of which there is something."""
    label = f"sub-{subject}"
    inner = {path.name for root in (output, output / "logs") for path in (root / label).glob("ses-*") if path.is_dir()}
    folders = [Path(label), *(Path(label, name) for name in sorted(inner))]
    return [folder for folder in folders if _table(output, folder).is_file() or _errors(output, folder).is_file()]


def page_sources(output: Path, subject: str) -> Iterator[tuple[str, bytes]]:
    """Everything that a participant's page is made from, but for the images, which the manifests know by hash.

    The tables of participants are not among it: they are written last of all.
    """
    for folder in session_folders(output, subject):
        manifest = read_manifest(output / "logs" / folder / "manifest.json")
        known = {"inputs": sorted((name, one.sha256) for name, one in manifest.inputs.items()), "tasks": manifest.tasks}
        yield folder.as_posix(), json.dumps(known, sort_keys=True, default=vars).encode()
        for path in (_table(output, folder), _errors(output, folder)):
            yield path.name, path.read_bytes() if path.is_file() else b""
    template = individual_manifest(output, subject)
    if read_manifest(template).tasks:
        yield "individual", template.read_bytes()
    methods = output / "docs" / "methods.md"
    yield "methods", methods.read_bytes() if methods.is_file() else b""


def atlas_names(output: Path, subject: str) -> list[str]:
    """The atlas spaces that a participant's images were brought to, with their resolutions."""
    found = set()
    for folder in session_folders(output, subject):
        for name in read_manifest(output / "logs" / folder / "manifest.json").tasks:
            step, _, *rest = name.split("/")
            if step in ("resample", "normalize") and len(rest) == 2:
                found.add(rest[0])
    return sorted(found - {"reference", "isotropic"})


def read_image(output: Path, path: str) -> Image:
    """An image of the output in RAS+ orientation, float32.

    Raises
    ------
    UNREADABLE
        It is not there or damaged.
    """
    image = nib.as_closest_canonical(nib.Nifti1Image.from_bytes(gzip.decompress((output / path).read_bytes())))
    return nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float32), image.affine)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table of the output; none where it is not there."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, ValueError, csv.Error):
        return []
    return [{key: str(value) for key, value in row.items() if key is not None and value is not None} for row in rows]


def _session(output: Path, folder: Path) -> SessionContent:
    manifest = standing(read_manifest(output / "logs" / folder / "manifest.json"))
    tasks: dict[str, dict[str, TaskRecord]] = {}
    for name, task in manifest.tasks.items():
        step, of, *rest = name.split("/")
        tasks.setdefault(of, {})["/".join((step, *rest))] = task
    series = [
        SeriesContent(row, measures_of(row["series"], manifest), tasks.get(row["series"], {}))
        for row in read_table(_table(output, folder))
        if row.get("series")
    ]
    errors = _errors(output, folder)
    text = errors.read_text(encoding="utf-8", errors="replace") if errors.is_file() else ""
    return SessionContent("_".join(folder.parts), tuple(series), text.strip())


def standing(manifest: Manifest) -> Manifest:
    """The manifest without tasks that stand on something that has been replaced since: what a killed run left."""
    tasks = dict(manifest.tasks)
    while True:
        keys = {name: task.key for name, task in tasks.items()}
        keys |= {f"raw:{name}": entry.sha256 for name, entry in manifest.inputs.items()}
        kept = {
            name: task
            for name, task in tasks.items()
            if all(
                parent in ("reference", "individual") or keys.get(parent) == key for parent, key in task.parents.items()
            )
        }
        if len(kept) == len(tasks):
            return Manifest(manifest.inputs, kept, manifest.tables)
        tasks = kept


def _table(output: Path, folder: Path) -> Path:
    return output / folder / f"{'_'.join(folder.parts)}_series.tsv"


def _errors(output: Path, folder: Path) -> Path:
    return output / "logs" / folder / "errors.txt"


def subjects_of(output: Path) -> list[str]:
    """Labels (without `sub-`) of all participants of whom there is something."""
    names = {path.name for root in (output, output / "logs") for path in root.glob("sub-*") if path.is_dir()}
    labels = [name.removeprefix("sub-") for name in sorted(names) if re.fullmatch(r"sub-[A-Za-z0-9+]+", name)]
    return [label for label in labels if session_folders(output, label)]


def sidecar(output: Path, path: str) -> Mapping[str, Any]:
    """The sidecar of an image; empty where it is missing or no JSON."""
    try:
        content = json.loads((output / path.replace(".nii.gz", ".json")).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
