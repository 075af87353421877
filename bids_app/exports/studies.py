"""The studies (sessions) of an output, as exports see them: what is finished of each series, by the manifests alone.

Nothing of the dataset's images is read here or anywhere in an export. A series is left out, with the reason, unless it
was defaced and passed the face check; and of its images those are left out that were not made from the defaced one, or
that stand on something that has been replaced since (what a killed run left).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from bids_app.exports.options import Wanted
from bids_app.inputs.metadata import read_json_object
from bids_app.inputs.series import Series, parse_entities
from bids_app.outputs.defaced import made_from_defaced
from bids_app.outputs.manifest import Manifest, manifest_path, read_manifest
from bids_app.outputs.names import session_folder, sidecar_of
from bids_app.outputs.sidecars import acquisition_fields
from bids_app.reports.contents import standing

_EXTENSIONS = (".nii.gz", ".mat", ".h5", ".tsv")
#: What an export says of a person.
_PERSON = ("age", "sex")
#: Suffixes of what shows no face, whatever it was found in.
_FACELESS = ("mask", "dseg", "probseg", "xfm")
_WITH_FACE = "an image of it was not made from the defaced one; run the participant level again"


@dataclass(frozen=True)
class Derivative:
    """A file of a finished task; `space` is native, isotropic, reference or the label of an atlas."""

    path: str
    sha256: str
    size: int
    space: str
    suffix: str
    extension: str
    entities: Mapping[str, str]

    def entity(self, key: str) -> str | None:
        """The value of a BIDS entity, or None."""
        return self.entities.get(key)


@dataclass(frozen=True)
class StudySeries:
    """A series with its finished files; `row` is its row of the series table."""

    name: str
    series: Series
    row: Mapping[str, str]
    files: tuple[Derivative, ...]
    output: Path = field(repr=False)

    @property
    def contrast(self) -> str:
        """T1w, FLAIR, SWI, …"""
        return self.series.contrast

    @property
    def contrast_agent(self) -> bool:
        """Whether a contrast agent was given, by the series table or the name."""
        return self.row.get("contrast_agent") == "1" or self.series.contrast_agent

    @property
    def channel(self) -> str:
        """The contrast as `--export-images` names it: a contrast agent makes another one of it (`T1w+ce`)."""
        return self.contrast + ("+ce" if self.contrast_agent else "")

    @property
    def is_reference(self) -> bool:
        """Whether it is the session's reference."""
        return self.row.get("reference") == "1"

    def is_of(self, wanted: Wanted) -> bool:
        """Whether a kind of image is of its contrast, or of any."""
        agent = "+ce" if self.contrast_agent else ""
        return wanted.contrast in (None, self.channel, self.series.suffix + agent)

    def image(self, wanted: Wanted) -> Derivative | None:
        """The image of a kind; of several resolutions the first in order (see `atlases`)."""
        if not self.is_of(wanted):
            return None
        return self._first(wanted.space, wanted.res, suffix=self.series.suffix, desc=wanted.desc)

    def label(self, name: str, space: str, res: str | None = None) -> Derivative | None:
        """A mask (`brain`, `face`, `lesion`, …) or a segmentation (`synth`, …) in a space."""
        return self._first(space, res, suffix="mask", label=name) or self._first(space, res, suffix="dseg", seg=name)

    def transform(self, task: str, target: str | None = None) -> Derivative | None:
        """The file of a task `coregister` or `atlas` (to one atlas) that moves the series there."""
        for file in self.files:
            is_to = file.suffix == "xfm" and file.entity("from") == self.series.suffix
            if is_to and file.space == task and (target is None or file.entity("to") == target):
                return file
        return None

    @cached_property
    def acquisition(self) -> dict[str, Any]:
        """How it was acquired: fields of the derivative's sidecar that pass the allow-list (once more)."""
        for desc in ("defaced", "preproc"):
            if found := self._first("native", None, suffix=self.series.suffix, desc=desc):
                content, _ = read_json_object(self.output / sidecar_of(PurePosixPath(found.path)))
                return acquisition_fields(content)
        return {}

    def _first(self, space: str, res: str | None, suffix: str, **entities: str) -> Derivative | None:
        found = [
            file
            for file in self.files
            if (file.space, file.suffix, file.extension) == (space, suffix, ".nii.gz")
            and res in (None, file.entity("res"))
            and all(file.entity(key) == value for key, value in entities.items())
        ]
        return min(found, key=lambda file: file.path, default=None)


@dataclass(frozen=True)
class Study:
    """A session: the series that may be exported, and the others with the reason."""

    subject: str
    session: str | None
    series: tuple[StudySeries, ...]
    left_out: tuple[tuple[str, str], ...]
    person: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> StudySeries | None:
        """The session's reference, where it may be exported."""
        return next((one for one in self.series if one.is_reference), None)

    def label(self, series: StudySeries, image: Derivative, name: str) -> Derivative | None:
        """The label on the grid of an image of a series: its own, else the reference's, else that of any other.

        In native and isotropic space each series has its own grid, so only its own label is on it.
        """
        holders = [series]
        if image.space not in ("native", "isotropic"):
            holders += [one for one in (self.reference, *self.series) if one is not None]
        found = (one.label(name, image.space, image.entity("res")) for one in holders)
        return next((one for one in found if one is not None), None)


def list_studies(output: Path, subjects: frozenset[str], sessions: frozenset[str]) -> list[tuple[str, str | None]]:
    """Subject and session of everything that has a manifest, in order, of the given participants and sessions."""
    logs = output / "logs"
    found = []
    for path in (*logs.glob("sub-*/manifest.json"), *logs.glob("sub-*/ses-*/manifest.json")):
        subject, *session = (part.partition("-")[2] for part in path.relative_to(logs).parts[:-1])
        if subject in subjects and (not sessions or (session and session[0] in sessions)):
            found.append((subject, session[0] if session else None))
    return sorted(found, key=lambda one: (one[0], one[1] or ""))


def read_study(
    output: Path, subject: str, session: str | None, people: Mapping[str, Mapping[str, str]], *,
    defaced_before: bool = False, allow_face: bool = False,
) -> Study:  # fmt: skip
    """A session as its manifest, tables and sidecars have it; nothing of an image is read.

    Parameters
    ----------
    people
        The participants (see `read_people`).
    defaced_before
        The data came defaced (`--no-deface`): images that were made without the step are taken, too.
    allow_face
        Series in which the face check found a face and that were written all the same are taken, too.
    """
    manifest = standing(read_manifest(manifest_path(output, subject, session)))
    series, left_out = [], []
    for row in _rows(output / _table(subject, session)):
        name = row["series"]
        if row["status"] == "rejected":
            continue
        files, with_face = _files(name, manifest, defaced_before)
        one = StudySeries(name, _series(name), row, files, output)
        reason = _refusal(name, manifest, defaced_before, allow_face)
        if reason:
            left_out.append((name, reason))
            continue
        series.append(one)
        if with_face:
            left_out.append((name, _WITH_FACE))
    return Study(subject, session, tuple(series), tuple(left_out), _person(output, subject, session, people))


def _refusal(name: str, manifest: Manifest, defaced_before: bool, allow_face: bool) -> str | None:
    """Why a series may not leave, or None."""
    if f"bias/{name}" not in manifest.tasks and f"deface/{name}" not in manifest.tasks:
        return "no image of it is finished"
    task = manifest.tasks.get(f"deface/{name}")
    if task is None:
        return None if defaced_before else "it was not defaced (--no-deface says that the data were before)"
    check = task.facts.get("face_check")
    if check == "passed" or (check == "allowed" and allow_face):
        return None
    return "the face check found a face in it" if check == "allowed" else "it did not pass the face check"


def _files(name: str, manifest: Manifest, defaced_before: bool) -> tuple[tuple[Derivative, ...], bool]:
    """The files of a series that may leave, and whether there are images that may not: not made from the defaced one.

    The verdict of the face check is that of the defaced image alone, so it holds for nothing else.
    """
    found, with_face = [], False
    for task_name, task in manifest.tasks.items():
        step, of, *where = task_name.split("/")
        if of != name:
            continue
        for file in task.files:
            extension = next((one for one in _EXTENSIONS if file.path.endswith(one)), None)
            if extension is None:
                continue
            *parts, suffix = PurePosixPath(file.path).name.removesuffix(extension).split("_")
            entities = {key: value for key, _, value in (part.partition("-") for part in parts)}
            is_image = extension == ".nii.gz" and suffix not in _FACELESS
            if is_image and not defaced_before and not made_from_defaced(task_name, manifest.tasks):
                with_face = True
                continue
            space = _space(step, where, entities)
            found.append(Derivative(file.path, file.sha256, file.size, space, suffix, extension, entities))
    return tuple(sorted(found, key=lambda file: file.path)), with_face


def _space(step: str, where: list[str], entities: Mapping[str, str]) -> str:
    """Where the files of a task are: its name says so (`resample/<series>/<space>/<variant>`)."""
    if step in ("coregister", "atlas"):
        return step
    if len(where) < 2:
        return "native"
    return where[0] if where[0] in ("reference", "isotropic") else entities.get("space", "")


def _series(name: str) -> Series:
    """The series by its name: entities and suffix."""
    entities, suffix = parse_entities(name)
    return Series(Path(f"{name}.nii.gz"), "", entities, suffix, "anat", ".nii.gz")


def _table(subject: str, session: str | None) -> PurePosixPath:
    folder = session_folder(subject, session)
    return folder / f"{'_'.join(folder.parts)}_series.tsv"


def read_people(output: Path) -> dict[str, dict[str, str]]:
    """What the derivatives' own table says of each participant, by the label with `sub-`."""
    result: dict[str, dict[str, str]] = {}
    for row in _rows(output / "participants.tsv"):
        known = {key: row[key] for key in _PERSON if row.get(key, "n/a") != "n/a"}
        result.setdefault(row.get("participant_id", ""), known)
    return result


def _person(output: Path, subject: str, session: str | None, people: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Age and sex, as the derivatives' own tables have them (ages from 89 on are one)."""
    person = people.get(f"sub-{subject}", {})
    if session is not None:
        table = output / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
        visit = next(_matching(table, "session_id", f"ses-{session}"), {})
        person = {**person, **{key: value for key, value in visit.items() if value != "n/a"}}
    return {key: person[key] for key in _PERSON if person.get(key, "n/a") != "n/a"}


def _matching(path: Path, column: str, value: str) -> Iterator[dict[str, str]]:
    return (row for row in _rows(path) if row.get(column) == value)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a table of the output; none where it is not there."""
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().rstrip("\n").split("\t")
            for line in file:
                yield dict(zip(header, line.rstrip("\n").split("\t"), strict=False))
    except OSError:
        return
