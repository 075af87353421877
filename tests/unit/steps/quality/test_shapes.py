"""Voxels, field of view, mask geometry, sharpness: known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_app.steps.images import new_image
from bids_app.steps.quality import shapes, sharpness
from bids_app.steps.quality.collect import CannotMeasureError
from bids_app.steps.quality.grids import block_mean, blocks, shrunk, spread

SPACING = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("spacing", "ratio", "name"),
    [((1, 1, 1), 1, "isotropic"), ((1, 1.001, 1), 1.001, "isotropic"), ((1, 1, 1.5), 1.5, "mild"),
     ((0.5, 0.5, 5), 10, "high"), ((1, 1, 2), 2, "high")],
)  # fmt: skip
def test_anisotropy_classes(spacing, ratio, name) -> None:
    assert shapes.anisotropy_ratio(spacing) == pytest.approx(ratio)
    assert shapes.anisotropy_class(shapes.anisotropy_ratio(spacing)) == name


def test_a_mask_that_is_cut_says_where_and_how_much() -> None:
    mask = np.zeros((10, 10, 10), bool)
    mask[3:, 4:6, :5] = True  # reaches the right and the lower end
    areas = shapes.cut_areas_cm2(mask, SPACING)
    assert areas == {
        "left": 0, "right": pytest.approx(2 * 5 * 2 * 4 / 100), "posterior": 0, "anterior": 0,
        "inferior": pytest.approx(7 * 2 * 1 * 2 / 100), "superior": 0,
    }  # fmt: skip


def test_edge_share_counts_surface_voxels() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[3:6, 3:6, 3:6] = True
    assert shapes.edge_share(mask) == 0
    mask = np.zeros((9, 9, 9), bool)
    mask[0:3, 3:6, 3:6] = True  # 26 surface voxels, 9 of them in the first slice
    assert shapes.edge_share(mask) == pytest.approx(9 / 26)
    with pytest.raises(CannotMeasureError):
        shapes.edge_share(np.zeros((4, 4, 4), bool))


def test_smoothness_is_high_for_a_ball_and_falls_with_spikes() -> None:
    grid = np.indices((60, 60, 60)) - 30
    ball = (grid**2).sum(axis=0) < 22**2
    smooth = shapes.smoothness(ball, (1, 1, 1))
    noise = np.random.default_rng(0).random(ball.shape)
    rough = shapes.smoothness(ball ^ (noise < 0.15), (1, 1, 1))
    assert smooth > 0.975  # a small ball loses some of its curved edge
    assert rough < smooth - 0.05


def test_dice_of_known_sets() -> None:
    one, other = np.zeros(10, bool), np.zeros(10, bool)
    one[:6], other[4:8] = True, True
    assert shapes.dice(one, other) == pytest.approx(2 * 2 / 10)
    with pytest.raises(CannotMeasureError):
        shapes.dice(one & False, other & False)


def test_fwhm_is_the_blur_that_noise_was_given() -> None:
    noise = np.random.default_rng(3).normal(size=(70, 70, 70))
    fwhm = (6.0, 8.0, 12.0)
    smooth = gaussian_filter(noise, [width / 2.35482 / edge for width, edge in zip(fwhm, SPACING, strict=True)])
    mask = np.zeros(noise.shape, bool)
    mask[5:-5, 5:-5, 5:-5] = True
    assert sharpness.fwhm_mm(sharpness.Texture.of(smooth, mask, SPACING)) == pytest.approx(np.mean(fwhm), rel=0.05)
    with pytest.raises(CannotMeasureError):
        sharpness.fwhm_mm(sharpness.Texture.of(np.zeros_like(noise), mask, SPACING))


def test_sharpness_is_the_slope_of_a_ramp_over_its_sd_and_falls_with_blur() -> None:
    ramp = np.broadcast_to(np.arange(12.0)[:, None, None] * 3, (12, 12, 12))
    everywhere = np.ones(ramp.shape, bool)
    # 3 a voxel of 1 mm; the SD of 0..11 is sqrt((144 - 1) / 12)
    assert sharpness.sharpness(sharpness.Texture.of(ramp, everywhere, SPACING)) == pytest.approx(1 / np.sqrt(143 / 12))
    noise = np.random.default_rng(4).normal(size=(30, 30, 30))
    blurred = gaussian_filter(noise, 1)
    mask = np.ones(noise.shape, bool)
    sharp = sharpness.sharpness(sharpness.Texture.of(noise, mask, (1, 1, 1)))
    assert sharp == pytest.approx(np.sqrt(6), rel=0.02)  # three axes, differences of independent values: variance 2
    assert sharpness.sharpness(sharpness.Texture.of(blurred, mask, (1, 1, 1))) < sharp / 1.5
    assert sharpness.sharpness(sharpness.Texture.of(1000 * noise, mask, (1, 1, 1))) == pytest.approx(sharp)


def test_blocks_keep_means_and_places() -> None:
    array = np.random.default_rng(5).random((9, 8, 7)).astype(np.float32)
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    assert blocks((1.0, 1.0, 4.0), array.shape, 2.0) == (2, 2, 1)
    coarse = shrunk(new_image(array, affine), 2.0)
    assert coarse.shape == (4, 4, 7)
    assert np.asarray(coarse.dataobj)[1, 2, 3] == pytest.approx(array[2:4, 4:6, 3].mean(), rel=1e-6)
    assert np.allclose(coarse.affine @ [1, 2, 3, 1], affine @ [2.5, 4.5, 3, 1])
    back = spread(block_mean(array, (2, 2, 1)), (2, 2, 1), array.shape)
    assert back[2, 4, 3] == back[3, 5, 3] == np.asarray(coarse.dataobj)[1, 2, 3]
    assert not back[8].any()  # no whole block there
