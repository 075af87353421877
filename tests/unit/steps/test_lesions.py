"""Lesion masks: reading, placing by header, measuring, carrying, leaving out."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from bids_app.steps.images import Image, ImageError, mask_of, new_image
from bids_app.steps.lesions import carried, describe, on_grid, read_mask, without
from bids_app.steps.resampling import Grid


def _ball(shape: tuple[int, int, int], centre: tuple[float, ...], radius: float) -> NDArray[np.uint8]:
    index = np.indices(shape).T
    return (radius >= np.linalg.norm(index - np.array(centre), axis=-1).T).astype(np.uint8)


def _image(array: NDArray[np.uint8], spacing: float = 1.0, origin: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Image:
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = origin
    return new_image(array, affine)


def test_volume_and_centre_are_those_of_the_ball() -> None:
    found = describe(_image(_ball((40, 40, 40), (20, 15, 22), 6.2), 2.0, (-30.0, 5.0, 1.0)))
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 12.4**3 / 1000, rel=0.03)
    assert found.centre_mm == pytest.approx((10.0, 35.0, 45.0))
    assert found.parts == 1


def test_an_empty_mask_is_a_lesion_of_nothing() -> None:
    found = describe(_image(np.zeros((5, 5, 5), np.uint8)))
    assert (found.volume_ml, found.centre_mm, found.parts) == (0.0, None, 0)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4, 4, 3), np.int16), "three dimensions"),
        (-np.ones((4, 4, 4), np.int16), "negative"),
        (np.zeros((4, 4, 4), np.complex64), "complex"),
    ],
)
def test_what_is_no_mask_is_refused(array: NDArray[np.generic], reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_mask(nib.Nifti1Image(array, np.eye(4)))


def test_masks_of_255_and_of_floats_are_read() -> None:
    array = np.zeros((4, 4, 4), np.float32)
    array[1, 1, 1], array[2, 2, 2] = 255, np.nan
    assert np.argwhere(mask_of(read_mask(nib.Nifti1Image(array, np.eye(4))))).tolist() == [[1, 1, 1]]


def test_a_mask_on_another_grid_is_placed_by_its_header() -> None:
    mask = _image(_ball((30, 30, 30), (15, 15, 15), 6), 2.0, (-20.0, 0.0, 10.0))
    grid = Grid((60, 60, 60), np.array([[-1, 0, 0, 39], [0, 1, 0, 0], [0, 0, 1, 10], [0, 0, 0, 1]], dtype=float))
    placed = describe(on_grid(mask, grid))
    assert placed.centre_mm == pytest.approx(describe(mask).centre_mm, abs=0.6)
    assert placed.volume_ml == pytest.approx(describe(mask).volume_ml, rel=0.02)


def test_a_mask_outside_of_the_field_of_view_is_an_error() -> None:
    mask = _image(_ball((20, 20, 20), (10, 10, 10), 4), 1.0, (500.0, 0.0, 0.0))
    with pytest.raises(ImageError, match="does not overlap"):
        on_grid(mask, Grid((20, 20, 20), np.eye(4)))


def test_a_lesion_smaller_than_a_voxel_is_not_lost() -> None:
    array = np.zeros((20, 20, 20), np.uint8)
    array[11, 11, 11] = 1
    placed = on_grid(_image(array), Grid((4, 4, 4), np.diag([5.0, 5, 5, 1])))
    assert np.argwhere(mask_of(placed)).tolist() == [[2, 2, 2]]


@pytest.mark.parametrize("radius_mm", [3.0, 6.2, 13.4, 28.8])  # 0.1, 1, 10 and 100 ml
@pytest.mark.parametrize("scale", [1.0, 1.1])
def test_linear_transforms_keep_the_volume_within_2_percent(radius_mm: float, scale: float) -> None:
    lesion = _image(_ball((40, 40, 40), (20.2, 19.7, 20.4), radius_mm / 2), 2.0, (-40.0, -40.0, -40.0))
    transform = sitk.AffineTransform(3)
    transform.Rotate(0, 1, 0.3)
    transform.Rotate(1, 2, -0.2)
    transform.Scale((scale, scale, scale))
    transform.SetTranslation((1.7, -2.2, 0.6))
    affine = np.eye(4)
    affine[:3, 3] = -45.3
    moved, native = describe(carried(lesion, Grid((90, 90, 90), affine), [transform])), describe(lesion)
    assert moved.volume_ml * scale**3 == pytest.approx(native.volume_ml, rel=0.02)
    assert moved.centre_mm is not None
    flip = np.array([-1.0, -1.0, 1.0])
    there = np.array(transform.TransformPoint((np.array(moved.centre_mm) * flip).tolist())) * flip
    np.testing.assert_allclose(there, native.centre_mm, atol=0.25)


def test_a_mask_on_its_own_grid_stays_as_it_is() -> None:
    lesion = _image(_ball((20, 20, 20), (10, 10, 10), 4))
    assert np.array_equal(mask_of(carried(lesion, Grid.of(lesion))), mask_of(lesion))


def test_what_is_left_of_the_brain_has_no_lesion_nor_its_rim() -> None:
    brain = _image(_ball((60, 60, 60), (30, 30, 30), 25))
    lesion = _ball((60, 60, 60), (30, 30, 40), 8) > 0
    left = mask_of(without(brain, lesion))
    assert not (left & (_ball((60, 60, 60), (30, 30, 40), 9.5) > 0)).any()
    assert left.sum() > 0.8 * mask_of(brain).sum()
    assert without(brain, np.zeros_like(lesion)) is brain
    assert without(brain, np.ones_like(lesion)) is brain


@pytest.mark.parametrize("edge_mm", [1, 2, 3, 4])
def test_a_lesion_smaller_than_the_voxels_where_it_is_carried_is_not_lost(edge_mm: int) -> None:
    rng = np.random.default_rng(edge_mm)
    lesion = np.zeros((24, 24, 24), np.uint8)
    lesion[10 : 10 + edge_mm, 10 : 10 + edge_mm, 10 : 10 + edge_mm] = 1
    volumes = []
    for _ in range(25):
        affine = np.diag([1.0, 1.0, 5.5, 1.0])
        affine[:3, 3] = rng.uniform(-1, 0, 3) * [1, 1, 5.5]
        volumes.append(describe(carried(_image(lesion), Grid((26, 26, 6), affine))).volume_ml * 1000)
    assert min(volumes) > 0
    if edge_mm > 2:
        assert np.mean(volumes) == pytest.approx(edge_mm**3, rel=0.15)


def test_of_two_lesions_far_apart_the_small_one_is_carried_too() -> None:
    lesion = _ball((60, 60, 60), (15, 15, 15), 6)
    lesion[45, 45, 48] = 1
    affine = np.diag([2.0, 2.0, 6.0, 1.0])
    moved = mask_of(carried(_image(lesion), Grid((30, 30, 10), affine)))
    assert moved[22:24, 22:24, 7:9].any()


@pytest.mark.parametrize("labels", [(1, 2, 3), (1, 2, 4), (1, 50)])
def test_every_numbered_lesion_counts(labels: tuple[int, ...]) -> None:
    array = np.zeros((20, 6, 6), np.int16)
    for place, label in enumerate(labels):
        array[1 + 5 * place, 2, 2] = label
    assert mask_of(read_mask(nib.Nifti1Image(array, np.eye(4)))).sum() == len(labels)


def test_a_probability_in_per_cent_counts_from_one_half() -> None:
    array = np.arange(101, dtype=np.uint8).reshape(101, 1, 1)
    assert mask_of(read_mask(nib.Nifti1Image(array, np.eye(4)))).sum() == 51
