"""Writing is atomic, deterministic, and told when it fails."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.outputs import writer
from bids_app.outputs.writer import OutputError, image_bytes, json_bytes, remove_partial_files, write_bytes


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.os, "fsync", fails)
    with pytest.raises(OutputError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_file_that_reads_back_differently_never_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "file_sha256", lambda _: "another")
    with pytest.raises(OutputError, match="read back"):
        write_bytes(tmp_path / "a", b"content")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "anat").mkdir()
    (tmp_path / "anat" / f"{writer.PARTIAL}xyz-a.nii.gz").write_bytes(b"half")
    (tmp_path / "anat" / "a.nii.gz").write_bytes(b"whole")
    remove_partial_files(tmp_path)
    assert len(list((tmp_path / "anat").iterdir())) == 2  # what lies below is another's
    remove_partial_files(tmp_path / "anat")
    assert [each.name for each in (tmp_path / "anat").iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize(("dtype", "stored"), [(None, "int16"), ("float32", "float32"), ("uint8", "uint8")])
def test_images_are_written_in_the_data_type_of_the_product(tmp_path: Path, dtype: str | None, stored: str) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    (tmp_path / "a.nii.gz").write_bytes(image_bytes(nib.Nifti1Image(array, np.eye(4)), dtype))
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == stored
    assert np.array_equal(np.asarray(image.dataobj), array)


def test_bytes_of_an_image_do_not_depend_on_time() -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    content = image_bytes(image)
    assert content == image_bytes(image)
    assert content[4:8] == b"\0\0\0\0"  # the time in a gzip header
    assert gzip.decompress(content)[:4] == (348).to_bytes(4, "little")


def test_json_knows_numpy() -> None:
    assert json_bytes({"a": np.float32(1.5), "b": np.arange(2), "c": (1, 2)}) == (
        b'{\n  "a": 1.5,\n  "b": [\n    0,\n    1\n  ],\n  "c": [\n    1,\n    2\n  ]\n}\n'
    )
