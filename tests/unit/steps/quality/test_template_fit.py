"""The published gammas of a b0 image against boxes whose strips can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from bids_app.steps.images import Image, new_image
from bids_app.steps.quality import Head, Measured, Template, flags, measure_template_fit

SHAPE = (60, 60, 60)


def _box(low: int, high: int) -> NDArray[np.bool_]:
    result = np.zeros(SHAPE, bool)
    result[low:high, low:high, low:high] = True
    return result


def _on(array: NDArray[np.generic]) -> Image:
    return new_image(array.astype(np.float32), np.eye(4))


def _gammas(head_box: tuple[int, int], image: NDArray[np.float32], ventricles: Image | None) -> Measured:
    brain = new_image(_box(*head_box).astype(np.uint8), np.eye(4))
    template = Template(new_image(_box(15, 45).astype(np.uint8), np.eye(4)), ventricles, [sitk.Transform()])
    measured = Measured()
    measure_template_fit(measured, Head(_on(image), brain, None, dict), template)
    return measured


def test_a_brain_like_the_atlas_reaches_nowhere_and_leaves_nothing() -> None:
    found = _gammas((15, 45), np.full(SHAPE, 100, np.float32), None)
    assert found.numbers["template_gamma_osbm"] == 0
    assert found.numbers["template_gamma_isbm"] == 0
    assert found.numbers["template_gamma_oslv"] is None
    assert "ventricles" in found.reasons["template_gamma_oslv"]


def test_a_brain_smaller_by_two_voxels_leaves_their_share_of_the_inner_strip() -> None:
    """The strip inside is what is 1 to 5 voxels deep: 30^3 - 20^3; a shell of two voxels is 30^3 - 26^3."""
    found = _gammas((17, 43), np.full(SHAPE, 100, np.float32), None)
    assert found.numbers["template_gamma_isbm"] == pytest.approx((30**3 - 26**3) / (30**3 - 20**3), rel=1e-4)
    assert found.numbers["template_gamma_osbm"] == 0


def test_a_brain_larger_than_the_strip_fills_it() -> None:
    found = _gammas((5, 55), np.full(SHAPE, 100, np.float32), None)
    assert found.numbers["template_gamma_osbm"] == 1
    assert found.numbers["template_gamma_isbm"] == 0


def test_ventricles_larger_than_the_atlas_are_seen() -> None:
    """Fluid is bright; half of the strip around the atlas' ventricles is fluid as well."""
    image = np.full(SHAPE, 100, np.float32)
    image[25:35, 25:35, 25:35] = 300
    rng = np.random.default_rng(0)
    image += rng.normal(0, 1, SHAPE).astype(np.float32)
    atlas = new_image(_box(25, 35).astype(np.uint8), np.eye(4))
    normal = _gammas((15, 45), image, atlas).numbers["template_gamma_oslv"]
    image[:30][image[:30] < 200] += 200
    image[:, :, :20] = 100
    image[:, :, 40:] = 100
    wide = _gammas((15, 45), image, atlas).numbers["template_gamma_oslv"]
    assert normal == pytest.approx(0, abs=0.01)
    assert wide is not None
    assert 0.35 < wide < 0.65


def test_only_what_is_above_the_published_range_is_flagged() -> None:
    inside = {"template_gamma_osbm": 0.30, "template_gamma_isbm": 0.40, "template_scaled": 1.0}
    assert flags(inside) == []
    (flag,) = flags({**inside, "template_gamma_isbm": 0.55})
    assert "leaves gaps in the atlas'" in flag
    assert flags({**inside, "template_gamma_isbm": 0.55, "template_scaled": 0.0}) == []
    assert "look at --b-value" in flags({"adc_scanner_ratio": 2.5, "adc_scanner_correlation": 0.99})[0]
