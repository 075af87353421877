"""The manifest of an export: what is finished, from what, and with which bytes; so that a killed export goes on.

`manifest.jsonl` has a line for each unit (a study, a shard), in order: its key, which hashes everything that its files
depend on, the sha256 and size of each file, and rows for the tables. While an export runs, finished units are appended
to `.journal.jsonl`; at the end both become the new manifest. Neither is ever in memory as a whole.
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

    def __enter__(self) -> Self:
        self.root.mkdir(parents=True, exist_ok=True)
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

    def finished(self, unit: str, key: str) -> bool:
        """Whether a unit is there as it would be made now."""
        if self._where.get(unit, ("",))[0] != key:
            return False
        return all(_has_size(self.root / file.path, file.size) for file in self._read(unit).files)

    def add(self, record: Record) -> None:
        """Take note of a unit whose files are there; those that it had before and has no more are removed."""
        before = self._read(record.unit).files if record.unit in self._where else ()
        offset = os.fstat(self._stream.fileno()).st_size  # it is opened to append, and may have been cut since
        self._stream.write(record.line())
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._where[record.unit] = (record.key, self.root / _JOURNAL, offset)
        self._remove(before, keep={file.path for file in record.files})

    def records(self, units: Iterable[str]) -> Iterator[Record]:
        """The records of those units that are finished, one at a time, in the given order."""
        return (self._read(unit) for unit in units if unit in self._where)

    def close(self, units: Iterable[str]) -> None:
        """Write the manifest of the given units and remove the files of all others: what is not asked for any more."""
        kept = sorted({unit for unit in units if unit in self._where})
        gone = sorted({*self._where} - {*kept})
        if gone:
            files = {file.path for unit in kept for file in self._read(unit).files}
            for unit in gone:
                self._remove(self._read(unit).files, keep=files)
        write_pieces(self.root / MANIFEST, (record.line() for record in self.records(kept)))
        (self.root / _JOURNAL).unlink(missing_ok=True)
        self._index(self.root / MANIFEST)

    def _index(self, path: Path) -> None:
        """Where each unit's last line is; a line that a killed export left torn does not count and is cut off."""
        if not path.is_file():
            return
        offset = 0
        with path.open("rb") as stream:
            for line in stream:
                try:
                    record = Record.of_line(line)
                except (ValueError, KeyError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                self._where[record.unit] = (record.key, path, offset)
                offset += len(line)
        if path.name == _JOURNAL and offset < path.stat().st_size:
            os.truncate(path, offset)

    def _read(self, unit: str) -> Record:
        _, path, offset = self._where[unit]
        with path.open("rb") as stream:
            stream.seek(offset)
            return Record.of_line(stream.readline())

    def _remove(self, files: Iterable[FileRecord], keep: set[str]) -> None:
        for file in files:
            if file.path not in keep:
                path = self.root / file.path
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # its folder, when it was the last one in it
                    path.parent.rmdir()


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
