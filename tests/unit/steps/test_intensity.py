"""Normalisers against intensities of known distribution."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bids_app.steps.images import Image, ImageError, new_image
from bids_app.steps.intensity import METHODS, NYUL_PERCENTS, Normalization, fit, nyul_landmarks, nyul_standard

SHAPE = (40, 40, 40)


def head(seed: int = 0, scale: float = 1.0, shift: float = 0.0):
    """Brain of 40 % grey matter N(70, 8), 45 % white matter N(110, 5) and fluid N(25, 6); bright fat outside."""
    rng = np.random.default_rng(seed)
    brain = np.zeros(SHAPE, bool)
    brain[5:35, 5:35, 5:35] = True
    kinds = rng.choice(3, size=brain.sum(), p=[0.4, 0.45, 0.15])
    values = rng.normal(np.array([70, 110, 25])[kinds], np.array([8, 5, 6])[kinds])
    array = np.full(SHAPE, 300.0)
    array[brain] = values
    image = new_image((array * scale + shift).astype(np.float32), np.eye(4))
    return image, new_image(brain.astype(np.uint8), np.eye(4)), brain


def test_zscore_gives_mean_0_and_sd_1_even_far_from_zero() -> None:
    image, mask, brain = head(shift=20000.0)
    result = fit("zscore", image, mask).apply(image.dataobj)
    assert result.dtype == np.float32
    assert abs(result[brain].mean(dtype=float)) < 1e-4
    assert abs(result[brain].std(dtype=float) - 1) < 1e-4


@pytest.mark.parametrize(("method", "percents"), [("minmax", (0, 100)), ("percentile", (1, 99))])
def test_ranges_map_to_0_and_1_and_clip(method, percents) -> None:
    image, mask, brain = head()
    result = fit(method, image, mask).apply(image.dataobj)
    low, high = np.percentile(np.asarray(image.dataobj)[brain], percents)
    middle = (np.asarray(image.dataobj)[20, 20, 20] - low) / (high - low)
    assert result[20, 20, 20] == pytest.approx(middle, abs=1e-5)
    assert result.min() == 0
    assert (result[~brain] == 1).all()


def test_whitestripe_finds_white_matter_of_t1w_though_grey_matter_is_more() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(70, 7, 78_000), rng.normal(110, 4, 30_000), rng.uniform(140, 200, 2_000)])
    image = new_image(values.astype(np.float32).reshape(-1, 10, 10), np.eye(4))
    mask = new_image(np.ones(image.shape, np.uint8), np.eye(4))
    t1w = fit("whitestripe", image, mask, contrast="T1w")
    assert t1w.parameters["shift"] == pytest.approx(110, abs=1)
    assert t1w.parameters["fallback"] == 0
    flair = fit("whitestripe", image, mask, contrast="FLAIR")  # its largest mode is the grey matter's
    assert flair.parameters["mode"] == pytest.approx(70, abs=2)


def test_gaussian_mixture_recovers_the_higher_peak() -> None:
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.normal(110, 5, 60_000), rng.normal(70, 10, 40_000)])
    image = new_image(values.astype(np.float32).reshape(-1, 10, 10), np.eye(4))
    fitted = fit("gaussianmixture", image, new_image(np.ones(image.shape, np.uint8), np.eye(4)))
    assert fitted.parameters["fallback"] == 0
    assert fitted.parameters["shift"] == pytest.approx(110, abs=0.3)
    assert fitted.parameters["scale"] == pytest.approx(5, rel=0.05)
    assert sorted(fitted.parameters["gaussians"][1::3]) == pytest.approx([70, 110], abs=1)


@pytest.mark.parametrize("method", ["zscore", "minmax", "percentile", "whitestripe", "gaussianmixture"])
def test_the_scanner_s_gain_and_offset_make_no_difference(method) -> None:
    image, mask, brain = head()
    other, _, _ = head(scale=13.0, shift=40.0)
    one = fit(method, image, mask).apply(image.dataobj)[brain]
    two = fit(method, other, mask).apply(other.dataobj)[brain]
    np.testing.assert_allclose(one, two, atol=0.03)


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 1e9])
@pytest.mark.parametrize("method", METHODS)
def test_nor_does_the_unit(method, scale) -> None:
    """A map in m^2/s is a billion times smaller than one in 1e-9 m^2/s."""
    image, mask, _ = head()
    other, _, _ = head(scale=scale)
    one, two = fit(method, image, mask).parameters, fit(method, other, mask).parameters
    assert two.get("fallback", 0) == one.get("fallback", 0) == 0
    for name in ("shift", "scale"):
        assert two[name] / scale == pytest.approx(one[name], rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_parameters_survive_json_and_make_the_same_mapping(method) -> None:
    image, mask, _ = head()
    fitted = fit(method, image, mask)
    again = Normalization(fitted.method, json.loads(json.dumps(dict(fitted.parameters))))
    assert np.array_equal(again.apply(image.dataobj), fitted.apply(image.dataobj))


def test_nyul_maps_every_image_s_landmarks_to_the_standard_scale() -> None:
    heads = [head(seed, scale) for seed, scale in ((0, 1.0), (1, 7.0), (2, 0.3))]
    standard = nyul_standard([nyul_landmarks(image, mask) for image, mask, _ in heads])
    assert standard[0] == 0
    assert standard[-1] == pytest.approx(100)
    for image, mask, brain in heads:
        result = fit("nyul", image, mask, standard=standard).apply(image.dataobj)
        np.testing.assert_allclose(np.percentile(result[brain], NYUL_PERCENTS), standard, atol=0.1)


def test_nyul_goes_on_with_the_outer_slopes() -> None:
    mapping = Normalization("nyul", {"landmarks": [0.0, 10.0, 20.0], "standard": [0.0, 20.0, 100.0]})
    assert mapping.apply(np.array([-5.0, 5.0, 15.0, 25.0])).tolist() == [-10.0, 10.0, 60.0, 140.0]


@pytest.mark.parametrize("method", METHODS)
def test_no_brain_or_a_constant_one_is_said(method) -> None:
    image, mask, _ = head()
    with pytest.raises(ImageError, match="empty"):
        fit(method, image, new_image(np.zeros(SHAPE, np.uint8), np.eye(4)))
    with pytest.raises(ImageError, match="same value"):
        fit(method, new_image(np.full(SHAPE, 3, np.float32), np.eye(4)), mask)
    with pytest.raises(ImageError, match="shape"):
        fit(method, image, new_image(np.ones((3, 3, 3), np.uint8), np.eye(4)))


def test_whole_numbers_of_few_grey_levels_still_normalise() -> None:
    rng = np.random.default_rng(5)
    array = rng.choice([10, 11, 12, 30], size=SHAPE, p=[0.1, 0.1, 0.7, 0.1]).astype(np.float32)
    mask = new_image(np.ones(SHAPE, np.uint8), np.eye(4))
    for method in METHODS:
        result = fit(method, new_image(array, np.eye(4)), mask).apply(array)
        assert np.isfinite(result).all(), method
        assert result.std() > 0, method


def test_unknown_methods_and_a_missing_scale_are_refused() -> None:
    image, mask, _ = head()
    with pytest.raises(ValueError, match="choose from"):
        fit("magic", image, mask)
    with pytest.raises(ValueError, match="standard scale"):
        fit("nyul", image, mask)


def _values(*parts: tuple[float, float, int]) -> tuple[Image, Image]:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(mean, sd, count) for mean, sd, count in parts]).astype(np.float32)
    image = new_image(values.reshape(-1, 100, 100 // 10), np.eye(4))
    return image, new_image(np.ones(image.shape, np.uint8), np.eye(4))


@pytest.mark.parametrize("lesion", [0, 4000, 20_000])
def test_gaussian_mixture_takes_the_higher_peak_whatever_the_lesion(lesion: int) -> None:
    found = fit("gaussianmixture", *_values((300.0, 30.0, 60_000), (90.0, 25.0, 12_000), (620.0, 60.0, lesion)))
    assert found.parameters["fallback"] == 0
    assert found.parameters["shift"] == pytest.approx(300, rel=0.02)
    assert found.parameters["scale"] == pytest.approx(30, rel=0.1)
    moved = found.apply(np.array([300.0, 330.0]))
    np.testing.assert_allclose(moved, [0, 1], atol=0.2)


def test_gaussian_mixture_says_when_there_is_one_peak_only() -> None:
    found = fit("gaussianmixture", *_values((300.0, 30.0, 60_000)))
    assert found.parameters["fallback"] == 1
    assert found.parameters["shift"] == pytest.approx(300, rel=0.02)
    assert found.parameters["scale"] == pytest.approx(30, rel=0.1)
