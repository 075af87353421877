"""Denoising against known noise: how much of it goes, what becomes of edges, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_app.steps.denoise import denoise
from bids_app.steps.images import ImageError, array_of, like, mask_of, new_image

NOISE = 5.0


def head(spacing, noise=NOISE):
    """Layers of a slab of a brain-like ellipsoid with folds and partial volume, and the same with Rician noise."""
    shape, parts = tuple(int(n) for n in np.ceil(np.array([90, 100, 40]) / spacing)), 3
    points = np.moveaxis(np.indices([n * parts for n in shape]), 0, -1) * (np.array(spacing) / parts) - [45, 50, 20]
    radius = np.sqrt(((points / [36, 42, 40]) ** 2).sum(axis=-1))
    folds = radius + 0.06 * np.sin(points / 6).sum(axis=-1)
    fine = np.select([folds < 0.25, folds < 0.75, radius < 1.0, radius < 1.15], [25.0, 110.0, 75.0, 140.0], 0.0)
    truth = fine.reshape(shape[0], parts, shape[1], parts, shape[2], parts).mean(axis=(1, 3, 5))
    generator = np.random.default_rng(0)
    real, imaginary = (generator.normal(0, noise, shape) for _ in range(2))
    affine = np.diag([*spacing, 1.0])
    image = new_image(np.hypot(truth + real, imaginary).astype(np.float32), affine)
    return truth, image, new_image((truth > 60).astype(np.uint8), affine)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 5.0)])
def test_most_of_the_noise_goes_and_edges_stay_as_steep_as_they_are(spacing) -> None:
    truth, image, mask = head(spacing)
    found = denoise(image, mask, "T1w")
    before, after = array_of(image), array_of(found.image)
    flat = np.ones((3, 3, 3 if spacing[2] == 1 else 1))
    for value in (110, 75):
        tissue = ndimage.binary_erosion(truth == value, flat)
        assert after[tissue].std() < 0.55 * before[tissue].std(), "at least 45 % of the noise"
        assert abs(after[tissue].mean() - value) < 0.01 * value, "and no shift"
    gradients = [np.stack(np.gradient(each, axis=(0, 1))) for each in (truth, after)]
    size = np.sqrt((gradients[0] ** 2).sum(axis=0))
    edge = (size > 8) & (truth > 20)
    slope = (gradients[0] * gradients[1]).sum(axis=0)[edge].sum() / (size[edge] ** 2).sum()
    assert 0.97 < slope < 1.03, "edges neither blurred nor sharpened"
    errors = [np.sqrt(((each - truth)[mask_of(mask)] ** 2).mean()) for each in (before, after)]
    assert errors[1] < 0.7 * errors[0]
    assert 0.7 * NOISE < found.noise_sd < 1.1 * NOISE, "what was taken away is about what had been added"


def test_an_image_with_negative_values_is_denoised_as_the_same_one_without() -> None:
    _, image, mask = head((2.0, 2.0, 2.0))
    array = array_of(image) + np.float32(1)  # UNIT1 is stored from 0 or from -0.5 on
    above, below = (denoise(like(array - np.float32(low), image), mask, "UNIT1") for low in (array.min() - 1, 100.0))
    noise = [one.noise_sd for one in (above, below)]
    assert noise[1] == pytest.approx(noise[0], rel=0.02)
    off = array_of(above.image) + array.min() - 1 - (array_of(below.image) + 100)
    assert np.abs(off[mask_of(mask)]).mean() < 0.1 * noise[0]


def test_patches_stay_in_thick_slices() -> None:
    _, thick, mask = head((1.0, 1.0, 5.0))
    found = denoise(thick, mask)
    assert (found.patch_radius, found.search_radius) == ((2, 2, 0), (5, 5, 0))


def test_the_unit_makes_no_difference_and_zeros_stay() -> None:
    _, image, mask = head((2.0, 2.0, 2.0))
    array = array_of(image).copy()
    array[:, 30:, :8] = 0  # a face that was removed
    one = denoise(like(array, image), mask)
    other = denoise(like(array / np.float32(4096), image), mask)
    np.testing.assert_array_equal(array_of(one.image), array_of(other.image) * 4096)
    assert not array_of(one.image)[:, 30:, :8].any()
    again = denoise(like(array, image), mask)
    assert array_of(again.image).tobytes() == array_of(one.image).tobytes()


def test_the_model_of_the_noise_follows_the_image() -> None:
    _, image, mask = head((2.5, 2.5, 2.5))
    assert denoise(image, mask, "FLAIR").noise_model == "Rician"
    assert denoise(image, mask, "UNIT1").noise_model == "Gaussian"
    signed = like(array_of(image) - 20, image)
    assert denoise(signed, mask, "T1w").noise_model == "Gaussian"


def test_an_empty_brain_mask_is_an_error() -> None:
    _, image, mask = head((4.0, 4.0, 4.0))
    with pytest.raises(ImageError, match="nothing to be denoised"):
        denoise(image, like(np.zeros_like(mask_of(mask), np.uint8), mask))
