"""`bids_app verify`: each kind of damage is found, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bids_app.outputs.lock import Locks
from bids_app.outputs.manifest import FileRecord, TaskRecord, record_table, record_task
from bids_app.outputs.verify import verify_output
from bids_app.outputs.writer import PARTIAL, write_bytes

IMAGE = "sub-01/anat/sub-01_desc-defaced_T1w.nii.gz"
TABLE = "sub-01/sub-01_series.tsv"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A small output with everything that a run leaves."""
    record = FileRecord(IMAGE, write_bytes(tmp_path / IMAGE, b"voxels of a head"), 16)
    manifest = tmp_path / "logs" / "sub-01" / "manifest.json"
    record_task(tmp_path, manifest, "deface/sub-01_T1w", TaskRecord("key", {}, (record,)))
    write_bytes(tmp_path / TABLE, b"series\n")
    record_table(manifest, TABLE, b"series\n")
    write_bytes(tmp_path / "dataset_description.json", b"{}")
    record_table(tmp_path / "logs" / "manifest.json", "dataset_description.json", b"{}")
    write_bytes(manifest.parent / "errors.txt", b"nothing")
    for allowed in (
        "code/mine.py",
        "sub-01.html",
        "sub-01/figures/a.svg",
        "group_series.tsv",
        "logs/profile.tsv",
        "logs/profile_shard-2of10.tsv",
    ):
        write_bytes(tmp_path / allowed, b"")
    return tmp_path


def test_a_whole_output_has_no_problem(output: Path) -> None:
    with Locks(output) as locks:
        locks.take("sub-01")
        assert verify_output(output) == (3, [])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", [IMAGE, TABLE, "dataset_description.json"])
@pytest.mark.parametrize(
    ("damage", "problem"), [(Path.unlink, "missing"), (_truncate, "size changed"), (_flip, "content changed")]
)
def test_damage_is_found(output: Path, name: str, damage: Callable[[Path], None], problem: str) -> None:
    damage(output / name)
    ((where, what),) = verify_output(output)[1]
    assert where == name
    assert what.startswith(problem)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("sub-01/anat/sub-01_T1w.nii.gz", "in no manifest"),
        ("sub-01/notes.txt", "in no manifest"),
        ("sub-02/anat/sub-02_T1w.json", "in no manifest"),
        ("logs/sub-01/crash.pklz", "in no manifest"),
        (f"sub-01/anat/{PARTIAL}x-a.nii.gz", "left half-written by a killed run"),
        (f"{PARTIAL}x-README.md", "left half-written by a killed run"),
    ],
)
def test_what_should_not_be_there_is_found(output: Path, name: str, problem: str) -> None:
    write_bytes(output / name, b"x")
    assert verify_output(output)[1] == [(name, problem)]


@pytest.mark.parametrize("name", ["logs/manifest.json", "logs/sub-01/manifest.json"])
def test_a_manifest_that_is_gone_or_broken_is_found(output: Path, name: str) -> None:
    (output / name).write_text("{")
    assert (name, "unreadable manifest") in verify_output(output)[1]
    (output / name).unlink()
    assert any(where == name or where in (IMAGE, TABLE) for where, _ in verify_output(output)[1])
