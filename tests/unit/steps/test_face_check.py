"""The face check on computed heads whose eyes and noses are known: what is defaced passes, what is not fails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from bids_app.inputs.demo.head import build_head
from bids_app.inputs.demo.scan import Acquired, Body, Scan, acquire, rigid
from bids_app.steps.deface import face_mask
from bids_app.steps.face_check import check_face, face_picture
from bids_app.steps.face_frame import find_frame
from bids_app.steps.images import Image, array_of, conform, like, mask_of, new_image

CUBES, WHOLE = (3.0, 3.0, 3.0), (186.0, 231.0, 231.0)
SCANS = {
    "T1w": (Scan("T1w", CUBES, WHOLE, "PSR"), (0.0, 0.0, 0.0)),
    "axial": (Scan("FLAIR", (2.5, 2.5, 6.0), (200.0, 235.0, 222.0), "LAS", tilt_deg=17.0), (0.0, 0.0, 0.0)),
    "sagittal": (Scan("T2w", (6.0, 2.5, 2.5), (192.0, 230.0, 230.0), "ASR"), (0.0, 0.0, 8.0)),
    "coronal": (Scan("ceT1w", (2.5, 6.0, 2.5), (190.0, 234.0, 230.0), "LIA"), (0.0, 12.0, 0.0)),
    "chin up": (Scan("T1w", CUBES, (186.0, 270.0, 270.0), "LAS"), (28.0, 0.0, 0.0)),
    "chin down": (Scan("FLAIR", CUBES, (186.0, 270.0, 270.0), "RAS"), (-28.0, 0.0, 0.0)),
}
every_scan = pytest.mark.parametrize(
    "name", [name if name in ("T1w", "axial") else pytest.param(name, marks=pytest.mark.slow) for name in SCANS]
)


@dataclass(frozen=True)
class Case:
    """A conformed image with its truth."""

    image: Image
    brain: Image
    eyes: NDArray[np.bool_]
    nose: NDArray[np.bool_]

    def without(self, removed: NDArray[np.bool_]) -> Image:
        return like(np.where(removed, np.float32(0), array_of(self.image)), self.image)


@cache
def case(name: str) -> Case:
    scan, turn = SCANS[name]
    head = build_head(2.0)
    signal = head.image(scan.contrast, lesion=False)
    body = Body((0.94, 0.92, 0.93), warp_mm=2.0)
    taken: Acquired = acquire(head, signal, body, rigid(turn, (0, 0, 0)), scan, np.random.default_rng(3))

    def image(array: NDArray) -> Image:  # type: ignore[type-arg]
        return conform(new_image(array.astype(np.int16), taken.affine))

    brain = image(taken.brain)
    masks = (like(mask_of(brain).astype(np.uint8), brain), mask_of(image(taken.eyes)), mask_of(image(taken.nose)))
    return Case(image(taken.image), *masks)


@every_scan
def test_a_face_is_seen_and_gone_once_it_is_removed(name: str) -> None:
    head = case(name)
    before = check_face(head.image, head.brain)
    assert not before.passed
    assert before.after.skin is not None
    assert before.after.skin > 0.7
    assert before.after.eyes is not None
    assert before.after.eyes > 0.95
    defaced = head.without(mask_of(face_mask(head.brain)))
    after = check_face(head.image, head.brain, defaced)
    assert after.passed, after.reason
    assert after.after.eyes is not None
    assert after.after.eyes <= 0.1
    alone = check_face(defaced, head.brain)
    assert alone.passed
    assert "no face before" in alone.reason


@every_scan
def test_what_is_left_of_a_face_is_found(name: str) -> None:
    head = case(name)
    face = mask_of(face_mask(head.brain))
    right = np.indices(face.shape)[0] > face.shape[0] / 2
    leaks = {
        "an eye": face & ~binary_dilation(head.eyes & right, iterations=2),
        "half": face & ~right,
        "all but the eyes": binary_dilation(head.eyes, iterations=2),
    }
    for what, removed in leaks.items():
        check = check_face(head.image, head.brain, head.without(removed))
        assert not check.passed, f"{what}: {check}"
        assert "can still be seen" in check.reason


@pytest.mark.parametrize("name", ["T1w", "axial"])
def test_a_mask_that_takes_in_an_orbit_is_not_believed(name: str) -> None:
    """What it covers cannot be removed, so that the check has to find it."""
    head = case(name)
    right = np.indices(head.eyes.shape)[0] > head.eyes.shape[0] / 2
    wrong = mask_of(head.brain) | binary_dilation(head.eyes & right, iterations=2)
    mask = like(wrong.astype(np.uint8), head.brain)
    removed = mask_of(face_mask(mask))
    assert not (removed & wrong).any()
    assert not check_face(head.image, mask, head.without(removed)).passed


def test_a_field_of_view_above_the_eyes_has_no_face() -> None:
    head = case("T1w")
    lowest = np.argwhere(head.eyes)[:, 2].max() + 12  # 36 mm above the eyes
    affine = head.image.affine.copy()
    affine[:3, 3] += affine[:3, 2] * lowest
    image = new_image(array_of(head.image)[..., lowest:], affine)
    check = check_face(image, new_image(mask_of(head.brain)[..., lowest:].astype(np.uint8), affine))
    assert check.passed, check
    assert (check.after.skin, check.after.eyes) == (None, None)
    assert check.reason == "the field of view has no face in it"


def test_a_mask_that_is_no_brain_is_said() -> None:
    head = case("T1w")
    box = np.zeros(head.image.shape, np.uint8)
    box[5:-5, 20:26, 10:-10] = 1
    check = check_face(head.image, like(box, head.image), like(box.astype(np.float32), head.image))
    assert not check.passed
    assert "not shaped like a brain" in check.reason


@pytest.mark.parametrize("background", [0.0, 150.0])
def test_loud_air_and_any_scaling_do_not_matter(background: float) -> None:
    head = case("T1w")
    noise = np.random.default_rng(1).normal(background, 25, head.image.shape)
    loud = replace(head, image=like((0.02 * np.hypot(array_of(head.image), noise)).astype(np.float32), head.image))
    face = mask_of(face_mask(head.brain))
    assert not check_face(loud.image, head.brain).passed
    assert check_face(loud.image, head.brain, loud.without(face)).passed


@every_scan
def test_where_the_head_is_does_not_depend_on_how_it_lies(name: str) -> None:
    """The eyes come to the same place of the template's space, wherever the head lies."""
    head = case(name)
    matrix = find_frame(head.brain).matrix @ head.image.affine
    points = np.argwhere(head.eyes) @ matrix[:3, :3].T + matrix[:3, 3]
    for side in (1, -1):
        centre = points[np.sign(points[:, 0]) == side].mean(axis=0)
        assert np.linalg.norm(centre - (side * 33.5, 56.5, -40.5)) < 10


def test_the_picture_shows_what_is_there() -> None:
    head = case("T1w")
    check = check_face(head.image, head.brain)
    before = face_picture(head.image, check)
    after = face_picture(head.without(mask_of(face_mask(head.brain))), check)
    lower = slice(int(before.shape[0] * 0.6), None)
    assert (before[lower] > 0).mean() > 0.4
    assert (after[lower] > 0).mean() < 0.5 * (before[lower] > 0).mean()
    assert (before[: before.shape[0] // 4] > 0).mean() == pytest.approx(
        (after[: before.shape[0] // 4] > 0).mean(), 0.02
    )
