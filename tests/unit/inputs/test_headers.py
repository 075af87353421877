from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from trees import Nifti, packed

from bids_app.inputs.errors import HeaderError
from bids_app.inputs.headers import read_header


def turned(degrees: float, spacing: tuple[float, float, float]) -> Any:
    """Axial slices turned about the left-right axis."""
    angle = np.deg2rad(degrees)
    rotation = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(spacing)
    return affine


@pytest.mark.parametrize(
    ("image", "orientation", "plane"),
    [
        (Nifti((20, 22, 10), (1, 1, 5)), "RAS", "axial"),
        (Nifti((10, 22, 20), (5, 1, 1)), "RAS", "sagittal"),
        (Nifti((20, 10, 20), (1, 5, 1)), "RAS", "coronal"),
        (Nifti((20, 22, 20), (1, 1, 1), "PSR"), "PSR", "sagittal"),  # isotropic: the third axis
        (Nifti((20, 22, 20), (1.15, 1.15, 1), "PIR"), "PIR", "sagittal"),  # the largest spacing is on two axes
        (Nifti((20, 22, 10), (1, 1, 5), "LAS"), "LAS", "axial"),
        (Nifti((20, 22, 10), (1, 1, 5), affine=turned(20, (1, 1, 5))), "RAS", "axial"),  # cos 20 = 0.94
        (Nifti((20, 22, 10), (1, 1, 5), affine=turned(30, (1, 1, 5))), "RAS", "oblique"),  # cos 30 = 0.87
    ],
)
def test_geometry(tmp_path: Path, image: Nifti, orientation: str, plane: str) -> None:
    path = tmp_path / "a.nii.gz"
    image.write(path)
    header = read_header(path)
    assert header.shape == image.shape
    assert header.spacing_mm == pytest.approx(image.spacing, abs=1e-4)
    assert header.fov_mm == pytest.approx(np.multiply(image.shape, image.spacing), abs=1e-2)
    assert header.orientation == orientation
    assert header.plane == plane
    assert header.dtype == "uint8"


def test_orientation_is_that_of_nibabel_for_any_rotation(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(100):
        affine = np.eye(4)
        affine[:3, :3] = np.linalg.qr(random.normal(size=(3, 3)))[0] * (1, 2, 5)
        Nifti((6, 6, 6), affine=affine).write(tmp_path / f"{number}.nii")
        assert read_header(tmp_path / f"{number}.nii").orientation == "".join(nib.aff2axcodes(affine))


def test_without_sform_and_qform_the_voxel_sizes_count(tmp_path: Path) -> None:
    image = Nifti(spacing=(2, 3, 4)).image()
    image.header.set_sform(None, code=0)
    image.header.set_qform(None, code=0)
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    header = read_header(tmp_path / "a.nii")
    assert header.spacing_mm == (2, 3, 4)
    assert header.orientation == "".join(nib.aff2axcodes(nib.load(tmp_path / "a.nii").affine))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype", ["int16", "float64", "uint16"])
def test_formats(tmp_path: Path, name: str, version: int, dtype: str) -> None:
    Nifti(dtype=dtype, version=version).write(tmp_path / name)
    assert read_header(tmp_path / name).dtype == dtype


def test_a_fourth_axis_of_one_is_dropped_and_of_more_is_kept(tmp_path: Path) -> None:
    Nifti((20, 22, 20, 1)).write(tmp_path / "one.nii")
    Nifti((20, 22, 20, 3)).write(tmp_path / "three.nii")
    assert read_header(tmp_path / "one.nii").shape == (20, 22, 20)
    assert read_header(tmp_path / "three.nii").shape == (20, 22, 20, 3)


def changed(offset: int, layout: str, *values: Any) -> bytes:
    """A NIfTI-1 file with some bytes of its header overwritten."""
    raw = bytearray(Nifti().image().to_bytes())
    raw[offset : offset + struct.calcsize(layout)] = struct.pack(layout, *values)
    return bytes(raw)


WHOLE = Nifti().image().to_bytes()
SHEARED = np.array([[8, 4, 0, 0], [0, 8, 0, 0], [0, 0, 8, 0], [0, 0, 0, 1]], float)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.nii.gz", b"", "empty"),
        ("a.nii", b"", "empty"),
        ("a.nii.gz", b"<html>not an image</html>", "not a gzip file"),
        ("a.nii.gz", WHOLE, "not compressed"),
        ("a.nii", packed(WHOLE), "gzip-compressed"),
        ("a.nii.gz", b"/annex/objects/MD5E-s1--x.nii.gz\n", "git annex get"),
        ("a.nii.gz", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("a.nii.gz", packed(b"hello, this is no image at all"), "not a NIfTI file"),
        ("a.nii.gz", packed(WHOLE)[:20], "gzip stream|ends early"),
        ("a.nii.gz", packed(WHOLE[:200]), "ends early"),
        ("a.nii", WHOLE[:100], "ends early"),
        ("a.nii", WHOLE[:-1], "ends early"),
        ("a.nii.gz", b"\x1f\x8b" + bytes(100), "corrupt"),
        ("a.nii", changed(344, "4s", b"xyz\0"), "magic"),
        ("a.nii", changed(344, "4s", b"ni1\0"), "single-file"),
        ("a.nii", changed(40, "8h", 3, 30000, 30000, 30000, 1, 1, 1, 1), "absurd"),
        ("a.nii", changed(40, "8h", 3, 4000, 4000, 4000, 1, 1, 1, 1), "absurd"),
        ("a.nii", changed(40, "8h", 3, 1000, 1000, 1000, 1, 1, 1, 1), "ends early"),
        ("a.nii.gz", packed(changed(40, "8h", 3, 1000, 1000, 1000, 1, 1, 1, 1)), "ends early"),
        ("a.nii", changed(40, "8h", 3, 0, 22, 20, 1, 1, 1, 1), "absurd"),
        ("a.nii", changed(40, "8h", 3, -5, 22, 20, 1, 1, 1, 1), "absurd"),
        ("a.nii", changed(40, "8h", 9, 20, 22, 20, 1, 1, 1, 1), "9 dimensions"),
        ("a.nii", changed(40, "8h", 2, 20, 22, 1, 1, 1, 1, 1), "2 dimensions"),
        ("a.nii", changed(40, "8h", 5, 4, 4, 4, 2, 2, 1, 1), "5 dimensions"),
        ("a.nii", changed(70, "h", 9999), "header is invalid"),
        ("a.nii", changed(70, "h", 128), "RGB"),
        ("a.nii", changed(70, "h", 32), "complex"),
        ("a.nii", changed(108, "f", float("nan")), "vox_offset"),
        ("a.nii", changed(280, "12f", *[float("nan")] * 12), "affine|orientation"),
        ("a.nii", changed(280, "12f", *[0.0] * 12), "affine|orientation"),
        ("a.nii", changed(280, "4f", 1e30, 0, 0, 0), "absurd voxel size"),
        ("a.nii", changed(292, "f", 1e30), "position"),
        ("a.nii", Nifti(affine=SHEARED).image().to_bytes(), "sheared"),
    ],
)
def test_a_bad_file_is_told(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(HeaderError, match=message):
        read_header(path)


def test_big_endian_is_read(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((20, 22, 20), ">i2"), np.diag([8, 8, 8, 1]), nib.Nifti1Header(endianness=">"))
    assert image.header.endianness == ">"
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    assert read_header(tmp_path / "a.nii").shape == (20, 22, 20)


def test_an_unknown_form_code_counts_as_unset_as_in_nibabel(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(changed(254, "h", 255))
    assert read_header(tmp_path / "a.nii").orientation == "".join(nib.aff2axcodes(nib.load(tmp_path / "a.nii").affine))


def test_units_of_metres_are_told(tmp_path: Path) -> None:
    image = Nifti(spacing=(0.008, 0.008, 0.008)).image()
    image.header.set_xyzt_units("meter")
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    with pytest.raises(HeaderError, match="metres"):
        read_header(tmp_path / "a.nii")


def test_an_annexed_file_that_was_not_fetched_names_the_command(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.symlink_to(".git/annex/objects/x/y.nii.gz")
    with pytest.raises(HeaderError, match=r"datalad get a\.nii\.gz"):
        read_header(path)
    with pytest.raises(HeaderError, match="not there"):
        read_header(tmp_path / "b.nii.gz")
