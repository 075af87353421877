"""N4 beside ITK's, and its parts."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from bids_app.steps.n4 import LogField, basis, n4, sharpened

SETTINGS = {"convergence": 1e-3, "fwhm": 0.15, "wiener_noise": 0.01}


def _blurred_layers(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of an ellipsoid of three tissues under a smooth field, and where it is."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) + 0.05 * np.sin(9 * x + 7 * y) * np.cos(8 * z)
    tissue = np.select([radius < 0.3, radius < 0.7], [25.0, 110.0], 75.0)
    noise = np.random.default_rng(0).normal(0, 2, shape)
    field = 0.3 * x - 0.2 * y * z + 0.2 * np.sin(2 * z)
    return np.log(tissue * np.exp(field) + noise), x**2 + y**2 + z**2 < 0.9


@pytest.mark.parametrize(("shape", "pieces"), [((24, 28, 22), (1, 1, 1)), ((30, 20, 9), (2, 1, 1))])
def test_the_field_is_that_of_itk(shape: tuple[int, int, int], pieces: tuple[int, int, int]) -> None:
    logarithm, usable = _blurred_layers(shape)
    theirs = sitk.N4BiasFieldCorrectionImageFilter()
    theirs.SetMaximumNumberOfIterations([20, 20, 20])
    theirs.SetConvergenceThreshold(SETTINGS["convergence"])
    theirs.SetBiasFieldFullWidthAtHalfMaximum(SETTINGS["fwhm"])
    theirs.SetWienerFilterNoise(SETTINGS["wiener_noise"])
    theirs.SetNumberOfHistogramBins(200)
    theirs.SetNumberOfControlPoints([n + 3 for n in pieces])
    image = sitk.GetImageFromArray(np.exp(logarithm).transpose(2, 1, 0))
    theirs.Execute(image, sitk.GetImageFromArray(usable.astype(np.uint8).transpose(2, 1, 0)))
    expected = sitk.GetArrayFromImage(theirs.GetLogBiasFieldAsImage(image)).transpose(2, 1, 0)

    found = n4(logarithm, usable, pieces, iterations=(20, 20, 20), **SETTINGS)

    ours = found.at(*(np.linspace(0, 1, n) for n in shape))
    assert expected[usable].std() > 0.1
    np.testing.assert_allclose(ours[usable], expected[usable], atol=2e-3)


def test_a_field_is_the_same_on_every_grid() -> None:
    rng = np.random.default_rng(1)
    field = LogField((rng.normal(size=(4, 5, 4)), rng.normal(size=(5, 7, 5))))
    coarse, fine = np.linspace(0, 1, 6), np.linspace(0, 1, 26)
    np.testing.assert_allclose(field.at(fine, fine, fine)[::5, ::5, ::5], field.at(coarse, coarse, coarse))


def test_the_basis_sums_to_one_and_reproduces_a_line() -> None:
    found = basis(np.linspace(0, 1, 50), 4)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found @ (np.arange(7) - 1), np.linspace(0, 4, 50), atol=1e-12)


def test_a_blurred_histogram_is_sharpened_around_its_peaks() -> None:
    rng = np.random.default_rng(2)
    tissue = np.repeat([1.0, 2.0], 5000)
    values = tissue + rng.normal(0, 0.15 / 2.355, 10_000)
    found = sharpened(values, 0.15, 0.01)
    for peak in (1.0, 2.0):
        assert abs(found[tissue == peak].mean() - peak) < 0.01
        assert found[tissue == peak].std() < 0.5 * values[tissue == peak].std()


def test_one_value_stays_what_it_is() -> None:
    values = np.full(10, 3.0)
    assert np.array_equal(sharpened(values, 0.15, 0.01), values)
