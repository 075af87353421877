"""Manifests: what counts as finished, what is outdated, what is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_app.outputs.manifest import (
    FileRecord,
    InputRecord,
    Manifest,
    TaskRecord,
    damaged_files,
    files_present,
    read_manifest,
    record_inputs,
    record_task,
    remove_outdated,
    task_key,
)
from bids_app.outputs.writer import write_bytes


def _made(output: Path, path: str, content: bytes) -> FileRecord:
    return FileRecord(path, write_bytes(output / path, content), len(content))


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    where = tmp_path / "logs" / "sub-01" / "manifest.json"
    inputs = {"sub-01/anat/sub-01_T1w.nii.gz": InputRecord("stamp", "hash")}
    task = TaskRecord("key", {"x": "y"}, (_made(tmp_path, "a.nii.gz", b"a"),), {"volume": 3})
    record_inputs(where, inputs)
    record_task(tmp_path, where, "mask/sub-01_T1w", task)
    assert read_manifest(where) == Manifest(inputs, {"mask/sub-01_T1w": task})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 99}', b'{"format": 1, "inputs": 3, "tasks": {}}'])
def test_an_unreadable_manifest_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    assert read_manifest(tmp_path / "manifest.json") == Manifest()


def test_key_depends_on_everything_and_on_nothing_else() -> None:
    key = task_key("mask", "1", {"a": 1, "b": 2}, {"p": "k"})
    assert key == task_key("mask", "1", {"b": 2, "a": 1}, {"p": "k"})
    others = [
        task_key("bias", "1", {"a": 1, "b": 2}, {"p": "k"}),
        task_key("mask", "2", {"a": 1, "b": 2}, {"p": "k"}),
        task_key("mask", "1", {"a": 1, "b": 3}, {"p": "k"}),
        task_key("mask", "1", {"a": 1, "b": 2}, {"p": "l"}),
    ]
    assert key not in others
    assert len(set(others)) == 4


def test_files_are_found_missing_truncated_and_altered(tmp_path: Path) -> None:
    task = TaskRecord("k", {}, tuple(_made(tmp_path, name, b"content") for name in ("a", "b", "c", "d")))
    assert files_present(tmp_path, task)
    assert damaged_files(tmp_path, task.files) == []
    (tmp_path / "a").unlink()
    (tmp_path / "b").write_bytes(b"cont")
    (tmp_path / "c").write_bytes(b"CONTENT")
    assert not files_present(tmp_path, task)
    problems = [("a", "missing"), ("b", "size changed (4 of 7 bytes)"), ("c", "content changed")]
    assert damaged_files(tmp_path, task.files) == problems


def test_what_stands_on_a_replaced_task_is_removed_with_its_files(tmp_path: Path) -> None:
    where = tmp_path / "manifest.json"
    chain = {
        "mask/s": TaskRecord("m2", {}, (_made(tmp_path, "mask", b"new"),)),
        "bias/s": TaskRecord("b1", {"mask/s": "m1"}, (_made(tmp_path, "bias", b"old"),)),
        "normalize/s/brainminmax": TaskRecord("n1", {"bias/s": "b1"}, (_made(tmp_path, "minmax", b"old"),)),
        "mask/t": TaskRecord("t1", {}, (_made(tmp_path, "other", b"x"),)),
        "resample/t/reference": TaskRecord("r1", {"reference": "old"}, (_made(tmp_path, "moved", b"x"),)),
        "mask/gone": TaskRecord("g1", {}, (_made(tmp_path, "gone", b"x"),)),
    }
    for name, task in chain.items():
        record_task(tmp_path, where, name, task)
    removed = remove_outdated(tmp_path, where, frozenset({"s", "t"}), "s")
    assert removed == ["bias/s", "mask/gone", "normalize/s/brainminmax", "resample/t/reference"]
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "manifest.json", "mask", "other",
    ]  # fmt: skip
    assert sorted(read_manifest(where).tasks) == ["mask/s", "mask/t"]


def test_what_was_made_from_a_raw_file_that_was_replaced_is_removed(tmp_path: Path) -> None:
    where = tmp_path / "manifest.json"
    record_inputs(where, {"t1": InputRecord("s", "new"), "t2": InputRecord("s", "same")})
    for name, raw in (("mask/s", ("raw:t1", "old")), ("mask/t", ("raw:t2", "same"))):
        record_task(tmp_path, where, name, TaskRecord("k", dict([raw]), (_made(tmp_path, name[-1], b"x"),)))
    assert remove_outdated(tmp_path, where, frozenset({"s", "t"}), "t") == ["mask/s"]
    assert not (tmp_path / "s").exists()


def test_outputs_on_a_reference_that_was_only_left_out_are_kept(tmp_path: Path) -> None:
    where = tmp_path / "manifest.json"
    task = TaskRecord("k", {"reference": "t"}, (_made(tmp_path, "moved", b"x"),))
    record_task(tmp_path, where, "resample/s/reference", task)
    names = frozenset({"s", "t"})
    assert remove_outdated(tmp_path, where, names, "s", frozenset({"t"})) == []
    assert remove_outdated(tmp_path, where, names, "s") == ["resample/s/reference"]


@pytest.mark.parametrize("denoised", [False, True])
def test_a_run_that_defaces_removes_what_an_earlier_one_made_of_the_face(tmp_path: Path, denoised: bool) -> None:
    where = tmp_path / "manifest.json"
    chain = {
        "mask/s": TaskRecord("m", {}, (_made(tmp_path, "mask", b"x"),)),
        "bias/s": TaskRecord("b", {"mask/s": "m"}, (_made(tmp_path, "bias", b"a face"),)),
        "resample/s/reference/preproc": TaskRecord("r", {"bias/s": "b"}, (_made(tmp_path, "moved", b"a face"),)),
        "segment/s": TaskRecord("g", {}, (_made(tmp_path, "labels", b"x"),)),
        "mask/t": TaskRecord("m", {}, (_made(tmp_path, "other", b"x"),)),
        "bias/t": TaskRecord("b", {"mask/t": "m"}, (_made(tmp_path, "kept", b"never defaced"),)),
    }
    if denoised:
        chain["denoise/s"] = TaskRecord("n", {"mask/s": "m"}, (_made(tmp_path, "denoised", b"a face"),))
        chain["bias/s"] = TaskRecord("b", {"mask/s": "m", "denoise/s": "n"}, chain["bias/s"].files)
    chain["deface/s"] = TaskRecord("d", {"mask/s": "m"}, (_made(tmp_path, "defaced", b"no face"),))
    for name, task in chain.items():
        record_task(tmp_path, where, name, task)
    names = frozenset({"s", "t"})
    assert remove_outdated(tmp_path, where, names, "s") == [], "a later run without defacing lives beside it"
    gone = ["bias/s", *(["denoise/s"] if denoised else []), "resample/s/reference/preproc"]
    assert remove_outdated(tmp_path, where, names, "s", defacing=frozenset({"s"})) == gone
    assert not (tmp_path / "bias").exists()
    assert (tmp_path / "kept").exists()
    assert remove_outdated(tmp_path, where, names, "s", defacing=names) == ["bias/t"], "told to be defaced: it was not"
    through = {"deface/s": "d"}
    if denoised:
        record_task(tmp_path, where, "denoise/s", TaskRecord("n", through, ()))
        through = {"denoise/s": "n"}
    record_task(tmp_path, where, "bias/s", TaskRecord("b2", through, ()))
    assert remove_outdated(tmp_path, where, names, "s", defacing=frozenset({"s"})) == []


def test_a_task_that_makes_other_files_takes_its_old_ones_away(tmp_path: Path) -> None:
    where = tmp_path / "manifest.json"
    record_task(tmp_path, where, "atlas/s", TaskRecord("1", {}, (_made(tmp_path, "x.mat", b"a"),)))
    record_task(tmp_path, where, "atlas/s", TaskRecord("2", {}, (_made(tmp_path, "x.h5", b"b"),)))
    assert not (tmp_path / "x.mat").exists()
    assert (tmp_path / "x.h5").exists()
