"""The coarse search for a start: its score beside ITK's, and starts that are far off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from bids_app.steps import images
from bids_app.steps.registration.coarse import Look
from bids_app.steps.registration.pair import Pair, prepare
from bids_app.steps.registration.plan import FIRST
from bids_app.steps.registration.similarity import mask_overlap, masks_at, measure_at, similarity
from bids_app.steps.registration.start import find_start

SIDES = np.array([64, 76, 60])
SPACING = 2.5


def _head(pose: sitk.Transform, invert: bool = False) -> tuple[images.Image, images.Image]:
    """A head without symmetry, seen in a pose: the image, and the mask of its brain."""
    affine = np.diag([SPACING] * 3 + [1.0])
    affine[:3, 3] = -(SIDES - 1) / 2 * SPACING
    places = np.moveaxis(np.indices(SIDES), 0, -1).reshape(-1, 3) * SPACING + affine[:3, 3]
    lps = places * [-1, -1, 1]
    matrix = np.reshape(pose.GetMatrix(), (3, 3))
    x, y, z = ((lps - pose.GetTranslation()) @ matrix).T  # the inverse of a rotation about the origin
    radius = np.sqrt((x / 62) ** 2 + (y / 76) ** 2 + (z / 56) ** 2)
    dark = (x / 20 - 1) ** 2 + (y / 25) ** 2 + (z / 15) ** 2 < 1
    deep = (y / 14 + 3) ** 2 + ((z + 10) / 20) ** 2 + (x / 30) ** 2 < 1
    folds = radius + 0.06 * np.sin(x / 6) * np.cos(y / 7) < 0.7
    inside = np.select([dark, deep, folds], [20.0, 60.0, 110.0], 80.0)
    array = np.where(radius < 1, 130 - inside if invert else inside, np.where(radius < 1.15, 30.0, 0.0))
    array = np.maximum(array + np.random.default_rng(0).normal(0, 2, array.shape), 0)
    image = images.new_image(array.reshape(SIDES).astype(np.float32), affine)
    return image, images.like((radius < 1).reshape(SIDES).astype(np.uint8), image)


def _pose(degrees: tuple[float, float, float], mm: tuple[float, float, float]) -> sitk.Euler3DTransform:
    return sitk.Euler3DTransform((0, 0, 0), *np.deg2rad(degrees), mm)


def _pair(pose: sitk.Euler3DTransform) -> Pair:
    fixed, fixed_mask = _head(_pose((0, 0, 0), (0, 0, 0)))
    moving, moving_mask = _head(pose, invert=True)
    return prepare(fixed, moving, fixed_mask, moving_mask, 5.0, FIRST)


def test_it_orders_starts_as_itks_metric_does() -> None:
    pair = _pair(_pose((12, -5, 20), (6, -4, 8)))
    measure, masks = measure_at(pair, 6.0), masks_at(pair, 6.0)
    assert masks is not None
    rng = np.random.default_rng(3)
    starts = [_pose(tuple(rng.uniform(-30, 30, 3)), tuple(rng.uniform(-12, 12, 3))) for _ in range(60)]
    theirs = [similarity(measure, one) * mask_overlap(masks, one) ** 2 for one in starts]
    ours = [Look(pair).score(one) for one in starts]
    order = np.corrcoef(np.argsort(np.argsort(theirs)), np.argsort(np.argsort(ours)))[0, 1]
    assert order > 0.95


@pytest.mark.parametrize("degrees", [(0, 0, 0), (24, 0, 0), (-20, 15, -25), (10, -24, 18)])
def test_the_start_is_near_the_truth(degrees: tuple[float, float, float]) -> None:
    truth = _pose(degrees, (9, -7, 12))
    found = find_start(_pair(truth), FIRST)
    brain = np.random.default_rng(0).uniform(-50, 50, (200, 3))
    apart = [np.subtract(found.TransformPoint(one), truth.TransformPoint(one)) for one in brain.tolist()]
    assert np.linalg.norm(apart, axis=1).mean() < 5


def test_where_the_images_do_not_meet_the_score_is_nothing() -> None:
    pair = _pair(_pose((0, 0, 0), (0, 0, 0)))
    assert Look(pair).score(_pose((0, 0, 0), (0, 0, 0))) > 0.3
    assert Look(pair).score(_pose((0, 0, 0), (400, 0, 0))) == 0


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e9])
def test_the_unit_of_the_intensities_makes_no_difference(unit: float) -> None:
    pair = _pair(_pose((12, -5, 20), (6, -4, 8)))
    fixed, moving = (
        images.like(images.array_of(one) * np.float32(unit), one) for one in (pair.fixed, pair.moving)
    )  # fmt: skip
    start = _pose((10, 0, 15), (4, -4, 8))
    expected = Look(pair).score(start)
    assert expected > 0.05
    assert Look(replace(pair, fixed=fixed, moving=moving)).score(start) == pytest.approx(expected, rel=0.01)
