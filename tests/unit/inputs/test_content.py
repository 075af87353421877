from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trees import Nifti, packed

from bids_app.inputs.content import check_content, file_sha256
from bids_app.inputs.series import Series


def series(path: Path) -> Series:
    return Series(path, path.name, (("sub", "01"),), "T1w", "anat", ".nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_good_image_keeps_its_bits_grid_and_type(tmp_path: Path, name: str, version: int) -> None:
    nifti = Nifti(orientation="PSR", dtype="int16", version=version)
    nifti.write(tmp_path / name)
    image, reason = check_content(series(tmp_path / name))
    assert reason is None
    expected = nifti.image()
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.asanyarray(expected.dataobj))
    np.testing.assert_array_equal(image.affine, expected.affine)
    assert image.get_data_dtype() == np.int16


def nan_image() -> bytes:
    return Nifti(dtype="float32", fill=np.nan).image().to_bytes()


NOISE = packed(Nifti().image().to_bytes())
FLIPPED = bytearray(NOISE)
FLIPPED[len(NOISE) // 2] ^= 0xFF
WRONG_SUM = bytearray(NOISE)
WRONG_SUM[-6] ^= 0xFF


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.nii.gz", NOISE[:-200], "it ends early"),
        ("a.nii.gz", NOISE[:-4], "it ends early"),
        ("a.nii.gz", bytes(FLIPPED), "corrupt"),
        ("a.nii.gz", bytes(WRONG_SUM), "corrupt"),
        ("a.nii.gz", packed(Nifti().image().to_bytes()[:-1]), "it ends early"),
        ("a.nii", Nifti().image().to_bytes()[:-1], "it ends early"),
        ("a.nii.gz", b"a text file", "not a gzip file"),
        ("a.nii.gz", packed(b"a text file, long enough to be read as a header?"), "not a NIfTI file"),
        ("a.nii", Nifti(fill=0).image().to_bytes(), "same value"),
        ("a.nii", Nifti(fill=7).image().to_bytes(), "same value"),
        ("a.nii", nan_image(), "no voxel has a finite value"),
        ("a.nii", Nifti(dtype="float32", fill=np.inf).image().to_bytes(), "no voxel has a finite value"),
        ("a.nii", Nifti((20, 22, 20, 3)).image().to_bytes(), "one three-dimensional volume"),
    ],
)
def test_a_bad_image_is_told(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    image, reason = check_content(series(path))
    assert image is None
    assert message in (reason or "")


def test_a_file_that_went_away_is_told(tmp_path: Path) -> None:
    assert check_content(series(tmp_path / "a.nii.gz")) == (None, "the file is not there any more")


def test_some_nan_is_no_reason(tmp_path: Path) -> None:
    image: Any = Nifti(dtype="float32").image()
    data = np.asanyarray(image.dataobj)
    data[0, 0, 0] = np.nan
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    assert check_content(series(tmp_path / "a.nii"))[1] is None


def test_sha256_is_of_the_files_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(content)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
