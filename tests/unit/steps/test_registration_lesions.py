"""Where the metric of a registration looks when a lesion is left out."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from bids_app.steps.images import Image, array_of, mask_of, new_image
from bids_app.steps.registration import RegistrationError
from bids_app.steps.registration.pair import Pair, leave_out, prepare
from bids_app.steps.registration.plan import FIRST, RETRY, Plan
from bids_app.steps.registration.similarity import measure_at, similarity

SHAPE = (40, 40, 40)


def _ball(centre: tuple[int, int, int], radius: float) -> np.ndarray:
    return (radius >= np.linalg.norm(np.indices(SHAPE).T - np.array(centre), axis=-1).T).astype(np.uint8)


def _on(array: np.ndarray) -> Image:
    return new_image(array, np.diag([4.0, 4.0, 4.0, 1.0]))


def _pair(plan: Plan = FIRST, bright: float = 0.0) -> tuple[Pair, Image]:
    rng = np.random.default_rng(0)
    brain, lesion = _ball((20, 20, 20), 15), _on(_ball((25, 20, 20), 5))
    texture = rng.normal(100, 20, SHAPE).astype(np.float32) * brain
    moving = np.where(mask_of(lesion), 100 + bright * rng.uniform(-1, 1, SHAPE), texture).astype(np.float32)
    pair = prepare(_on(texture), _on(moving), _on(brain), _on(brain), 5.0, plan)
    return pair, lesion


@pytest.mark.parametrize("plan", [FIRST, RETRY])
def test_the_metric_looks_at_no_voxel_of_a_lesion(plan: Plan) -> None:
    pair, lesion = _pair(plan)
    left = leave_out(pair, lesion, lesion, plan)
    assert left.metric_mask is not None
    assert left.moving_metric_mask is not None
    inside = mask_of(lesion)[tuple(slice(0, size) for size in SHAPE)]
    for mask in (left.metric_mask, left.moving_metric_mask):
        index = np.rint(np.linalg.inv(mask.affine) @ lesion.affine @ np.array([25, 20, 20, 1])).astype(int)[:3]
        assert mask_of(mask)[tuple(index)] == 0
    assert mask_of(left.moving_metric_mask).sum() >= mask_of(left.moving_metric_mask).size - inside.sum()


def test_what_a_left_out_lesion_shows_does_not_matter() -> None:
    found = {}
    for left_out in (False, True):
        values = []
        for bright in (0.0, 40.0):
            pair, lesion = _pair(bright=bright)
            pair = leave_out(pair, None, lesion if left_out else None, FIRST)
            values.append(similarity(measure_at(pair, 4.0), sitk.Transform(3, sitk.sitkIdentity)))
        found[left_out] = abs(values[1] - values[0])
    assert found[True] < 0.05 * found[False]


def test_an_empty_lesion_changes_nothing() -> None:
    pair, _ = _pair()
    empty = _on(np.zeros(SHAPE, np.uint8))
    assert leave_out(pair, empty, empty, FIRST) is pair
    assert leave_out(pair, None, None, FIRST) is pair


def test_a_lesion_that_is_all_of_the_brain_is_an_error() -> None:
    pair, _ = _pair()
    with pytest.raises(RegistrationError, match="nothing is left"):
        leave_out(pair, _on(np.ones(SHAPE, np.uint8)), None, FIRST)


def test_it_is_left_out_where_it_is_however_the_transform_is_told() -> None:
    """A transform with a displacement field of zeros is no other one, wherever the scanner has its origin."""
    pair, lesion = _pair()
    shift = np.array([30.0, -60.0, 160.0])
    away = np.eye(4)
    away[:3, 3] = shift
    moved = prepare(
        _on(array_of(pair.fixed)), new_image(array_of(pair.moving), away @ pair.moving.affine), None, None, 5.0, FIRST
    )
    there = leave_out(moved, None, new_image(mask_of(lesion).astype(np.uint8), away @ lesion.affine), FIRST)
    straight = sitk.AffineTransform(3)
    straight.SetTranslation((shift * [-1, -1, 1]).tolist())
    field = sitk.Image([12, 12, 12], sitk.sitkVectorFloat64, 3)
    field.SetSpacing([16.0] * 3)
    bent = sitk.CompositeTransform([straight, sitk.DisplacementFieldTransform(field)])
    measure = measure_at(there, 4.0)
    linear = similarity(measure, straight)
    assert linear > 0.5
    assert similarity(measure, bent) == pytest.approx(linear, rel=0.02)


def test_next_to_nothing_to_align_by_is_said() -> None:
    brain = np.zeros(SHAPE, np.uint8)
    brain[20, 20, 20] = 1
    image = new_image(np.random.default_rng(0).uniform(50, 100, SHAPE).astype(np.float32), np.diag([0.9, 0.9, 0.9, 1]))
    mask = new_image(brain, image.affine)
    with pytest.raises(RegistrationError, match="too small"):
        prepare(image, image, mask, mask, 5.0, FIRST)
    pair, _ = _pair()
    left_over = np.ones(SHAPE, np.uint8)
    left_over[18:21, 20, 20] = 0
    with pytest.raises(RegistrationError, match="nothing is left"):
        leave_out(pair, _on(left_over), None, FIRST)
