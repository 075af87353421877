"""A task's files and its record come together: a signal to end, or an error, leaves all of them or none."""

from __future__ import annotations

import os
import signal
from pathlib import Path, PurePosixPath

import pytest

from bids_app.outputs import publish as module
from bids_app.outputs.manifest import read_manifest
from bids_app.outputs.publish import Piece, publish
from bids_app.outputs.tree import Target
from bids_app.outputs.writer import Draft, OutputError
from bids_app.stop import Terminated, stop_raises

NAMES = ("sub-01/anat/a.tsv", "sub-01/anat/b.tsv")


def _publish(output: Path, content: bytes = b"content") -> None:
    pieces = [Piece(Target("table", PurePosixPath(name), None, {}), content) for name in NAMES]
    publish(output, output / "logs/sub-01/manifest.json", "step/series", "key", {}, pieces, {})


def _there(output: Path) -> set[str]:
    return {str(path.relative_to(output)) for path in (output / "sub-01").rglob("*") if path.is_file()}


def test_a_signal_to_end_waits_until_files_and_record_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place(draft: Draft, original=Draft.place) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        original(draft)

    monkeypatch.setattr(Draft, "place", place)
    with pytest.raises(Terminated), stop_raises():
        _publish(tmp_path)
    assert _there(tmp_path) == set(NAMES)
    assert {file.path for file in read_manifest(tmp_path / "logs/sub-01/manifest.json").tasks["step/series"].files} == (
        set(NAMES)
    )


def test_a_signal_while_the_content_is_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draft_of(path: Path, pieces: list[bytes], original=module.draft_of) -> Draft:
        draft = original(path, pieces)
        if path.name == "b.tsv":
            os.kill(os.getpid(), signal.SIGTERM)
        return draft

    monkeypatch.setattr(module, "draft_of", draft_of)
    with pytest.raises(Terminated), stop_raises():
        _publish(tmp_path)
    assert {name for name in _there(tmp_path) if ".partial" not in name} == set()
    assert not (tmp_path / "logs").exists()


def test_a_file_that_cannot_be_written_keeps_all_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(tmp_path, b"before")

    def draft_of(path: Path, pieces: list[bytes], original=module.draft_of) -> Draft:
        if path.name == "b.tsv":
            raise OutputError("no space")
        return original(path, pieces)

    monkeypatch.setattr(module, "draft_of", draft_of)
    with pytest.raises(OutputError):
        _publish(tmp_path, b"after")
    assert _there(tmp_path) == set(NAMES)
    assert all((tmp_path / name).read_bytes() == b"before" for name in NAMES)
