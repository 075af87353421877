"""Publishing what a task made: its files, their sidecars, and the entry in the session's manifest, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_app.outputs.manifest import FileRecord, TaskRecord, record_task
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
    files = []
    for piece in pieces:
        path = piece.target.path
        if isinstance(piece.content, bytes):
            content = piece.content
        elif path.suffix in (".mat", ".h5"):
            content = transform_bytes(piece.content, path.suffix)
        else:
            content = image_bytes(piece.content, piece.target.dtype)
        sidecar = json_bytes({**piece.target.sidecar, **piece.sidecar})
        for where, data in ((path, content), (sidecar_of(path), sidecar)):
            digest = write_bytes(output / where, data)
            files.append(FileRecord(where.as_posix(), digest, len(data)))
    record_task(output, manifest, name, TaskRecord(key, parents, tuple(files), facts))
