"""Likeness of two images and fit of two brains: against independent implementations and geometry that is known."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter
from scipy.stats import pearsonr

from bids_app.steps.images import new_image
from bids_app.steps.quality import Fixed, Head, Measured, brain_edges, measure_atlas, measure_reference, similarity
from bids_app.steps.quality.collect import CannotMeasureError

RNG = np.random.default_rng(0)
SHAPE = (48, 52, 44)
SMOOTH = gaussian_filter(RNG.normal(size=SHAPE), 2)
SMOOTH = (SMOOTH - SMOOTH.min()) / (SMOOTH.max() - SMOOTH.min())
OTHER = np.clip(0.7 * SMOOTH + 0.3 * gaussian_filter(RNG.random(SHAPE), 1), 0, 1)


def test_mutual_information_of_a_table_done_by_hand() -> None:
    one, other = np.array([0, 0, 0, 1, 1, 1, 1, 1]), np.array([0, 0, 1, 0, 1, 1, 1, 1])
    joint = {(0, 0): 2 / 8, (0, 1): 1 / 8, (1, 0): 1 / 8, (1, 1): 4 / 8}
    of_one, of_other = {0: 3 / 8, 1: 5 / 8}, {0: 3 / 8, 1: 5 / 8}
    expected = sum(p * log(p / (of_one[a] * of_other[b])) for (a, b), p in joint.items())
    assert similarity.mutual_information(one, other, bins=2) == pytest.approx(expected)


def test_mutual_information_is_scikit_learn_s_and_the_normalised_one_scikit_image_s() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    skimage = pytest.importorskip("skimage.metrics")
    one, other = SMOOTH.ravel(), OTHER.ravel()
    labels = [np.digitize(each, np.linspace(each.min(), each.max(), 33)[1:-1]) for each in (one, other)]
    assert similarity.mutual_information(one, other) == pytest.approx(metrics.mutual_info_score(*labels), rel=1e-6)
    expected = skimage.normalized_mutual_information(one, other, bins=32)
    assert similarity.normalized_mutual_information(one, other) == pytest.approx(expected, rel=1e-6)


def test_normalised_mutual_information_is_2_for_a_copy_and_1_for_strangers() -> None:
    assert similarity.normalized_mutual_information(SMOOTH, 5 - 3 * SMOOTH) == pytest.approx(2)
    strangers = similarity.normalized_mutual_information(RNG.random(200_000), RNG.random(200_000))
    assert strangers == pytest.approx(1, abs=2e-3)


def test_cross_correlation_is_pearson_s() -> None:
    expected = pearsonr(SMOOTH.ravel(), OTHER.ravel()).statistic
    assert similarity.normalized_cross_correlation(SMOOTH, OTHER) == pytest.approx(expected)
    assert similarity.normalized_cross_correlation(SMOOTH, 1 - SMOOTH) == pytest.approx(-1)
    with pytest.raises(CannotMeasureError):
        similarity.normalized_cross_correlation(SMOOTH, np.ones(SHAPE))


def test_structural_similarity_is_scikit_image_s_in_3d() -> None:
    skimage = pytest.importorskip("skimage.metrics")
    _, expected = skimage.structural_similarity(
        SMOOTH, OTHER, data_range=1.0, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    mask = np.zeros(SHAPE, bool)
    mask[8:-8, 8:-8, 8:-8] = True
    assert similarity.structural_similarity(SMOOTH, OTHER, mask) == pytest.approx(expected[mask].mean(), abs=1e-4)
    assert similarity.structural_similarity(SMOOTH, SMOOTH, mask) == pytest.approx(1, abs=1e-5)


def test_local_correlation_is_a_loop_over_neighbourhoods() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[10:14, 10:14, 10:14] = True
    squares = [
        pearsonr(*(array[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3].ravel() for array in (SMOOTH, OTHER))).statistic
        ** 2
        for i, j, k in np.argwhere(mask)
    ]
    assert similarity.local_correlation(SMOOTH, OTHER, mask) == pytest.approx(np.mean(squares), rel=1e-6)
    assert similarity.local_correlation(SMOOTH, 1 - SMOOTH, mask) == pytest.approx(1)


def _ball(radius: float, centre=(30, 30, 30), shape=(60, 60, 60)):
    grid = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (grid**2).sum(axis=0) <= radius**2


def test_strips_are_five_millimetres_on_either_side() -> None:
    mask = np.zeros((40, 40, 40), bool)
    mask[10:30, 10:30, 10:30] = True
    inside, outside = (strip(mask, (1.0, 1.0, 1.0)) for strip in (brain_edges.strip_inside, brain_edges.strip_outside))
    assert np.flatnonzero(inside[:, 20, 20]).tolist() == [10, 11, 12, 13, 14, 25, 26, 27, 28, 29]
    assert np.flatnonzero(outside[:, 20, 20]).tolist() == [5, 6, 7, 8, 9, 30, 31, 32, 33, 34]
    assert inside.sum() == 20**3 - 10**3


def test_gammas_of_a_brain_that_is_larger_or_smaller_than_the_template() -> None:
    template, everywhere = _ball(20), np.ones((60, 60, 60), bool)
    outside, inside = (
        each(template, (1.0, 1.0, 1.0)) for each in (brain_edges.strip_outside, brain_edges.strip_inside)
    )
    for radius in (17, 20, 23):
        brain = _ball(radius)
        # counted voxel by voxel, from distances to the nearest voxel of the other side
        osbm = np.mean([brain[tuple(v)] for v in np.argwhere(outside)])
        isbm = np.mean([not brain[tuple(v)] for v in np.argwhere(inside)])
        assert brain_edges.gamma_osbm(brain, outside, everywhere) == pytest.approx(osbm)
        assert brain_edges.gamma_isbm(brain, inside, everywhere) == pytest.approx(isbm)
    assert brain_edges.gamma_osbm(_ball(23), outside, everywhere) == pytest.approx(
        (23**3 - 20**3) / (25**3 - 20**3),
        abs=0.05,  # of ideal shells
    )
    assert brain_edges.gamma_isbm(_ball(17), inside, everywhere) == pytest.approx(
        (20**3 - 17**3) / (20**3 - 15**3), abs=0.05
    )
    half = everywhere.copy()
    half[:30] = False
    assert brain_edges.gamma_osbm(_ball(23) & half, outside, half) == pytest.approx(
        brain_edges.gamma_osbm(_ball(23), outside, everywhere), abs=0.02
    )


@pytest.mark.parametrize(("fluid", "tissue"), [(200.0, 100.0), (20.0, 100.0)])
def test_oslv_is_the_share_of_fluid_around_the_ventricles_in_either_contrast(fluid, tissue) -> None:
    ventricles, brain = _ball(8), _ball(25)
    around = brain_edges.strip_outside(ventricles, (1.0, 1.0, 1.0))
    noise = np.random.default_rng(1).normal(0, 4, brain.shape)
    fits = np.where(ventricles, fluid, tissue) + noise
    large = np.where(_ball(11), fluid, tissue) + noise
    assert brain_edges.gamma_oslv(fits, brain, ventricles, around) < 0.01
    share = (_ball(11) & around).sum() / around.sum()
    found = brain_edges.gamma_oslv(large, brain, ventricles, around)
    assert found == pytest.approx(0.69 * share, abs=0.03)  # 69 % of a normal distribution lie above mean - SD / 2


def _head(shift_mm=(0.0, 0.0, 0.0), scale: float = 1.0):
    """A brain of smooth content in 2 mm voxels, and the grid on which it is moved by a known transform."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    brain = _ball(18, (24, 26, 22), SHAPE)
    image = new_image(np.where(brain, 100 + 400 * SMOOTH, 0).astype(np.float32), affine)
    mask = new_image(brain.astype(np.uint8), affine)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((np.eye(3) / scale).ravel().tolist())
    transform.SetCenter((-48.0, -52.0, 44.0))
    transform.SetTranslation([-shift_mm[0], -shift_mm[1], shift_mm[2]])
    return image, mask, transform


def test_a_series_that_is_the_reference_itself_fits_perfectly_and_a_shifted_one_less() -> None:
    image, mask, identity = _head()
    found = {}
    for name, transform in (("same", identity), ("moved", _head((10.0, 0.0, 0.0))[2])):
        measured = Measured()
        measure_reference(measured, Head(image, mask, None, dict), Fixed(image, mask, transform))
        assert not measured.reasons
        found[name] = measured.numbers
    same, moved = found["same"], found["moved"]
    for name in ("nmi", "ncc", "ssim", "local_cc"):
        assert same[f"coregister_{name}"] == pytest.approx(2 if name == "nmi" else 1, abs=1e-3)
        assert moved[f"coregister_{name}"] < same[f"coregister_{name}"] - 0.2
    assert same["mask_reference_dice"] == 1
    assert same["coregister_gamma_osbm"] == same["coregister_gamma_isbm"] == 0
    brain = np.asarray(mask.dataobj) > 0
    assert moved["mask_reference_dice"] == pytest.approx(
        2 * (brain[5:] & brain[:-5]).sum() / (2 * brain.sum()), abs=2e-3
    )


def test_change_of_volume_is_that_of_the_transform() -> None:
    image, mask, larger = _head(scale=1.1)
    measured = Measured()
    measure_atlas(measured, Head(image, mask, None, dict), Fixed(image, mask, larger))
    assert measured.numbers["atlas_volume_change_percent"] == pytest.approx(33.1, abs=1.5)
    assert measured.numbers["atlas_gamma_oslv"] is None
    assert "ventricles" in measured.reasons["atlas_gamma_oslv"]


def test_a_missing_transform_leaves_numbers_without_value_and_the_reason() -> None:
    image, mask, _ = _head()
    measured = Measured()
    measure_reference(measured, Head(image, mask, None, dict), "it is not aligned")
    assert set(measured.numbers.values()) == {None}
    assert set(measured.reasons.values()) == {"it is not aligned"}
    far = _head((500.0, 0.0, 0.0))[2]
    measured = Measured()
    measure_reference(measured, Head(image, mask, None, dict), Fixed(image, mask, far))
    assert set(measured.reasons.values()) == {"the brains do not overlap"}
