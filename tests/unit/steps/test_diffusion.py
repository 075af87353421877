"""Diffusion arithmetic against signals of known tensors."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.steps.diffusion import (
    adc_unit,
    agreement,
    apparent_diffusion,
    b0_volumes,
    clinical_shell,
    mean_b0,
    trace_image,
)
from bids_app.steps.images import ImageError


def test_adc_is_positive_and_in_mm2_per_second() -> None:
    adc = np.array([0.4e-3, 0.7e-3, 3.0e-3]).reshape(3, 1, 1)
    b0 = np.array([900.0, 500.0, 2000.0]).reshape(3, 1, 1)
    found = apparent_diffusion(b0, b0 * np.exp(-1000 * adc), 1000.0)
    np.testing.assert_allclose(found, adc, rtol=1e-5)


def test_adc_is_0_where_no_diffusion_explains_the_signals() -> None:
    b0, trace = np.array([100.0, 0.0, 50.0, -3.0]), np.array([120.0, 10.0, 0.0, 5.0])
    assert apparent_diffusion(b0, trace, 1000.0).tolist() == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("b_value", [0.0, -1000.0, float("nan")])
def test_a_b_value_that_is_none_is_an_error(b_value: float) -> None:
    with pytest.raises(ImageError, match="b-value"):
        apparent_diffusion(np.ones(2), np.ones(2), b_value)


@pytest.mark.parametrize("count", [3, 6, 20])
def test_the_trace_is_exact_for_any_tensor(count: int) -> None:
    """Directions as they come, not evenly spread: the weights make up for it."""
    rng = np.random.default_rng(count)
    directions = rng.normal(size=(3, count))
    if count == 3:
        directions = np.linalg.qr(directions)[0]
    if count == 6:  # the dual-gradient scheme of old scanners
        directions = np.array([[1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1]], dtype=float).T
    directions /= np.linalg.norm(directions, axis=0)
    tensor = np.diag([1.7e-3, 0.3e-3, 0.2e-3])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    tensor = turn @ tensor @ turn.T
    signals = 800 * np.exp(-1000 * np.einsum("in,ij,jn->n", directions, tensor, directions))
    shell = clinical_shell([0.0, *[1000.0] * count], np.column_stack([np.zeros(3), directions]))
    assert shell is not None
    assert shell.exact
    assert shell.volumes == tuple(range(1, count + 1))
    assert sum(shell.weights) == pytest.approx(1)
    trace = trace_image((signal.reshape(1, 1, 1) for signal in signals), shell.weights)
    found = apparent_diffusion(np.full((1, 1, 1), 800.0), trace, shell.b_value)
    assert found.item() == pytest.approx(np.trace(tensor) / 3, rel=0.05 if count == 20 else 1e-4)


def test_what_b0_is_weighted_by_counts() -> None:
    adc = np.array([0.5e-3, 0.8e-3, 3e-3])
    b0, trace = 900 * np.exp(-50 * adc), 900 * np.exp(-1000 * adc)
    np.testing.assert_allclose(apparent_diffusion(b0, trace, 1000.0, 50.0), adc, rtol=1e-5)
    with pytest.raises(ImageError, match="must be above 50"):
        apparent_diffusion(b0, trace, 50.0, 50.0)


def test_one_direction_is_no_trace_and_says_so() -> None:
    shell = clinical_shell([0.0, 1000.0, 1000.0], np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]], dtype=float))
    assert shell is not None
    assert not shell.exact
    assert shell.weights == (0.5, 0.5)


def test_of_several_shells_the_clinical_one_is_taken() -> None:
    b_values = [0, 5, 500, 1000, 995, 2000, 3000]
    shell = clinical_shell(b_values)
    assert shell is not None
    assert shell.volumes == (3, 4)
    assert shell.b_value == pytest.approx(997.5)
    assert b0_volumes(b_values) == (0, 1)
    assert b0_volumes([0, 50, 0, 1000]) == (0, 2), "50 is a weighting where there is less"
    assert b0_volumes([50, 50, 1000]) == (0, 1)
    assert clinical_shell([0, 0]) is None


def test_b0_is_the_mean_and_a_trace_without_signal_is_0() -> None:
    volumes = np.array([[[[100.0]], [[0.0]]], [[[120.0]], [[50.0]]]])
    assert mean_b0(volumes).ravel().tolist() == [110.0, 25.0]
    np.testing.assert_allclose(trace_image(volumes, (0.5, 0.5)).ravel(), [np.sqrt(12000), 0.0], rtol=1e-6)


@pytest.mark.parametrize(("factor", "unit"), [(1.0, 1.0), (1e3, 1e-3), (1e6, 1e-6), (1e9, 1e-9)])
def test_the_unit_of_a_scanners_map_is_told_from_the_brain(factor: float, unit: float) -> None:
    values = np.random.default_rng(0).lognormal(np.log(0.8e-3), 0.3, 5000) * factor
    assert adc_unit(values) == unit


def test_a_map_in_no_known_unit_is_an_error() -> None:
    for median in (1e12, 80.0, 8.0, 0.08):  # 1e-5 mm^2/s, and scales for display: ten times off in the nearest unit
        with pytest.raises(ImageError, match="no brain's ADC"):
            adc_unit(np.full(100, median))
    with pytest.raises(ImageError, match="no value above 0"):
        adc_unit(np.zeros(100))


def test_agreement_is_the_median_ratio_and_the_correlation() -> None:
    scanner = np.linspace(0.5e-3, 3e-3, 500)
    found = agreement(np.append(1.04 * scanner, 0.0), np.append(scanner, 1e-3))
    assert found.median_ratio == pytest.approx(1.04)
    assert found.correlation == pytest.approx(1.0)
    with pytest.raises(ImageError, match="no voxel in common"):
        agreement(np.zeros(3), np.ones(3))
