"""Resampling: grids over the same box, the order of transforms, exact values, no ringing, labels kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_app.steps.images import ImageError, array_of, new_image
from bids_app.steps.resampling import Grid, resample, resample_labels, resample_mask

sitk = pytest.importorskip("SimpleITK")

OBLIQUE = np.array([[1.9, -0.3, 0.1, -20.0], [0.4, 1.4, -0.2, 5.0], [-0.1, 0.25, 2.9, 7.0], [0, 0, 0, 1.0]])


def oblique(spacing: tuple[float, float, float]) -> np.ndarray:
    left, _, right = np.linalg.svd(OBLIQUE[:3, :3])
    affine = OBLIQUE.copy()
    affine[:3, :3] = left @ right * spacing
    return affine


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """2x - 3y + z + 500 of the world coordinate (RAS mm): linear interpolation reproduces it exactly."""
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return (points @ [2.0, -3.0, 1.0] + 500).astype(np.float32)


def test_another_spacing_covers_the_same_box() -> None:
    image = new_image(np.zeros((20, 30, 10), np.float32), oblique((1.0, 1.5, 5.0)))
    grid = Grid.isotropic(image, 1.0)
    assert grid.shape == (20, 45, 50)
    np.testing.assert_allclose(grid.spacing_mm, 1.0)
    for corner in ([0, 0, 0], [1, 1, 1]):
        old = image.affine @ [*(np.array(corner) * image.shape - 0.5), 1]
        new = grid.affine @ [*(np.array(corner) * grid.shape - 0.5), 1]
        np.testing.assert_allclose(new, old, atol=1e-6)


def test_box_that_is_no_multiple_keeps_its_centre_and_is_covered() -> None:
    image = new_image(np.zeros((7, 7, 7), np.float32), np.diag([1.1, 1.1, 1.1, 1]))
    grid = Grid.isotropic(image, 2.0)
    assert grid.shape == (4, 4, 4)
    np.testing.assert_allclose(grid.affine @ [1.5, 1.5, 1.5, 1], image.affine @ [3, 3, 3, 1])


@pytest.mark.parametrize("interpolation", ["linear", "bspline", "lanczos"])
def test_a_ramp_is_reproduced_on_an_oblique_grid(interpolation) -> None:
    affine = oblique((1.0, 1.2, 3.0))
    image = new_image(ramp((40, 40, 30), affine), affine)
    inner = Grid((8, 8, 8), np.array(affine @ np.array(
        [[0.5, 0, 0, 16.3], [0, 0.5, 0, 16.2], [0, 0, 0.5, 12.1], [0, 0, 0, 1]])))  # fmt: skip
    result = resample(image, inner, interpolation=interpolation)
    tolerance = {"linear": 1e-3, "bspline": 0.05, "lanczos": 1.5}[interpolation]  # a windowed sinc ripples on a slope
    np.testing.assert_allclose(array_of(result), ramp(inner.shape, inner.affine), atol=tolerance)


def test_same_grid_without_transforms_is_the_same_image() -> None:
    image = new_image(np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32), oblique((1.0, 2.0, 3.0)))
    assert np.array_equal(array_of(resample(image, Grid.of(image))), array_of(image))


def test_transforms_apply_from_output_to_input_in_the_order_given() -> None:
    """Rotate by 90 degrees about z, then translate: an output point p samples the input at R p + t (LPS)."""
    rotation = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.0, 0.0, np.pi / 2)
    shift = sitk.TranslationTransform(3, (3.0, 0.0, 0.0))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])  # voxel index = LPS mm
    lps[:2, 3] = [10, 10]
    data = np.zeros((21, 21, 3), np.float32)
    data[:, :, 1] = np.arange(441).reshape(21, 21)
    image = new_image(data, lps)
    result = array_of(resample(image, Grid.of(image), [rotation, shift]))
    p = np.array([2.0, 4.0])  # RAS mm of voxel (8, 6) is (2, 4); LPS is (-2, -4)
    x, y = -p
    rotated = np.array([-y, x])  # a quarter turn, counter-clockwise in LPS
    target = rotated + np.array([3.0, 0.0])
    assert target.tolist() == [7.0, -2.0]
    i, j = (10 + target).astype(int)  # index = LPS mm + 10
    assert i == 17
    assert j == 8
    assert result[8, 6, 1] == pytest.approx(data[17, 8, 1], abs=1e-3)


def test_one_interpolation_a_shift_there_and_back_changes_nothing() -> None:
    data = np.random.default_rng(1).uniform(size=(12, 12, 12)).astype(np.float32)
    image = new_image(data, np.eye(4))
    there, back = sitk.TranslationTransform(3, (0.5, 0.3, 0.2)), sitk.TranslationTransform(3, (-0.5, -0.3, -0.2))
    np.testing.assert_allclose(array_of(resample(image, Grid.of(image), [there, back])), data, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["linear", "bspline", "lanczos"])
def test_no_ringing_leaves_the_range_of_the_input(interpolation) -> None:
    data = np.zeros((16, 16, 16), np.float32)
    data[8:, :, :] = 1000
    image = new_image(data, np.eye(4))
    result = array_of(resample(image, Grid.isotropic(image, 0.7), interpolation=interpolation))
    assert result.min() >= 0
    assert result.max() <= 1000
    assert result.dtype == np.float32


def test_beyond_the_image_is_zero() -> None:
    image = new_image(np.full((4, 4, 4), 7, np.float32), np.eye(4))
    grid = Grid((10, 4, 4), np.eye(4))
    result = array_of(resample(image, grid))
    assert (result[:4] == 7).all()
    assert (result[5:] == 0).all()


def test_masks_and_labels_keep_their_values_and_types() -> None:
    labels = np.zeros((10, 10, 10), np.int16)
    labels[2:5], labels[5:8] = 17, 2035
    image = new_image(labels, np.eye(4))
    grid = Grid.isotropic(image, 0.6)
    result = np.asanyarray(resample_labels(image, grid).dataobj)
    assert result.dtype == np.int16
    assert np.unique(result).tolist() == [0, 17, 2035]
    mask = np.asanyarray(resample_mask(image, grid).dataobj)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, result > 0)
    double = Grid.isotropic(image, 0.5)
    exact = np.asanyarray(resample_labels(image, double).dataobj)
    assert np.array_equal(exact, labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_labels_must_be_whole_and_spacing_positive() -> None:
    image = new_image(np.full((3, 3, 3), 0.5, np.float32), np.eye(4))
    with pytest.raises(ImageError, match="whole"):
        resample_labels(image, Grid.of(image))
    with pytest.raises(ImageError, match="no grid"):
        Grid.isotropic(image, 0.0)


def test_a_label_between_voxels_is_the_one_with_the_most_weight() -> None:
    rng = np.random.default_rng(4)
    array = ndimage.zoom(rng.integers(0, 5, (5, 6, 5)), 3, order=0).astype(np.uint8)
    image = new_image(array, np.diag([2.0, 2.0, 2.0, 1.0]))
    fine = Grid.of(image).with_spacing((1.3, 1.3, 1.3))
    found = np.asanyarray(resample_labels(image, fine).dataobj)
    matrix = np.linalg.inv(image.affine) @ fine.affine
    weights = np.stack([
        ndimage.affine_transform((array == label).astype(float), matrix[:3, :3], matrix[:3, 3], fine.shape, order=1)
        for label in range(5)
    ])  # fmt: skip
    clear = np.diff(np.sort(weights, axis=0)[-2:], axis=0)[0] > 1e-6  # ties have no right answer
    inside = tuple(slice(2, -2) for _ in range(3))  # at the border ITK reaches half a voxel further
    assert clear[inside].mean() > 0.9
    assert (found == weights.argmax(axis=0))[inside][clear[inside]].all()
