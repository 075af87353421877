"""N4 against a known field."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.steps.bias_field import N4Settings, bias_field, correct, n4_settings
from bids_app.steps.images import ImageError, array_of, new_image

FAST = N4Settings(shrink_mm=8.0, iterations=(20, 20))


def phantom(spacing=(3.0, 3.0, 3.0)):
    """A brain-sized ellipsoid of white, grey and fluid layers in a bright scalp, times a smooth known field."""
    shape = tuple(int(n) for n in np.ceil(np.array([190, 220, 180]) / spacing))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-95, -110, -90]
    points = np.moveaxis(np.indices(shape), 0, -1) * spacing + affine[:3, 3]
    radius = np.sqrt(((points / [70, 85, 65]) ** 2).sum(axis=-1))
    folds = radius + 0.06 * np.sin(points / 7).sum(axis=-1)
    truth = np.select([folds < 0.25, folds < 0.75, radius < 1.0, radius < 1.15], [25.0, 110.0, 75.0, 140.0], 0.0)
    brain = radius < 1.0
    log_field = 0.15 * (np.sin(points[..., 0] / 60 + 0.4) + points[..., 1] / 90 - (points[..., 2] / 80) ** 2)
    log_field -= log_field[brain].mean()
    noise = np.random.default_rng(0).normal(0, 2, shape)
    image = new_image(np.where(truth > 0, truth * np.exp(log_field) + noise, 0).astype(np.float32), affine)
    return image, new_image(brain.astype(np.uint8), affine), log_field, brain, truth == 110


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (3.0, 3.0, 5.5)])
def test_the_known_field_is_found_and_removed(spacing) -> None:
    image, mask, log_field, brain, white = phantom(spacing)
    field = bias_field(image, mask, FAST)
    found = np.log(array_of(field))
    assert np.corrcoef(found[brain], log_field[brain])[0, 1] > 0.97
    assert abs(found[brain].mean(dtype=float)) < 1e-4, "geometric mean 1 in the brain"
    before, after = array_of(image)[white], array_of(correct(image, field))[white]
    assert after.std() / after.mean() < 0.6 * before.std() / before.mean()


def test_outside_the_brain_the_field_keeps_to_the_range_around_it() -> None:
    image, mask, _, brain, _ = phantom()
    field = array_of(bias_field(image, mask, N4Settings(shrink_mm=8.0, iterations=(20, 20), dilation_mm=0.0)))
    assert field.shape == image.shape
    assert field.dtype == np.float32
    assert field.min() >= field[brain].min()
    assert field.max() <= field[brain].max()


def test_zeros_and_negative_voxels_do_no_harm_and_gain_makes_no_difference() -> None:
    image, mask, log_field, brain, _ = phantom()
    array = array_of(image).copy()
    array[::5, ::7, ::3] = 0
    array[1::5, ::7, ::3] = -40
    field = bias_field(new_image(array * 0.01, image.affine), mask, FAST)
    found = np.log(array_of(field))
    assert np.isfinite(found).all()
    assert np.corrcoef(found[brain], log_field[brain])[0, 1] > 0.97


def test_same_input_same_bytes() -> None:
    image, mask, *_ = phantom()
    assert array_of(bias_field(image, mask, FAST)).tobytes() == array_of(bias_field(image, mask, FAST)).tobytes()


def test_settings_follow_the_contrast() -> None:
    assert n4_settings("T1w", contrast_agent=True).dilation_mm == 0
    assert n4_settings("T1w").dilation_mm > 0
    assert sum(n4_settings("FLAIR").iterations) < sum(n4_settings("T1w").iterations)


def test_a_useless_mask_is_said() -> None:
    image, _, *_ = phantom()
    with pytest.raises(ImageError, match="empty"):
        bias_field(image, new_image(np.zeros(image.shape, np.uint8), image.affine), FAST)
    with pytest.raises(ImageError, match="shape"):
        bias_field(image, new_image(np.ones((3, 3, 3), np.uint8), np.eye(4)), FAST)
    tiny = np.zeros(image.shape, np.uint8)
    tiny[30:33, 30:33, 30:33] = 1
    with pytest.raises(ImageError, match="usable"):
        bias_field(image, new_image(tiny, image.affine), FAST)


@pytest.mark.parametrize("size", [(27, 27, 27), (110, 130, 5)])
def test_a_small_brain_and_a_slab_of_few_slices_have_a_field(size) -> None:
    """In every sixth voxel of 1 mm a preterm brain of 80 ml would be too small to have one."""
    points = np.moveaxis(np.indices(size), 0, -1) - np.array(size) / 2
    inside = np.linalg.norm(points / np.array(size) * [2, 2, 1], axis=-1) < 1
    truth = np.where(np.sin(points / 4).sum(axis=-1) > 0, 110.0, 75.0)
    log_field = 0.3 * points[..., 0] / size[0] * inside
    image = new_image((truth * np.exp(log_field) * inside).astype(np.float32), np.eye(4))
    found = np.log(array_of(bias_field(image, new_image(inside.astype(np.uint8), np.eye(4)), n4_settings("T1w"))))
    assert np.corrcoef(found[inside], log_field[inside])[0, 1] > 0.9
