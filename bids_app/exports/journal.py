"""The manifest of an export: what is finished, from what, and with which bytes; so that a killed export goes on.

`manifest.jsonl` has a line for each unit (a study, a shard), in order: its key, which hashes everything that its files
depend on, the sha256 and size of each file, and rows for the tables. While an export runs, `.journal.jsonl` is told of
a unit before its files are written (from then on it is not finished) and when they are; at the end both become the new
manifest. Neither is ever in memory as a whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bids_app.exit_codes import CANNOT_CREATE, TRY_AGAIN
from bids_app.outputs.manifest import FileRecord, damaged_files
from bids_app.outputs.writer import PARTIAL, write_pieces

MANIFEST = "manifest.jsonl"
_JOURNAL = ".journal.jsonl"


class ExportBusyError(Exception):
    """Another export writes to the same folder; `code` is the exit code."""

    code = TRY_AGAIN


class ExportFolderError(Exception):
    """A folder that an export cannot go to; `code` is the exit code."""

    code = CANNOT_CREATE


@dataclass(frozen=True)
class Record:
    """A finished unit: its files, and what the tables say of it."""

    unit: str
    key: str
    files: tuple[FileRecord, ...]
    facts: Mapping[str, Any]

    def line(self) -> bytes:
        """The unit's line in the manifest."""
        content = {"unit": self.unit, "key": self.key, "files": [vars(file) for file in self.files]}
        return (json.dumps({**content, "facts": self.facts}, ensure_ascii=False) + "\n").encode()

    @classmethod
    def of_line(cls, line: bytes) -> Record:
        """The unit of a line."""
        content = json.loads(line)
        files = tuple(FileRecord(**file) for file in content["files"])
        return cls(content["unit"], content["key"], files, content["facts"])


def unit_key(*content: Any, secret: bytes | None = None) -> str:
    """The key of a unit: a hash over everything that its files depend on.

    With the export's secret it is an HMAC: among what it hashes are the labels of the derivatives, and who has the
    other parts, most of which are in the export, could find out by trial whose a pseudonym is.
    """
    text = json.dumps(content, sort_keys=True, default=str).encode()
    return hmac.new((secret or b"") + b"unit", text, hashlib.sha256).hexdigest()[:32]


class Journal:
    """The finished units of an export's folder. Use it as a context manager: one export at a time has it.

    Raises
    ------
    ExportFolderError
        The folder holds something else (73).
    ExportBusyError
        Another export has it (75).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._where: dict[str, tuple[str, Path, int]] = {}  # unit -> key, file, offset of its line
        self._begun: dict[str, set[str]] = {}  # unit -> files and folders that may hold what is in no record
        self._above_emptied: set[Path] = set()

    def __enter__(self) -> Self:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ExportFolderError(f"{self.root} is a file, or lies below one: name a folder") from None
        names = {path.name for path in self.root.iterdir()}
        if names and not names & {MANIFEST, _JOURNAL}:
            raise ExportFolderError(f"{self.root} holds something that is no export: name an empty folder")
        path = self.root / _JOURNAL
        self._stream = path.open("ab")
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise ExportBusyError(
                f"another export writes to {self.root}; wait for it, or choose --export-dir"
            ) from None
        except OSError:  # a file system without locks
            pass
        for partial in self.root.rglob(f"{PARTIAL}*"):
            partial.unlink(missing_ok=True)
        for name in (MANIFEST, _JOURNAL):
            self._index(self.root / name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        with contextlib.suppress(OSError):  # nothing is left of an export that came to nothing
            if (self.root / _JOURNAL).stat().st_size == 0:
                (self.root / _JOURNAL).unlink()
                self.root.rmdir()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written to the folder."""
        return not self._where and not self._begun and not (self.root / MANIFEST).exists()

    @property
    def units(self) -> tuple[str, ...]:
        """The names of all finished units, in order."""
        return tuple(sorted({*self._where} - {*self._begun}))

    def finished(self, unit: str, key: str) -> bool:
        """Whether a unit is there as it would be made now."""
        if unit in self._begun or self._where.get(unit, ("",))[0] != key:
            return False
        return all(_has_size(self.root / file.path, file.size) for file in self._read(unit).files)

    def begin(self, unit: str, places: Iterable[str]) -> None:
        """Take note that the files of a unit are going to be written: it is not finished any more.

        Parameters
        ----------
        places
            The files, or the folders that hold them and nothing of another unit.
        """
        self._begun.setdefault(unit, set()).update(places)
        self._append((json.dumps({"begun": unit, "places": sorted(self._begun[unit])}) + "\n").encode())

    def add(self, record: Record) -> None:
        """Take note of a unit whose files are there; those that it had before and has no more are removed."""
        before = self._read(record.unit).files if record.unit in self._where else ()
        offset = self._append(record.line())
        self._where[record.unit] = (record.key, self.root / _JOURNAL, offset)
        kept = {file.path for file in record.files}
        self._remove((file.path for file in before), keep=kept)
        self._remove(self._under(self._begun.pop(record.unit, ())), keep=kept)

    def records(self, units: Iterable[str]) -> Iterator[Record]:
        """The records of those units that are finished, one at a time, in the given order."""
        return (self._read(unit) for unit in units if unit in self._where and unit not in self._begun)

    def close(self, units: Iterable[str]) -> None:
        """Write the manifest of the given units and remove the files of all others: what is not asked for any more."""
        kept = sorted({unit for unit in units if unit in self._where and unit not in self._begun})
        gone = sorted({*self._where, *self._begun} - {*kept})
        if gone:
            files = {file.path for unit in kept for file in self._read(unit).files}
            for unit in gone:
                if unit in self._where:
                    self._remove((file.path for file in self._read(unit).files), keep=files)
                self._remove(self._under(self._begun.get(unit, ())), keep=files)
            self._begun.clear()
        self._remove_emptied()
        write_pieces(self.root / MANIFEST, (record.line() for record in self.records(kept)))
        (self.root / _JOURNAL).unlink(missing_ok=True)
        self._index(self.root / MANIFEST)

    def _append(self, line: bytes) -> int:
        """Add a line to the journal; where it begins."""
        offset = os.fstat(self._stream.fileno()).st_size  # it is opened to append, and may have been cut since
        self._stream.write(line)
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return offset

    def _under(self, places: Iterable[str]) -> Iterator[str]:
        """The files in these places that are there."""
        for place in sorted(places):
            path = self.root / place
            found = sorted(path.rglob("*"), reverse=True) if path.is_dir() else [path]
            yield from (one.relative_to(self.root).as_posix() for one in found if one.is_file())

    def _index(self, path: Path) -> None:
        """Where each unit's last line is; a line that a killed export left torn does not count and is cut off."""
        if not path.is_file():
            return
        offset = 0
        with path.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                try:
                    self._take(line, path, offset)
                except (ValueError, KeyError, TypeError):
                    break
                offset += len(line)
        if path.name == _JOURNAL and offset < path.stat().st_size:
            os.truncate(path, offset)

    def _take(self, line: bytes, path: Path, offset: int) -> None:
        content = json.loads(line)
        if "begun" in content:
            self._begun.setdefault(content["begun"], set()).update(content["places"])
            return
        record = Record.of_line(line)
        self._where[record.unit] = (record.key, path, offset)
        self._begun.pop(record.unit, None)

    def _read(self, unit: str) -> Record:
        _, path, offset = self._where[unit]
        with path.open("rb") as stream:
            stream.seek(offset)
            return Record.of_line(stream.readline())

    def _remove(self, files: Iterable[str], keep: set[str]) -> None:
        """Remove files, and each one's folder where it was the last in it."""
        for file in files:
            if file not in keep:
                path = self.root / file
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    path.parent.rmdir()
                    self._above_emptied.add(path.parent.parent)

    def _remove_emptied(self) -> None:
        """Remove the folders above that are empty, too: at the end, when no process may be about to write there."""
        for folder in self._above_emptied:
            with contextlib.suppress(OSError):
                while folder != self.root and folder.is_relative_to(self.root):
                    folder.rmdir()
                    folder = folder.parent
        self._above_emptied.clear()


def read_records(root: Path) -> Iterator[Record]:
    """The records of a finished export, in order."""
    with (root / MANIFEST).open("rb") as stream:
        for line in stream:
            yield Record.of_line(line)


def verify_export(root: Path) -> tuple[int, list[tuple[str, str]]]:
    """Compare every file of an export with its hash; how many, and (path, what is wrong) for each problem."""
    count, problems = 0, []
    for path in sorted(root.rglob(MANIFEST)):  # the embeddings have their own
        for record in read_records(path.parent):
            count += len(record.files)
            problems += damaged_files(path.parent, record.files)
    return count, problems


def file_record(root: Path, path: str, pieces: Iterable[bytes]) -> FileRecord:
    """Write a file of an export, whole or not at all; its record."""
    digest = write_pieces(root / path, pieces)
    return FileRecord(path, digest, (root / path).stat().st_size)


class AlteredError(Exception):
    """A derivative is not what its manifest says."""


def derivative_bytes(output: Path, path: str, sha256: str) -> bytes:
    """The bytes of a derivative.

    Raises
    ------
    AlteredError
        They are not those that its manifest lists, or cannot be read.
    """
    try:
        content = (output / path).read_bytes()
    except OSError as error:
        raise AlteredError(f"{path} cannot be read ({error.strerror}); run the participant level again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise AlteredError(f"{path} is not what its manifest says; run bids_app verify, then the participant level")
    return content


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
