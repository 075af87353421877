"""Registration finds known displacements, refuses nonsense, repeats itself to the bit and leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.steps import images
from bids_app.steps.registration import RegistrationError, read_transform, register, write_transform

SHAPE, SPACING = (44, 52, 44), 4.0
WAVES = np.random.default_rng(7).normal(0, 0.09, (6, 3))  # radians per mm: folds about 40 mm apart
PHASES = np.arange(6.0)


def grid_points(shape: tuple[int, ...], affine: NDArray) -> NDArray:
    """World coordinates (LPS+ mm) of every voxel."""
    index = np.indices(shape).reshape(3, -1).T
    return nib.affines.apply_affine(affine, index) * [-1, -1, 1]


def phantom(points: NDArray, tissue: tuple[float, ...]) -> tuple[NDArray, NDArray]:
    """An asymmetric head of ellipsoids at `points` (LPS+ mm): intensities and brain mask."""
    ellipsoids = (  # centre, radii (mm): scalp, skull, brain, ventricles, a left and a lower structure
        ((0, 0, 0), (78, 95, 82)),
        ((0, 0, 0), (72, 89, 76)),
        ((0, 0, 2), (64, 80, 66)),
        ((4, 6, 8), (16, 36, 14)),
        ((30, -20, 10), (18, 24, 20)),
        ((-8, 40, -30), (30, 22, 18)),
    )
    image, brain = np.zeros(len(points)), np.zeros(len(points), bool)
    for number, ((centre, radii), value) in enumerate(zip(ellipsoids, tissue, strict=True)):
        inside = (((points - centre) / radii) ** 2).sum(axis=1) < 1
        image[inside] = value
        if number == 2:
            brain = inside
            folds = sum(np.sin(points @ wave + phase) for wave, phase in zip(WAVES, PHASES, strict=True))
            image[inside & (folds > 0)] *= 1.4
    return image, brain


def head(truth: sitk.Transform, tissue: tuple[float, ...], seed: int) -> list[images.Image]:
    """Image and brain mask of the phantom seen through `truth` (series -> phantom points)."""
    fine_affine = np.diag([SPACING / 2] * 3 + [1.0])
    fine_affine[:3, 3] = -SPACING / 2 * (2 * np.array(SHAPE) - 1) / 2
    fine_shape = tuple(2 * n for n in SHAPE)
    fine = grid_points(fine_shape, fine_affine)
    matrix = np.array([truth.TransformVector(tuple(row), (0.0, 0.0, 0.0)) for row in np.eye(3)]).T
    points = fine @ matrix.T + truth.TransformPoint((0.0, 0.0, 0.0))
    blocks = tuple(size for n in SHAPE for size in (n, 2))
    image, brain = (array.reshape(blocks).mean(axis=(1, 3, 5)) for array in phantom(points, tissue))
    affine = np.diag([SPACING] * 3 + [1.0])
    affine[:3, 3] = fine_affine[:3, 3] + SPACING / 4
    image += np.random.default_rng(seed).normal(0, 2, SHAPE)
    return [
        images.new_image(image.astype(np.float32), affine),
        images.new_image((brain >= 0.5).astype(np.uint8), affine),
    ]


def error_mm(found: sitk.Transform, truth: sitk.Transform, mask: images.Image) -> float:
    """Mean distance in the mask between where two transforms send a voxel."""
    inside = grid_points(mask.shape, mask.affine)[images.mask_of(mask).ravel()][::50]
    return float(
        np.mean(
            [np.linalg.norm(np.subtract(found.TransformPoint(p), truth.TransformPoint(p))) for p in inside.tolist()]
        )
    )


def euler(angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.deg2rad(angles_deg).tolist())
    transform.SetTranslation(shift_mm)
    return transform


IDENTITY = euler((0, 0, 0), (0, 0, 0))
T1 = (120.0, 15.0, 80.0, 25.0, 110.0, 60.0)
T2 = (90.0, 10.0, 70.0, 170.0, 45.0, 100.0)


@pytest.fixture(scope="module")
def fixed() -> list[images.Image]:
    return head(IDENTITY, T1, seed=1)


def test_rigid_finds_a_large_displacement_between_contrasts(fixed: list[images.Image]) -> None:
    truth = euler((8, -6, 15), (12, -9, 10))  # fixed -> moving
    moving = head(truth.GetInverse(), T2, seed=2)
    found = register(fixed[0], moving[0], kind="rigid", fixed_mask=fixed[1], moving_mask=moving[1])
    assert error_mm(found.transform, truth, fixed[1]) < 0.5  # an eighth of a voxel
    assert found.rotation_deg == pytest.approx(18.1, abs=0.7)
    assert found.similarity > found.similarity_before
    assert found.attempts == 1
    assert np.allclose(found.scale, 1, atol=1e-5)


def test_affine_finds_a_scale(fixed: list[images.Image]) -> None:
    truth = sitk.AffineTransform(3)
    truth.Scale((1.1, 0.93, 1.04))
    truth.SetTranslation((5.0, 3.0, -4.0))
    moving = head(sitk.AffineTransform(truth.GetInverse()), T2, seed=3)
    found = register(fixed[0], moving[0], kind="affine", fixed_mask=fixed[1], moving_mask=moving[1])
    assert error_mm(found.transform, truth, fixed[1]) < 1.0
    assert found.scale == pytest.approx((1.1, 1.04, 0.93), abs=0.02)


def test_same_bits_every_time_and_no_files_left(
    fixed: list[images.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "FIXED-MOVING-MASK"  # a name must not be taken for part of antsRegistration's arguments
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    moving = head(euler((0, 0, 6), (4, 0, 2)), T2, seed=4)
    options = {"kind": "rigid", "fixed_mask": fixed[1], "moving_mask": moving[1], "seed": 3}
    runs = [register(fixed[0], moving[0], threads=threads, **options) for threads in (1, 2, 2)]  # type: ignore[arg-type]
    assert [run.attempts for run in runs] == [1, 1, 1]
    assert len({run.transform.GetParameters() for run in runs}) == 1
    assert list(folder.iterdir()) == []
    assert capfd.readouterr().out == ""


def test_a_failed_registration_is_refused_and_cleans_up(
    fixed: list[images.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    speck = np.zeros(fixed[0].shape, np.uint8)
    speck[20:24, 20:24, 20:24] = 1
    noise = np.random.default_rng(0).normal(100, 5, fixed[0].shape).astype(np.float32)
    with pytest.raises(RegistrationError, match="rigid registration failed twice"):
        register(
            fixed[0],
            images.like(noise, fixed[0]),
            kind="rigid",
            fixed_mask=fixed[1],
            moving_mask=images.like(speck, fixed[0]),
        )
    assert list(tmp_path.iterdir()) == []


def test_an_empty_mask_is_named(fixed: list[images.Image]) -> None:
    empty = images.like(np.zeros(fixed[0].shape, np.uint8), fixed[0])
    with pytest.raises(RegistrationError, match="mask is empty"):
        register(fixed[0], fixed[0], kind="rigid", fixed_mask=empty)


def test_linear_transforms_survive_the_file(tmp_path: Path) -> None:
    truth = euler((8, -6, 15), (12, -9, 10))
    truth.SetCenter((5.0, 6.0, 7.0))
    write_transform(truth, tmp_path / "a.mat")
    write_transform(truth, tmp_path / "b.mat")
    assert (tmp_path / "a.mat").read_bytes() == (tmp_path / "b.mat").read_bytes()
    back = read_transform(tmp_path / "a.mat")
    assert back.GetName() == "AffineTransform"
    assert np.allclose(back.TransformPoint((10.0, 20.0, 30.0)), truth.TransformPoint((10.0, 20.0, 30.0)))
    import ants

    other = ants.read_transform(str(tmp_path / "a.mat"))
    assert np.allclose(other.apply_to_point((10.0, 20.0, 30.0)), truth.TransformPoint((10.0, 20.0, 30.0)), atol=1e-4)


def test_nitransforms_reads_our_linear_transforms(tmp_path: Path) -> None:
    from nitransforms.linear import load

    truth = sitk.AffineTransform(3)
    truth.SetCenter((5.0, -6.0, 7.0))
    truth.Scale((1.1, 0.93, 1.04))
    truth.Rotate(0, 1, 0.2)
    truth.SetTranslation((12.0, -9.0, 10.0))
    write_transform(truth, tmp_path / "a.mat")
    points = np.array([(10.0, 20.0, 30.0), (-60.0, 75.0, -40.0), (0.0, 0.0, 0.0)])  # LPS+ mm
    expected = np.array([truth.TransformPoint(point) for point in points.tolist()])
    lps = np.array([-1.0, -1.0, 1.0])  # nitransforms counts in RAS+
    other = load(tmp_path / "a.mat", fmt="itk").map(points * lps) * lps
    assert np.abs(expected - points).min() > 0.5  # it moves every point in every direction
    assert np.allclose(other, expected, atol=1e-4)


def test_a_field_is_not_written_as_mat(tmp_path: Path) -> None:
    field = sitk.DisplacementFieldTransform(sitk.Image([4, 4, 4], sitk.sitkVectorFloat64))
    with pytest.raises(ValueError, match="not linear"):
        write_transform(field, tmp_path / "a.mat")
    composite = sitk.CompositeTransform([euler((0, 0, 5), (1, 2, 3)), field])
    write_transform(composite, tmp_path / "a.h5")
    back = read_transform(tmp_path / "a.h5")
    assert np.allclose(back.TransformPoint((1.0, 1.0, 1.0)), composite.TransformPoint((1.0, 1.0, 1.0)))


def test_syn_undoes_a_known_warp_both_ways(fixed: list[images.Image]) -> None:
    moving = head(IDENTITY, T1, seed=5)
    stretch = images.array_of(moving[0])
    shift = 1.5 * np.sin(np.linspace(0, np.pi, stretch.shape[1]))  # voxels, smooth along front-back
    where = np.indices(stretch.shape).astype(float)
    where[0] += shift[None, :, None]
    warped = [
        images.like(ndimage.map_coordinates(images.array_of(i), where, order=1).astype(np.float32), i) for i in moving
    ]
    warped[1] = images.like((images.array_of(warped[1]) > 0.5).astype(np.uint8), warped[1])
    found = register(fixed[0], warped[0], kind="syn", fixed_mask=fixed[1], moving_mask=warped[1])
    assert found.inverse is not None
    point = (10.0, 20.0, -5.0)
    assert np.allclose(found.inverse.TransformPoint(found.transform.TransformPoint(point)), point, atol=0.7)
    back = sitk.Resample(
        images.to_itk(warped[1]), images.to_itk(fixed[1]), found.transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32
    )
    one, other = images.mask_of(fixed[1]), images.array_of(images.from_itk(back)) > 0.5
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.97


def test_a_small_brain_in_a_large_one_overlaps_fully() -> None:
    """A rigid transform cannot make a child's brain an adult's: what counts is that it lies inside."""
    import SimpleITK as sitk

    from bids_app.steps.registration.similarity import mask_overlap

    distance = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0)
    large, small = (
        images.to_itk(images.new_image((distance < radius).astype(np.float32), np.eye(4))) for radius in (16, 11)
    )
    assert mask_overlap((large, small), sitk.Transform(3, sitk.sitkIdentity)) == 1.0
    aside = sitk.TranslationTransform(3, (11.0, 0.0, 0.0))
    assert mask_overlap((large, small), aside) < 0.8
