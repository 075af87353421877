"""The within-subject template against known rigid motion."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_app.steps import template
from bids_app.steps.images import array_of, mask_of, new_image
from bids_app.steps.registration import RegistrationError
from bids_app.steps.rigid import affine_of, centred, displacement_mm, half_way, matrix_of
from bids_app.steps.template import Visit, build_template

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def rigid(degrees, shift) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    result[:3, 3] = shift
    return result


def visit(motion: np.ndarray, seed: int, spacing=(2.5, 2.5, 2.5), contrast="T1w", odd=False) -> Visit:
    """A computed head, moved by `motion` (LPS+ mm, of the standing head's points to the scanner's), and noise."""
    shape = tuple(int(n) for n in np.ceil(np.array([190, 230, 190]) / spacing))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-95, -115, -95]
    world = np.moveaxis(np.indices(shape), 0, -1) * spacing + affine[:3, 3]
    still = np.linalg.inv(FLIP @ motion @ FLIP)
    x, y, z = np.moveaxis(world @ still[:3, :3].T + still[:3, 3], -1, 0)
    radius = np.sqrt((x / 62) ** 2 + (y / 78) ** 2 + (z / 56) ** 2)
    folds = radius + 0.05 * (np.sin(x / 7) + np.sin(y / 8 + 1) + np.sin(z / 6 + 2)) + 0.03 * np.sign(x) * (y > 10)
    levels = [30.0, 110.0, 75.0, 25.0, 120.0] if contrast == "T1w" else [140.0, 60.0, 85.0, 130.0, 70.0]
    array = np.select([folds < 0.22, folds < 0.75, radius < 1.0, radius < 1.1, radius < 1.2], levels, 0.0)
    generator = np.random.default_rng(seed)
    if odd:
        array = generator.uniform(20, 120, shape)
    array = np.hypot(array + generator.normal(0, 3, shape), generator.normal(0, 3, shape))
    brain = new_image((radius < 1.0).astype(np.uint8), affine)
    return Visit(new_image(array.astype(np.float32), affine), brain, contrast)


MOTIONS = (rigid((4, -3, 6), (5, -4, 3)), rigid((-5, 6, -2), (-6, 3, 8)), rigid((2, 8, 3), (0, 9, -5)))


def test_the_mean_of_two_is_half_way_and_does_not_care_where_it_is_told_from() -> None:
    one, other = MOTIONS[0], MOTIONS[1]
    middle = half_way(one, other)
    np.testing.assert_allclose(np.linalg.inv(one) @ middle, np.linalg.inv(middle) @ other, atol=1e-9)
    np.testing.assert_allclose(half_way(other, one), middle, atol=1e-9)
    poses = centred({"a": one, "b": other})
    np.testing.assert_allclose(poses["a"] @ poses["b"], np.eye(4), atol=1e-9)
    elsewhere = rigid((20, 10, -30), (40, 0, 7))
    three = centred(dict(zip("abc", MOTIONS, strict=True)))
    moved = centred({name: pose @ elsewhere for name, pose in zip("abc", MOTIONS, strict=True)})
    for name in three:
        np.testing.assert_allclose(moved[name], three[name], atol=1e-9)


def test_matrices_and_itk_transforms_are_the_same() -> None:
    matrix = MOTIONS[2]
    np.testing.assert_allclose(matrix_of(affine_of(matrix)), matrix, atol=1e-9)
    assert displacement_mm(matrix, matrix, np.zeros(3)) == 0
    assert displacement_mm(np.eye(4), rigid((0, 0, 0), (3, 4, 0)), np.zeros(3)) == pytest.approx(5.0)


def _apart(found, names, motions) -> float:
    """How far two visits of one head lie apart in the template, at worst: 0 where both are at the same place."""
    centre = np.zeros(3)
    to_head = {name: np.linalg.inv(motion) @ found.visits[name].matrix for name, motion in zip(names, motions)}  # noqa: B905
    return max(displacement_mm(one, other, centre) for one, other in itertools.combinations(to_head.values(), 2))


@pytest.fixture(scope="module")
def pair():
    return {"1": visit(MOTIONS[0], 1), "2": visit(MOTIONS[1], 2)}


def test_two_visits_meet_half_way_whatever_they_are_called(pair) -> None:
    found = build_template(pair)
    assert _apart(found, "12", MOTIONS[:2]) < 0.2, "mm: the same place"
    one, other = (found.visits[name].matrix for name in "12")
    np.testing.assert_allclose(one @ other, np.eye(4), atol=1e-6)  # equal and opposite
    truth = centred(dict(zip("12", MOTIONS, strict=False)))  # of a space half-way between the two
    assert max(displacement_mm(found.visits[name].matrix, truth[name], np.zeros(3)) for name in "12") < 0.2
    swapped = build_template({"1": pair["2"], "2": pair["1"]})
    assert array_of(swapped.image).tobytes() == array_of(found.image).tobytes()
    np.testing.assert_array_equal(swapped.visits["1"].matrix, found.visits["2"].matrix)
    brain = mask_of(found.brain_mask).sum() * 2.5**3
    assert brain == pytest.approx(4 / 3 * np.pi * 62 * 78 * 56, rel=0.02)


@pytest.mark.slow
def test_three_visits_of_two_contrasts_and_one_that_is_no_head() -> None:
    visits = {name: visit(motion, seed) for seed, (name, motion) in enumerate(zip("123", MOTIONS, strict=True))}
    visits["3"] = visit(MOTIONS[2], 7, contrast="T2w")
    visits["4"] = visit(np.eye(4), 9, odd=True)
    visits["4"] = Visit(visits["4"].image, visit(rigid((0, 80, 0), (0, 0, 0)), 9).brain_mask, "T1w")
    found = build_template(visits)
    assert set(found.visits) == {"1", "2", "3"}
    assert set(found.problems) == {"4"}
    assert found.averaged == ("1", "2")
    assert _apart(found, "123", MOTIONS) < 0.5


def test_two_that_cannot_be_aligned_are_an_error() -> None:
    noise = visit(np.eye(4), 9, odd=True)
    tilted = Visit(noise.image, visit(rigid((0, 80, 0), (0, 0, 0)), 9).brain_mask, "T1w")
    with pytest.raises(RegistrationError, match="no two sessions"):
        build_template({"1": visit(MOTIONS[0], 1), "2": tilted})


def test_what_a_lesion_shows_at_one_visit_moves_neither(pair) -> None:
    """A lesion that grew since, on one side: left out, the poses are those that they are with other numbers in it."""
    place = np.moveaxis(np.indices(pair["2"].image.shape), 0, -1) @ np.diag([2.5] * 3) - [95, 115, 95]
    lesion = new_image((np.linalg.norm(place - [-30, 20, 10], axis=-1) < 24).astype(np.uint8), pair["2"].image.affine)
    poses = {}
    for level in (20.0, 400.0):
        shown = np.where(mask_of(lesion), level, array_of(pair["2"].image)).astype(np.float32)
        late = replace(pair["2"], image=new_image(shown, lesion.affine), lesion=lesion)
        found = build_template({"1": pair["1"], "2": late})
        poses[level] = found.visits["2"].matrix
        assert found.lesion is not None
        assert mask_of(found.lesion).sum() == pytest.approx(mask_of(lesion).sum(), rel=0.02)
    assert displacement_mm(poses[20.0], poses[400.0], np.zeros(3)) < 0.1
    assert _apart(found, "12", MOTIONS[:2]) < 0.3


def test_one_that_does_not_fit_the_average_costs_the_others_nothing(pair, monkeypatch) -> None:
    true_register = template.register

    def register(fixed, moving, **words):
        if "start" in words and moving is late.image:
            raise RegistrationError("it does not fit")
        return true_register(fixed, moving, **words)

    late = visit(MOTIONS[2], 3)
    monkeypatch.setattr(template, "register", register)
    found = build_template({**pair, "3": late})
    assert found.problems == {"3": "it does not fit"}
    assert _apart(found, "12", MOTIONS[:2]) < 0.2
    alone = build_template(pair)
    np.testing.assert_allclose(array_of(found.image).mean(), array_of(alone.image).mean(), rtol=0.01)


def test_levels_of_magnitude_images_are_made_equal_and_those_of_ratios_kept() -> None:
    values = np.random.default_rng(0).normal(400, 100, 5000).astype(np.float32)
    assert template._level(values) == pytest.approx(np.median(values))
    for offset in (-0.02, 0.02):  # UNIT1 around 0: a median says nothing of its scale
        assert template._level((values - 400) / 500 + np.float32(offset)) == template._LEVEL
