"""Signal, noise and contrast: arrays whose answers are known, and the same formulas written anew."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from scipy.stats import median_abs_deviation, rayleigh

from bids_app.steps.quality import contrast
from bids_app.steps.quality.collect import CannotMeasureError

RNG = np.random.default_rng(0)
GREY, WHITE = RNG.normal(70, 7, 5000), RNG.normal(110, 5, 4000)
AIR = rayleigh.rvs(scale=3.0, size=200_000, random_state=1)


def test_snr_of_a_list_small_enough_to_do_by_hand() -> None:
    # median 4, squared deviations from the mean 4 sum up to 10, over n - 1 = 4
    assert contrast.snr(np.array([2, 3, 4, 5, 6])) == pytest.approx(4 / np.sqrt(10 / 4))


def test_snr_is_mriqc_s_median_over_sd_with_its_correction() -> None:
    n = GREY.size
    assert contrast.snr(GREY) == pytest.approx(statistics.median(GREY) / (np.std(GREY) * np.sqrt(n / (n - 1))))


def test_mad_is_that_of_scipy_scaled_to_the_normal_distribution() -> None:
    assert contrast.mad(GREY) == pytest.approx(median_abs_deviation(GREY, scale="normal"), rel=1e-4)


def test_dietrich_snr_gives_back_the_noise_that_rayleigh_air_was_made_with() -> None:
    """Of true SNR 100 / 3. (The MAD of a Rayleigh distribution is 0.6551 x its scale times 1.014: by simulation.)"""
    assert pytest.approx(0.6551364, abs=1e-6) == contrast.DIETRICH
    assert contrast.snr_dietrich(np.full(10, 100.0), AIR) == pytest.approx(100 / 3, rel=0.03)
    sd = contrast.sd(AIR)
    assert contrast.DIETRICH * 100 / sd == pytest.approx(100 / 3, rel=0.01)  # with the SD, the paper's own formula


def test_the_two_other_definitions_have_their_own_names() -> None:
    assert contrast.snr_brain_over_air(WHITE, AIR) == pytest.approx(WHITE.mean() / AIR.std(ddof=1))
    assert contrast.cnr_over_grey_sd(WHITE, GREY) == pytest.approx((WHITE.mean() - GREY.mean()) / GREY.std(ddof=1))


def test_cnr_and_cjv() -> None:
    distance = np.median(WHITE) - np.median(GREY)
    noise = np.sqrt(AIR.var(ddof=1) + WHITE.var(ddof=1) + GREY.var(ddof=1))
    assert contrast.cnr(WHITE, GREY, AIR) == pytest.approx(distance / noise)
    spread = median_abs_deviation(WHITE, scale="normal") + median_abs_deviation(GREY, scale="normal")
    assert contrast.cjv(WHITE, GREY) == pytest.approx(spread / distance, rel=1e-4)
    assert contrast.cjv(WHITE, GREY) == pytest.approx((5 + 7) / 40, rel=0.05)  # of the distributions themselves
    assert contrast.cnr(WHITE, GREY, AIR) == contrast.cnr(GREY, WHITE, AIR)


def test_cv_and_wm2max() -> None:
    assert contrast.coefficient_of_variation(np.array([1.0, 3.0])) == pytest.approx(np.sqrt(2) / 2)
    image = np.linspace(0, 1000, 100_001)
    assert contrast.wm2max(np.array([499.75]), image) == pytest.approx(499.75 / 999.5)


@pytest.mark.parametrize(
    ("compute", "told"),
    [
        (lambda: contrast.snr(np.full(9, 5.0)), "one intensity"),
        (lambda: contrast.snr_dietrich(GREY, np.zeros(9)), "no noise"),
        (lambda: contrast.cjv(GREY, GREY), "one median"),
        (lambda: contrast.coefficient_of_variation(np.array([-1.0, 1.0])), "mean is 0"),
    ],
)
def test_what_has_no_value_says_why(compute, told) -> None:
    with pytest.raises(CannotMeasureError, match=told):
        compute()
