"""Publishing what a task made: its files, their sidecars, and the entry in the session's manifest, in this order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from bids_app.outputs.manifest import FileRecord, TaskRecord, read_manifest, record_task
from bids_app.outputs.names import sidecar_of
from bids_app.outputs.tree import Target
from bids_app.outputs.writer import Draft, draft_of, image_bytes, json_bytes, transform_bytes
from bids_app.stop import stop_waits


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
    """Write the files of a task beside their places, then give them their names and record the task as finished.

    The last takes milliseconds, and a signal to end waits for it. A run that is killed in it leaves whole files and no
    record: the task is done again and gives the same bytes.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    drafts: list[Draft] = []
    files: list[FileRecord] = []
    placed: list[Path] = []
    try:
        for where, content in (each for piece in pieces for each in _contents(piece)):
            draft = draft_of(output / where, [content])
            drafts.append(draft)
            files.append(FileRecord(where.as_posix(), draft.sha256, len(content)))
        with stop_waits():
            for draft in drafts:
                draft.place()
                placed.append(draft.path)
            record_task(output, manifest, name, TaskRecord(key, parents, tuple(files), facts))
    except OSError:  # a full disk: what no manifest lists would be in the way of other tasks
        listed = {output / file.path for task in read_manifest(manifest).tasks.values() for file in task.files}
        with contextlib.suppress(OSError):
            for path in placed:
                if path not in listed:
                    path.unlink(missing_ok=True)
        raise
    finally:
        for draft in drafts:
            draft.discard()


def _contents(piece: Piece) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The bytes of a file and of its sidecar, each with its place below the output."""
    path = piece.target.path
    if isinstance(piece.content, bytes):
        content = piece.content
    elif path.suffix in (".mat", ".h5"):
        content = transform_bytes(piece.content, path.suffix)
    else:
        content = image_bytes(piece.content, piece.target.dtype)
    yield path, content
    if path.suffix != ".tsv" or piece.sidecar:  # the sidecar of a segmentation is its table's too
        yield sidecar_of(path), json_bytes({**piece.target.sidecar, **piece.sidecar})
