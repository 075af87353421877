"""Writing is atomic, deterministic, and told when it fails."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from bids_app.outputs import writer
from bids_app.outputs.writer import (
    OutputError,
    image_bytes,
    json_bytes,
    remove_partial_files,
    transform_bytes,
    write_bytes,
)


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


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
def test_headers_hold_grid_type_and_scaling_alone(kind: Any, order: str) -> None:
    array = np.arange(24, dtype=f"{order}i2").reshape(2, 3, 4)
    image = kind(array, np.diag([2, -3, 4, 1.0]), kind.header_class(endianness=order), dtype=array.dtype)
    for name in ("descrip", "aux_file", "intent_name", "db_name", "data_type", "unused_str"):
        if name in image.header:
            image.header[name] = b"JaneDoe"
    image.header["toffset"], image.header["intent_p1"], image.header["slice_duration"] = 19700101, 19700102, 19700103
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"JaneDoe"))
    image.header.set_slope_inter(2.5, -1)
    image.set_qform(image.affine, 1)
    content = gzip.decompress(image_bytes(image))
    assert b"JaneDoe" not in content
    written = kind.from_bytes(content)
    assert [float(written.header[name]) for name in ("toffset", "intent_p1", "slice_duration")] == [0, 0, 0]
    assert len(content) == (352 if kind is nib.Nifti1Image else 544) + array.nbytes
    assert np.array_equal(written.dataobj.get_unscaled(), array)
    assert (written.dataobj.slope, written.dataobj.inter) == (2.5, -1)
    assert np.array_equal(written.affine, image.affine)
    assert np.array_equal(written.get_qform(), image.affine)


def test_bytes_of_a_nonlinear_transform_depend_on_its_numbers_alone(tmp_path: Path) -> None:
    import SimpleITK as sitk

    from bids_app.steps.ants import load_ants

    load_ants()  # before anything else uses ANTs: it fixes the number of threads for the process
    import ants

    field = np.random.default_rng(0).normal(size=(7, 8, 9, 3))
    image = sitk.GetImageFromArray(field, isVector=True)
    transform = sitk.CompositeTransform([sitk.Euler3DTransform((4, 4, 3), 0.1), sitk.DisplacementFieldTransform(image)])
    content = transform_bytes(transform, ".h5")
    time.sleep(1.1)  # ITK writes the time, to the second
    assert transform_bytes(transform, ".h5") == content
    assert b"Linux" not in content
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    read = sitk.CompositeTransform(sitk.ReadTransform(str(path)))
    for number in range(2):
        ours, theirs = read.GetNthTransform(number), transform.GetNthTransform(number)
        assert ours.GetName() == theirs.GetName()
        assert ours.GetParameters() == theirs.GetParameters()
        assert ours.GetFixedParameters() == theirs.GetFixedParameters()
    by_itk = tmp_path / "itk.h5"
    sitk.WriteTransform(transform, str(by_itk))
    moving = ants.from_numpy(np.random.default_rng(1).normal(size=(9, 8, 7)).astype(np.float32))
    moved = [ants.apply_transforms(moving, moving, [str(one)]).numpy() for one in (path, by_itk)]
    assert np.array_equal(*moved)
    assert not np.allclose(moved[0], moving.numpy())
