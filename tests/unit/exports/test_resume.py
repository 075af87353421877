"""An export that is killed goes on from there, to the same bytes; so does one whose journal was torn."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from derivative_tree import Tree

from bids_app.cli.main import run
from bids_app.exports.journal import ExportBusyError, Journal, Record, file_record, read_records, verify_export
from bids_app.exports.slicing import png_bytes
from bids_app.outputs.manifest import manifest_path
from bids_app.outputs.writer import image_bytes
from bids_app.steps.images import new_image

STUDIES = 30


def command(tree: Tree, folder: Path, *words: str) -> list[str]:
    key = str(tree.bids.parent / "key")
    where = [str(tree.bids), str(tree.output), "export", "--export-dir", str(folder), "--export-key", key]
    return [sys.executable, "-m", "bids_app", *where, *words]


def contents(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = Tree.at(tmp_path_factory.mktemp("resume"))
    for number in range(STUDIES):
        tree.study(f"{number:03d}")
    return tree


@pytest.mark.parametrize("words", [
    ("--format", "mr-rate", "--nprocs", "2"),
    ("--format", "webdataset", "--shard-mb", "0.02", "--nprocs", "1"),
], ids=["mr-rate", "webdataset"])  # fmt: skip
def test_killed_and_resumed_gives_the_same_bytes(tree: Tree, tmp_path: Path, words: tuple[str, ...]) -> None:
    subprocess.run(command(tree, tmp_path / "whole", *words, "--nprocs", "1"), check=True, capture_output=True)
    process = subprocess.Popen(
        command(tree, tmp_path / "killed", *words), start_new_session=True, stdout=subprocess.DEVNULL
    )
    journal = tmp_path / "killed" / ".journal.jsonl"
    while process.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n") >= 6):
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "manifest.jsonl").exists()
    done = {path: digest for path, digest in contents(tmp_path / "killed").items() if path.endswith((".zip", ".tar"))}
    (tmp_path / "killed" / ".partial-abc-study.zip").write_bytes(b"what a killed process left")
    with journal.open("ab") as stream:
        stream.write(b'{"unit": "torn')
    subprocess.run(command(tree, tmp_path / "killed", *words), check=True, capture_output=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert 0 < len(done) < sum(1 for path in contents(tmp_path / "whole") if path.endswith((".zip", ".tar")))
    assert verify_export(tmp_path / "killed")[1] == []


def exported(tree: Tree, *words: str) -> int:
    where = [str(tree.bids), str(tree.output), "export", "--nprocs", "1", "--split", "1", "0", "0"]
    return run([*where, *words], {**os.environ})


def not_listed(root: Path) -> list[str]:
    listed = {file.path for record in read_records(root) for file in record.files}
    return sorted(set(contents(root)) - listed - {"manifest.jsonl"})


class KilledError(BaseException):
    """Stands for a kill."""


def test_a_file_of_a_killed_run_is_not_taken_for_that_of_a_finished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard of another order has the same name and the same size."""
    tree = Tree.at(tmp_path)
    for number in range(6):
        tree.study(f"{number:02d}", contrasts=("T1w",))
    root = tree.output / "exports" / "webdataset"

    def killed(_: Journal, record: Record) -> None:
        raise KilledError(record.unit)

    assert exported(tree, "--format", "webdataset", "--random-seed", "1") == 0
    before = contents(root)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", killed)
        with pytest.raises(KilledError):
            exported(tree, "--format", "webdataset", "--random-seed", "2")
    assert exported(tree, "--format", "webdataset", "--random-seed", "1") == 0
    assert verify_export(root)[1] == []
    assert contents(root) == before


@pytest.mark.parametrize("after", ["withdrawn", "other planes"])
def test_what_a_killed_run_wrote_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    tree = Tree.at(tmp_path)
    for number in range(2):
        tree.study(f"{number:02d}", contrasts=("T1w",))
    root = tree.output / "exports" / "slices"
    drawn: list[bytes] = []

    def dying(pixels: Any) -> bytes:
        if len(drawn) == 8:  # within the second study
            raise KilledError
        drawn.append(png_bytes(pixels))
        return drawn[-1]

    with monkeypatch.context() as patch:
        patch.setattr("bids_app.exports.slices.png_bytes", dying)
        with pytest.raises(KilledError):
            exported(tree, "--format", "slices", "--planes", "axial")
    assert len(list(root.rglob("*.png"))) == 8
    (root / "images" / "notes.txt").write_text("a file of the user's")
    if after == "withdrawn":
        for folder in ("sub-01", "logs/sub-01"):
            shutil.rmtree(tree.output / folder)
    assert exported(tree, "--format", "slices", "--planes", "axial" if after == "withdrawn" else "sagittal") == 0
    assert not_listed(root) == ["images/notes.txt"]
    assert (root / "images" / "sub-01").exists() == (after == "other planes")


def test_a_case_that_fails_leaves_no_image(tmp_path: Path) -> None:
    tree = Tree.at(tmp_path)
    for number in range(2):
        tree.study(f"{number:02d}", contrasts=("T1w",))
    where = manifest_path(tree.output, "01", None)
    (path,) = tree.output.glob("sub-01/anat/*space-MNI*_dseg.nii.gz")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(image_bytes(new_image(np.full(tree.shape, 9, np.uint8), tree.affine())))
    content = json.loads(where.read_text().replace(before, hashlib.sha256(path.read_bytes()).hexdigest()))
    where.write_text(json.dumps(content))
    assert exported(tree, "--format", "nnunet", "--export-label", "synth") == 1
    root = tree.output / "exports" / "nnunet"
    assert not_listed(root) == []
    assert [one.name for one in root.rglob("*.nii.gz") if "sub-01" in one.name] == []


@pytest.mark.parametrize("words", [
    ("--format", "webdataset"),
    ("--format", "nnunet", "--export-label", "synth", "--export-images", "T2w@native/preproc"),
], ids=["no series", "no case"])  # fmt: skip
def test_a_run_that_finds_nothing_leaves_the_export_alone(tmp_path: Path, words: tuple[str, ...]) -> None:
    tree = Tree.at(tmp_path)
    tree.study("01", face_check=None)
    root = tree.output / "exports" / words[1]
    assert exported(tree, *words) == 18
    assert not root.exists()
    assert exported(tree, *words, "--no-deface", "--export-images", "T1w@atlas/preproc") == 0
    before = contents(root)
    assert exported(tree, *words, *(["--no-deface"] if "nnunet" in words else [])) == 18
    assert contents(root) == before


def test_the_journal_knows_what_is_there(tmp_path: Path) -> None:
    def record(unit: str, key: str, *names: str) -> Record:
        return Record(
            unit, key, tuple(file_record(tmp_path, name, [name.encode()]) for name in names), {"n": len(names)}
        )

    with Journal(tmp_path) as journal:
        journal.add(record("b", "1", "b/one", "b/two"))
        journal.add(record("a", "1", "a/one"))
        with pytest.raises(ExportBusyError), Journal(tmp_path):
            pass
        assert journal.finished("b", "1")
        assert not journal.finished("b", "2")
        journal.add(record("b", "2", "b/two", "b/three"))
        assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["three", "two"], "the old one is removed"
        journal.close(["a", "b"])
    assert [one.unit for one in read_records(tmp_path)] == ["a", "b"]
    (tmp_path / "b" / "two").write_bytes(b"tw")
    assert verify_export(tmp_path) == (3, [("b/two", "size changed (2 of 5 bytes)")])
    with Journal(tmp_path) as journal:
        assert journal.finished("a", "1")
        assert not journal.finished("b", "2"), "a file of it was cut"
        journal.close(["a"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "manifest.jsonl"]
