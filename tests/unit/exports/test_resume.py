"""An export that is killed goes on from there, to the same bytes; so does one whose journal was torn."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from derivative_tree import Tree

from bids_app.exports.journal import ExportBusyError, Journal, Record, file_record, read_records, verify_export

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
    while process.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n") >= 3):
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
