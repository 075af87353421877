"""One subject at a time: its folders, the files in them, and the decision about each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bids_app.exit_codes import IO_ERROR
from bids_app.inputs.acceptance import is_known_suffix, name_rejection, rejection
from bids_app.inputs.contradictions import contradictions
from bids_app.inputs.database import Database
from bids_app.inputs.diffusion import DiffusionRule, with_groups
from bids_app.inputs.echoes import one_echo
from bids_app.inputs.errors import HeaderError, InputError
from bids_app.inputs.filters import wanted
from bids_app.inputs.headers import read_header
from bids_app.inputs.lesions import with_lesions
from bids_app.inputs.metadata import Sidecar, inherit, sidecars_in
from bids_app.inputs.misplaced import is_session, misplaced_images, subdatasets
from bids_app.inputs.participants import ages, participant_rows, session_rows
from bids_app.inputs.places import is_there
from bids_app.inputs.selection import Selection
from bids_app.inputs.series import (
    LEFT_OUT_BY_FILTER,
    BadNameError,
    Series,
    Session,
    in_bids_order,
    parse_name,
    printable,
    split_extension,
)

#: Folders of a session that hold structural images or their relatives; the others are other kinds of data.
DATATYPES = ("anat", "dwi", "swi")
_IMAGE_EXTENSIONS = (".nii.gz", ".nii")
#: Images in formats that BIDS does not allow, worth a word to the user.
_FOREIGN_EXTENSIONS = (
    ".img", ".img.gz", ".mgz", ".mgh", ".nrrd", ".mha", ".mhd", ".dcm", ".mnc", ".nii.bz2", ".nii.xz", ".nii.zst",
    ".nii.zip", ".nii.gz.gz",
)  # fmt: skip
_BROKEN_LINK = "a link to a folder that is not here; fetch or mount it, or remove the link"
#: Subjects that a database is asked for at once: a query costs as much for one as for many.
_WINDOW = 500


class Ignore:
    """The patterns of `.bidsignore`, in the syntax of `.gitignore`; lines that are no pattern are skipped."""

    def __init__(self, lines: Sequence[str]) -> None:
        from pathspec import GitIgnoreSpec

        self._spec = GitIgnoreSpec.from_lines(line for line in lines if _is_pattern(line))
        self._any = any(pattern.include is not None for pattern in self._spec.patterns)

    @classmethod
    def of(cls, root: Path) -> Ignore:
        path = root / ".bidsignore"
        try:
            return cls(path.read_text(encoding="utf-8-sig", errors="replace").splitlines() if path.is_file() else ())
        except OSError:
            return cls(())

    def __call__(self, relative: str) -> bool:
        return self._any and self._spec.match_file(relative)


def _is_pattern(line: str) -> bool:
    """Whether a line of `.bidsignore` can be understood; a lone `!`, for one, cannot."""
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines((line,))
    except (ValueError, re.error):
        return False
    return True


class Walker:
    """What is the same for all subjects: the root's sidecars, the ignored patterns, the ages."""

    def __init__(self, root: Path, selection: Selection) -> None:
        self._root = root
        self._selection = selection
        self._ignored = Ignore.of(root)
        self._wanted_sessions = {label.removeprefix("ses-") for label in selection.sessions}
        self._diffusion = DiffusionRule(root, selection.filters, selection.b_value)
        self._root_sidecars = self._sidecars(root)
        self._ages = ages(participant_rows(root)) if selection.acceptance == "mr-rate" else {}
        self._ages_at_sessions: dict[str, float] = {}
        self._database = (
            Database(root, selection.database_dir) if selection.filters and selection.database_dir else None
        )
        self._subdatasets = subdatasets(root)
        self._known: frozenset[str] = frozenset()
        self._filtered: frozenset[str] = frozenset()

    def walk(self, subjects: Sequence[str]) -> Iterator[Session]:
        """The sessions of the subjects, one after another."""
        for start in range(0, len(subjects), _WINDOW):
            window = subjects[start : start + _WINDOW]
            if self._database:
                self._known = self._database.known(window)
                self._filtered = self._database.wanted(window, self._selection.filters)
            for subject in window:
                yield from self._sessions(subject)

    def _sessions(self, subject: str) -> Iterator[Session]:
        """The sessions of one subject: first what lies outside any session folder, then the sessions by label."""
        folder = self._root / f"sub-{subject}"
        try:
            folders = sorted(
                entry.name.removeprefix("ses-")
                for entry in entries_of(folder)
                if is_session(entry.name) and is_place(entry)
            )
            if not is_there(folder):
                raise InputError(_BROKEN_LINK)
        except InputError as error:
            yield Session(printable(subject), None, (), (self._unreadable(folder, error),))
            return
        if folder.name in self._subdatasets and not folders and not entries_of(folder):
            lost = InputError(f"a datalad subdataset that is not here; fetch it with datalad get {folder.name}")
            yield Session(printable(subject), None, (), (self._unreadable(folder, lost),))
            return
        labels = [None, *folders]
        if self._wanted_sessions:
            labels = [label for label in folders if label in self._wanted_sessions]
        levels = [self._root_sidecars, self._sidecars(folder)]
        if self._selection.acceptance == "mr-rate":
            self._ages_at_sessions = ages(session_rows(self._root, subject))
        for label in labels:
            series = _one_of_a_name(sorted(self._series(subject, label, levels), key=lambda one: one.relative))
            series = one_echo(with_groups(series, self._diffusion))
            if series:
                accepted = tuple(one for one in series if one.accepted)
                rejected = tuple(one for one in series if not one.accepted)
                name = None if label is None else printable(label)
                session = Session(printable(subject), name, accepted, rejected)
                yield with_lesions(session, self._root, self._selection.lesions)

    def _series(self, subject: str, session: str | None, levels: Sequence[Sequence[Sidecar]]) -> Iterator[Series]:
        folder = self._root / f"sub-{subject}"
        if session is not None:
            folder = folder / f"ses-{session}"
            try:
                levels = [*levels, self._sidecars(folder)]
                if not is_there(folder):
                    raise InputError(_BROKEN_LINK)
            except InputError as error:
                yield self._unreadable(folder, error)
                return
        for path, reason in misplaced_images(folder, _is_image, self._ignores):
            yield self._refused(path, "", reason)
        for datatype in DATATYPES:
            place = folder / datatype
            try:
                names = self._file_names(place)
                if not names and place.is_symlink() and not is_there(place):
                    raise InputError(_BROKEN_LINK)
            except InputError as error:
                yield self._unreadable(place, error)
                continue
            here = [*levels, sidecars_in(place, names)]
            yield from self._in_folder(place, names, subject, session, here)

    def _in_folder(
        self, place: Path, names: Sequence[str], subject: str, session: str | None, levels: Sequence[Sequence[Sidecar]]
    ) -> Iterator[Series]:
        """Every image in a folder of a datatype. Of an image that is there compressed and not, the former is taken."""
        whole: set[str] = set()
        for name in sorted((name for name in names if _is_image(name)), key=lambda name: (name.endswith(".nii"), name)):
            if name.endswith(_IMAGE_EXTENSIONS):
                series = self._one(place / name, subject, session, place.name, levels)
                if name + ".gz" in whole:
                    reason = f"the same image is there as {name}.gz; remove one of the two"
                    series = replace(series, rejection=reason, unreadable=False)
                if not series.unreadable:
                    whole.add(name)
                yield series
            elif name.lower().endswith(_IMAGE_EXTENSIONS):
                yield self._refused(place / name, place.name, "its extension is not in lower case; rename it")
            else:
                yield self._refused(place / name, place.name, "not a NIfTI file (.nii.gz or .nii); convert it")

    def _one(
        self, path: Path, subject: str, session: str | None, datatype: str, levels: Sequence[Sequence[Sidecar]]
    ) -> Series:
        try:
            name = parse_name(path.name, subject, session)
        except BadNameError as error:
            return self._refused(path, datatype, f"not a BIDS name: {error}")
        reason = name_rejection(name, datatype)
        if reason is not None and not is_known_suffix(name.suffix):  # it could say who the participant is
            return self._refused(path, datatype, reason)
        metadata, warnings = inherit(name, levels, self._root)
        if not in_bids_order(name.entities):
            warnings.append("the entities in its name are not in the order of BIDS")
        series = Series(
            path=path,
            relative=path.relative_to(self._root).as_posix(),
            entities=name.entities,
            suffix=name.suffix,
            datatype=datatype,
            extension=name.extension,
            metadata=metadata,
            warnings=tuple(warnings),
        )
        reason = reason or self._filter_rejection(series)
        if reason is not None:
            return replace(series, rejection=reason)
        try:
            header = read_header(path)
        except HeaderError as error:
            return replace(series, rejection=str(error), unreadable=True)
        series = replace(series, header=header, warnings=(*series.warnings, *header.warnings))
        age = self._ages_at_sessions.get(session or "", self._ages.get(subject))
        series = replace(series, doubts=contradictions(series))
        return replace(series, rejection=rejection(series, self._selection.acceptance, age))

    def _filter_rejection(self, series: Series) -> str | None:
        if self._database is None:
            return None if wanted(series, self._selection.filters) else LEFT_OUT_BY_FILTER
        if series.relative in self._filtered:
            return None
        if series.relative in self._known:
            return LEFT_OUT_BY_FILTER
        return "not in the pybids database; delete the database to make it anew"

    def _refused(self, path: Path, datatype: str, reason: str) -> Series:
        """A file whose name tells nothing."""
        relative = printable(path.relative_to(self._root).as_posix())
        stem, extension = split_extension(path.name)
        reason = printable(reason)
        suffix = printable(stem.rpartition("_")[2])
        return Series(path, relative, (), suffix, datatype, printable(extension), rejection=reason)

    def _unreadable(self, folder: Path, error: InputError) -> Series:
        """A folder that cannot be listed, in the place of the series in it: it fails alone."""
        return replace(self._refused(folder, "", error.message.removeprefix(f"{folder} ")), unreadable=True)

    def _sidecars(self, folder: Path) -> tuple[Sidecar, ...]:
        return sidecars_in(folder, self._file_names(folder, ".json"))

    def _file_names(self, folder: Path, extension: str = "") -> list[str]:
        """The names of the files in a folder that `.bidsignore` does not name, sorted; broken links are among them.

        So are folders with the name of an image: reading them tells what they are.
        """
        inside = "" if folder == self._root else folder.relative_to(self._root).as_posix() + "/"
        return sorted(
            entry.name
            for entry in entries_of(folder)
            if entry.name.endswith(extension)
            and not entry.name.startswith(".")
            and (not is_folder(entry) or _is_image(entry.name))
            and not self._ignored(inside + entry.name)
        )

    def _ignores(self, path: Path) -> bool:
        return self._ignored(path.relative_to(self._root).as_posix())


def _one_of_a_name(series: Sequence[Series]) -> list[Series]:
    """The series of a session; of several that are accepted and have one name, in two folders, the first is kept.

    What is made of a series is named after it alone, so that two would write the same files. A series of such a name
    that the filter left out is rejected for its name, too: it cannot stand beside the other one either.
    """
    first: dict[object, Series] = {}
    for one in series:
        if one.accepted:
            first.setdefault(_written_as(one), one)
    return [
        replace(one, rejection=f"the same name as {first[_written_as(one)].relative}; rename one of them")
        if (one.accepted or one.filtered) and first.get(_written_as(one), one) is not one
        else one
        for one in series
    ]


def _written_as(one: Series) -> object:
    """What the files that are made of a series are named after: the order of entities in its own name is no matter."""
    return one.name if one.title or not one.entities else (frozenset(one.entities), one.suffix)


def _is_image(name: str) -> bool:
    """Whether a name is that of an image, be it one that is refused for its format."""
    return name.lower().endswith((*_IMAGE_EXTENSIONS, *_FOREIGN_EXTENSIONS))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; links that lead nowhere or in a circle are none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_place(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link that should lead to one and leads nowhere."""
    return is_folder(entry) or (entry.is_symlink() and not is_there(Path(entry.path)))


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing when it is not there or not a folder."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        todo = "; let the user of this process read it" if isinstance(error, PermissionError) else ""
        raise InputError(f"{folder} cannot be read: {error.strerror}{todo}", IO_ERROR) from None
