"""The air around a head: its mask, and what is computed in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import rayleigh

from bids_app.steps.images import new_image
from bids_app.steps.quality import air
from bids_app.steps.quality.collect import CannotMeasureError

SHAPE = (60, 60, 60)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def ball(radius: float, centre=(30, 30, 34)):
    """A ball of voxels."""
    i, j, k = np.indices(SHAPE)
    return (i - centre[0]) ** 2 + (j - centre[1]) ** 2 + (k - centre[2]) ** 2 < radius**2


def head(noise: float = 4.0):
    """Brain of 100 (radius 14 voxels), dark skull, scalp of 150 to radius 20, neck below; Rayleigh noise in the air."""
    array = rayleigh.rvs(scale=noise, size=SHAPE, random_state=0).astype(np.float32) if noise else np.zeros(SHAPE)
    scalp, brain = ball(20), ball(14)
    neck = np.zeros(SHAPE, bool)
    neck[24:36, 24:36, :20] = True
    array = np.where(scalp | neck, 150, array)
    array = np.where(ball(18), 5, array)
    array = np.where(brain, 100, array).astype(np.float32)
    return new_image(array, AFFINE), new_image(brain.astype(np.uint8), AFFINE), scalp | neck


def test_air_mask_is_all_outside_and_nothing_of_the_head() -> None:
    image, brain, inside = head()
    mask = air.surroundings(image, brain).air
    assert not (mask & inside).any()
    upper = np.zeros(SHAPE, bool)
    upper[:, :, 24:] = True
    far = ~ball(26) & upper  # 18 mm outside the scalp
    assert mask[far].mean() > 0.99
    assert not mask[:, :, :18].any()  # beside the neck there are ghosts


def test_air_that_was_set_to_zero_is_not_taken_for_air() -> None:
    image, brain, _ = head(noise=0)
    with pytest.raises(CannotMeasureError, match="set to 0"):
        air.surroundings(image, brain)


def test_a_field_of_view_without_air_says_so() -> None:
    image, brain, _ = head()
    window = tuple(slice(16, 46) for _ in range(3))
    tight = new_image(np.asarray(image.dataobj)[window], AFFINE)
    with pytest.raises(CannotMeasureError, match="no air"):
        air.surroundings(tight, new_image(np.asarray(brain.dataobj)[window], AFFINE))


def test_padding_beside_true_air_is_left_out() -> None:
    image, brain, _ = head()
    array = np.asarray(image.dataobj).copy()
    array[:6] = 0
    mask = air.surroundings(new_image(array, AFFINE), brain).air
    assert mask.any()
    assert not mask[:5].any()


def test_efc_is_0_for_one_bright_voxel_and_1_for_equal_ones() -> None:
    one = np.zeros((8, 8, 8))
    one[3, 3, 3] = 7
    assert air.efc(one) == pytest.approx(0, abs=1e-7)
    assert air.efc(np.full((8, 8, 8), 3.0)) == pytest.approx(1, abs=1e-6)


def test_efc_is_the_formula_written_as_a_loop() -> None:
    values = np.random.default_rng(2).gamma(2, 20, (5, 6, 7))
    energy = math.sqrt(sum(x * x for x in values.flat))
    entropy = -sum(x / energy * math.log(x / energy) for x in values.flat)
    n = values.size
    assert air.efc(values) == pytest.approx(entropy / (math.sqrt(n) * math.log(math.sqrt(n))), rel=1e-5)
    assert air.efc(-values) == air.efc(values)


def test_fber_is_the_ratio_of_median_energies() -> None:
    image = np.array([[[10.0, 20.0, 30.0, 1.0, 2.0, 3.0]]])
    outside = np.array([[[False, False, False, True, True, True]]])
    assert air.fber(image, outside, ~outside) == pytest.approx(400 / 4)
    with pytest.raises(CannotMeasureError, match="air is 0"):
        air.fber(np.where(outside, 0, image), outside, ~outside)


def test_fber_does_not_hang_on_how_much_air_or_neck_is_in_the_field_of_view() -> None:
    image, brain, inside = head()
    whole = np.asarray(image.dataobj)
    found = []
    for window in (slice(0, None), slice(16, None)):  # with the neck and without
        part = new_image(whole[:, :, window], AFFINE)
        around = air.surroundings(part, new_image(np.asarray(brain.dataobj)[:, :, window], AFFINE))
        assert (around.head & ~inside[:, :, window]).sum() < 0.2 * around.head.sum()  # blocks of 4 mm at the rim
        found.append(air.fber(whole[:, :, window], around.air, around.head))
    padded = new_image(np.pad(whole, 12), AFFINE)
    around = air.surroundings(padded, new_image(np.pad(np.asarray(brain.dataobj), 12), AFFINE))
    found.append(air.fber(np.asarray(padded.dataobj), around.air, around.head))
    assert found == pytest.approx([found[0]] * 3, rel=0.1)


@pytest.mark.parametrize("slices", [24, 25, 32])
def test_a_sample_is_of_all_slices_whatever_the_matrix(slices: int) -> None:
    number = np.broadcast_to(np.arange(slices, dtype=np.uint8), (512, 512, slices)).ravel()
    found = np.bincount(air.sample(number), minlength=slices)
    assert found.min() > 0.9 * found.mean()


def test_artefacts_are_clusters_far_above_the_noise() -> None:
    image, brain, _ = head()
    mask = air.surroundings(image, brain).air
    array = np.asarray(image.dataobj).copy()
    assert air.artefact_share(array, mask) == 0
    array[2, 30, 50] = 500  # a single spike is not a cluster
    assert air.artefact_share(array, mask) == 0
    array[2:7, 28:33, 48:53] = 80  # a ghost: an opening leaves of a cube of 5 all but its edges
    left = 5**3 - 12 * 5 + 2 * 8
    assert air.artefact_share(array, mask) == pytest.approx(left / mask.sum())
