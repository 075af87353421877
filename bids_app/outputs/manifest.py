"""A session's manifest: what is finished, from what, and with which content.

One JSON file a session, `logs/sub-01[/ses-1]/manifest.json`. Each finished *task* (a step of a series) has an entry
with its *key*, a hash over the step's version, its parameters, the content of its input and the keys of the tasks that
it stands on; and the sha256 and size of each file that it made. A task is finished when its key is the one that the
present settings give and its files are there. The tables of a session are there with their hashes, too, and
`logs/manifest.json` has those of the files at the root. Nothing in it depends on when or where the run took place.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from bids_app.inputs.content import file_sha256
from bids_app.outputs.anonymise import safe_text
from bids_app.outputs.defaced import still_with_face
from bids_app.outputs.names import session_folder
from bids_app.outputs.writer import plain, write_bytes

FORMAT = 1


@dataclass(frozen=True)
class InputRecord:
    """What is known of an input file without reading it again.

    Attributes
    ----------
    stamp
        Hash of size, modification time and content; while it is the same, the file is taken for unchanged. (The time
        itself would tell when a patient was scanned.)
    sha256
        Of the file's bytes.
    problem
        Why its content cannot be used, in words; `None` when it can.
    """

    stamp: str
    sha256: str
    problem: str | None = None


@dataclass(frozen=True)
class FileRecord:
    """A file that a task made."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class TaskRecord:
    """A finished task: its key, the keys of what it stands on, its files, and facts that tables and reports need."""

    key: str
    parents: Mapping[str, str]
    files: tuple[FileRecord, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The content of a manifest file; `tables` are files that no task made and every run brings up to date."""

    inputs: Mapping[str, InputRecord] = field(default_factory=dict)
    tasks: Mapping[str, TaskRecord] = field(default_factory=dict)
    tables: Mapping[str, FileRecord] = field(default_factory=dict)


def manifest_path(output: Path, subject: str, session: str | None) -> Path:
    """Where a session's manifest is."""
    return output / "logs" / session_folder(subject, session) / "manifest.json"


def individual_manifest(output: Path, subject: str) -> Path:
    """Where that of a participant's within-subject template is."""
    return output / "logs" / f"sub-{subject}" / "individual" / "manifest.json"


def individual_key(manifest: Manifest) -> str:
    """What stands for all tasks of a within-subject template."""
    return task_key("individual", "1", {}, {name: task.key for name, task in sorted(manifest.tasks.items())})


def forget_all(output: Path, path: Path) -> None:
    """Remove what the tasks of a manifest made, and the tasks from it."""
    if path.is_file():
        with _locked(path):
            manifest = read_manifest(path)
            _remove(output, [file.path for task in manifest.tasks.values() for file in task.files])
            _write(path, replace(manifest, tasks={}))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; one that is missing or unreadable counts as empty, so that its session is done again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return Manifest()
        inputs = {name: InputRecord(**entry) for name, entry in content["inputs"].items()}
        tasks = {
            name: TaskRecord(
                entry["key"],
                dict(entry["parents"]),
                tuple(FileRecord(**file) for file in entry["files"]),
                dict(entry["facts"]),
            )
            for name, entry in content["tasks"].items()
        }
        tables = {name: FileRecord(**entry) for name, entry in content.get("tables", {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Manifest()
    return Manifest(inputs, tasks, tables)


def record_task(output: Path, path: Path, name: str, task: TaskRecord) -> None:
    """Add a finished task; files that an earlier version of it made and this one did not are removed."""
    with _locked(path):
        manifest = read_manifest(path)
        made = {file.path for file in task.files}
        made |= {file.path for other, each in manifest.tasks.items() if other != name for file in each.files}
        if name in manifest.tasks:
            _remove(output, [file.path for file in manifest.tasks[name].files if file.path not in made])
        _write(path, replace(manifest, tasks={**manifest.tasks, name: task}))


def record_table(path: Path, name: str, content: bytes | None, known: Manifest | None = None) -> None:
    """Set what a table has to be, or that it is gone; `known` is the manifest where it was read just now."""
    record = None if content is None else FileRecord(name, hashlib.sha256(content).hexdigest(), len(content))
    if known is not None and known.tables.get(name) == record:
        return
    with _locked(path):
        manifest = read_manifest(path)
        tables = {each: file for each, file in manifest.tables.items() if each != name}
        if record is not None:
            tables[name] = record
        if tables != dict(manifest.tables):
            _write(path, replace(manifest, tables=tables))


def record_inputs(path: Path, inputs: Mapping[str, InputRecord]) -> None:
    """Set what is known of the inputs; what is wrong with one is kept without what it may quote of the data."""
    inputs = {name: replace(one, problem=one.problem and safe_text(one.problem)) for name, one in inputs.items()}
    with _locked(path):
        manifest = read_manifest(path)
        if inputs != dict(manifest.inputs) or not path.exists():
            _write(path, replace(manifest, inputs=inputs))


def remove_outdated(
    output: Path,
    path: Path,
    series: frozenset[str],
    reference: str,
    set_aside: frozenset[str] = frozenset(),
    known: Manifest | None = None,
    lesions: frozenset[str] | None = None,
    defacing: frozenset[str] = frozenset(),
) -> list[str]:
    """Forget, and remove the files of, every finished task that stands on something that is no longer so.

    Other settings add to an output (a second normaliser beside the first); but what was made from a mask, a transform
    or a raw file that has been replaced since would contradict its neighbours.

    Parameters
    ----------
    series
        Names of the series that the dataset still has.
    reference
        Name of the session's reference, which the outputs in its space and in the atlas stand on.
    set_aside
        Series that are in the dataset and that this run was told to leave out: what stands on one of them as the
        reference is kept.
    lesions
        Series on which a lesion mask was drawn: that of another one is not one any more; None where all are kept.
    defacing
        Series of which the run removes the face: images of them that an earlier run made without (`--no-deface`) and
        what stands on them are outdated. A later run that keeps the face on purpose lives beside the defaced image.
    known
        The manifest, where it was read just now: nothing is locked and read again where nothing is outdated.

    Returns
    -------
    Names of the tasks that were removed.
    """
    of_subject = path.parents[1] if path.parent.name.startswith("ses-") else path.parent
    individual = individual_key(read_manifest(of_subject / "individual" / "manifest.json"))
    standing = partial(
        _standing,
        series=series,
        reference=reference,
        set_aside=set_aside,
        individual=individual,
        lesions=lesions,
        defacing=defacing,
    )
    if known is not None and len(standing(known)) == len(known.tasks):
        return []
    with _locked(path):
        manifest = read_manifest(path)
        kept = standing(manifest)
        removed = sorted(set(manifest.tasks) - set(kept))
        if removed:
            still = {file.path for task in kept.values() for file in task.files}
            gone = [file.path for name in removed for file in manifest.tasks[name].files if file.path not in still]
            _remove(output, gone)
            _write(path, replace(manifest, tasks=kept))
    return removed


def _standing(
    manifest: Manifest,
    series: frozenset[str],
    reference: str,
    set_aside: frozenset[str],
    individual: str,
    lesions: frozenset[str] | None,
    defacing: frozenset[str],
) -> Mapping[str, TaskRecord]:
    """The tasks of which all that they stand on is still so."""
    kept = {name: task for name, task in manifest.tasks.items() if _of(name)[1] in series}
    if lesions is not None:
        kept = {name: task for name, task in kept.items() if _of(name)[0] != "lesion" or _of(name)[1] in lesions}
    while True:
        keys = {"individual": individual, **{name: task.key for name, task in kept.items()}}
        keys |= {f"raw:{name}": entry.sha256 for name, entry in manifest.inputs.items()}
        valid = {
            name: task
            for name, task in kept.items()
            if all(
                key in (reference, *set_aside) if parent == "reference" else keys.get(parent) == key
                for parent, key in task.parents.items()
            )
        }
        if len(valid) == len(kept) and defacing:  # only now is it known which defaced image is still one
            with_face = still_with_face(valid, defacing)
            valid = {name: task for name, task in valid.items() if name not in with_face}
        if len(valid) == len(kept):
            return kept
        kept = valid


def _of(task: str) -> tuple[str, str]:
    """Step and series of a task."""
    step, series, *_ = task.split("/")
    return step, series


def stamp_of(path: Path, sha256: str) -> str:
    """Hash of a file's size, modification time and content (without the last, the time could be guessed)."""
    status = path.stat()
    return hashlib.sha256(f"{sha256} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:32]


def task_key(step: str, version: str, parameters: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """The key of a task; `parents` are the keys of the tasks that it stands on."""
    content = json.dumps([step, version, parameters, parents], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def files_present(output: Path, task: TaskRecord) -> bool:
    """Whether all files of a task are there with their sizes."""
    for file in task.files:
        try:
            if (output / file.path).stat().st_size != file.size:
                return False
        except OSError:
            return False
    return True


def damaged_files(output: Path, files: Iterable[FileRecord]) -> list[tuple[str, str]]:
    """The files that are missing, truncated or altered, with what is wrong."""
    result = []
    for file in files:
        path = output / file.path
        if not path.is_file():
            result.append((file.path, "missing"))
        elif (size := path.stat().st_size) != file.size:
            result.append((file.path, f"size changed ({size} of {file.size} bytes)"))
        elif file_sha256(path) != file.sha256:
            result.append((file.path, "content changed"))
    return result


def _remove(output: Path, paths: list[str]) -> None:
    for path in paths:
        (output / path).unlink(missing_ok=True)


def _write(path: Path, manifest: Manifest) -> None:
    write_bytes(path, _as_lines(_content(manifest)))


def _content(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "inputs": {name: vars(entry) for name, entry in sorted(manifest.inputs.items())},
        "tasks": {
            name: {
                "key": task.key,
                "parents": task.parents,
                "files": [vars(file) for file in task.files],
                "facts": task.facts,
            }
            for name, task in sorted(manifest.tasks.items())
        },
        "tables": {name: vars(file) for name, file in sorted(manifest.tables.items())},
    }


def _as_lines(content: Mapping[str, Any]) -> bytes:
    """JSON with a line for each entry of its tables: it is written after each task, so it must not take long."""

    def one(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, default=plain)

    parts = []
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            entries = ",\n".join(f"    {one(key)}: {one(entry)}" for key, entry in value.items())
            parts.append(f"  {one(name)}: {{\n{entries}\n  }}")
        else:
            parts.append(f"  {one(name)}: {one(value)}")
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the manifest's lock: nodes of a session can end at the same time in several processes.

    Where the output's file system has no locks, they lock a file in the run's work folder (`TMPDIR` in its workers):
    other runs are kept out by the session's own lock (`outputs.lock`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".manifest.lock").open("w") as lock:
        if _flocked(lock):
            yield
            return
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    with Path(tempfile.gettempdir(), f".bids_app-{digest}.lock").open("w") as lock:
        _flocked(lock)
        yield


def _flocked(file: IO[str]) -> bool:
    """Wait for the kernel's lock on a file; False where its file system has none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            return False
        raise
    return True
