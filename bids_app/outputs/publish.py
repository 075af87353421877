"""Publishing what a task made: its files, their sidecars, and the entry in the session's manifest, in this order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_app.outputs.manifest import FileRecord, TaskRecord, read_manifest, record_task
from bids_app.outputs.names import sidecar_of
from bids_app.outputs.tree import Target
from bids_app.outputs.writer import image_bytes, json_bytes, transform_bytes, write_bytes


@dataclass(frozen=True)
class Piece:
    """One file's content, and what its sidecar says beyond what was known before the work.

    `content` is a `nibabel` image on its final grid, an ITK transform, or the very bytes of the file.
    """

    target: Target
    content: Any
    sidecar: Mapping[str, Any] = field(default_factory=dict)


def publish(
    output: Path,
    manifest: Path,
    name: str,
    key: str,
    parents: Mapping[str, str],
    pieces: Sequence[Piece],
    facts: Mapping[str, Any],
) -> None:
    """Write the files of a task, then record it as finished.

    A run that is killed in between leaves whole files and no record: the task is done again and gives the same bytes.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    files: list[FileRecord] = []
    try:
        for piece in pieces:
            for record in _written(output, piece):
                files.append(record)
        record_task(output, manifest, name, TaskRecord(key, parents, tuple(files), facts))
    except OSError:  # a full disk: what no manifest lists would be in the way of other tasks
        listed = {file.path for task in read_manifest(manifest).tasks.values() for file in task.files}
        with contextlib.suppress(OSError):
            for file in files:
                if file.path not in listed:
                    (output / file.path).unlink(missing_ok=True)
        raise


def _written(output: Path, piece: Piece) -> Iterator[FileRecord]:
    """Write a file and its sidecar."""
    path = piece.target.path
    if isinstance(piece.content, bytes):
        content = piece.content
    elif path.suffix in (".mat", ".h5"):
        content = transform_bytes(piece.content, path.suffix)
    else:
        content = image_bytes(piece.content, piece.target.dtype)
    sidecar = json_bytes({**piece.target.sidecar, **piece.sidecar})
    written = [(path, content)]
    if path.suffix != ".tsv" or piece.sidecar:  # the sidecar of a segmentation is its table's too
        written.append((sidecar_of(path), sidecar))
    for where, data in written:
        digest = write_bytes(output / where, data)
        yield FileRecord(where.as_posix(), digest, len(data))
