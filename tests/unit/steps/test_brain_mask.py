"""Mask helpers on small arrays; the template method on real heads against their reference masks."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_app.steps import images
from bids_app.steps.brain_mask import clean_mask, fill_holes, given_brain, largest_component, template, volume_ml
from bids_app.steps.images import ImageError
from bids_app.steps.registration import RegistrationError


def test_largest_component_keeps_one_part() -> None:
    mask = np.zeros((10, 10, 10), bool)
    mask[1:5, 1:5, 1:5] = True
    mask[6:8, 6:8, 6:8] = True
    mask[5, 5, 5] = True  # touches both parts by a corner only
    kept = largest_component(mask)
    assert kept.sum() == 64
    assert kept[2, 2, 2]
    assert not largest_component(np.zeros((3, 3, 3), bool)).any()


def test_holes_are_filled_but_bays_are_not() -> None:
    mask = np.ones((7, 7, 7), bool)
    mask[3, 3, 3] = False
    mask[0, 3, 3] = False
    filled = fill_holes(mask)
    assert filled[3, 3, 3]
    assert not filled[0, 3, 3]


def test_clean_mask_and_volume() -> None:
    array = np.zeros((12, 12, 12), np.uint8)
    array[2:8, 2:8, 2:8] = 1
    array[4, 4, 4] = 0
    array[10, 10, 10] = 1
    image = images.new_image(array, np.diag([2.0, 2.0, 5.0, 1.0]))
    cleaned = clean_mask(image)
    assert cleaned.get_data_dtype() == np.uint8
    assert volume_ml(cleaned) == pytest.approx(6**3 * 20 / 1000)


def test_the_template_is_a_head_around_a_brain_in_mni_space() -> None:
    head, probability = template._template()
    assert images.same_grid(head, probability)
    inside = images.like((images.array_of(probability) > 0.5).astype(np.uint8), head)
    assert 1400 < volume_ml(inside) < 2000  # MNI152's brain is larger than most: 1.88 l with its CSF
    centre = nib.affines.apply_affine(head.affine, np.argwhere(images.mask_of(inside)).mean(axis=0))
    assert abs(centre[0]) < 3
    assert images.array_of(head)[images.mask_of(inside)].mean() > 100
    scalp = (images.array_of(probability) == 0) & (images.array_of(head) > 40)
    assert scalp.sum() * images.voxel_ml(head) > 500  # a brain alone would pull the skull into the mask


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e9])
def test_the_refinement_knows_no_unit(unit: float) -> None:
    radius = np.linalg.norm(np.moveaxis(np.indices((40, 40, 40)), 0, -1) - 19.5, axis=-1)
    head = np.select([radius < 14, radius < 16], [100.0, 20.0], 60.0) + np.random.default_rng(0).normal(0, 5, (40,) * 3)
    prior = (1 / (1 + np.exp((radius - 16) / 2))).astype(np.float32)
    spacing = np.array([2.0, 2.0, 2.0])
    expected, found = (template._refined((head * one).astype(np.float32), prior, spacing) for one in (1, unit))
    assert not expected[radius > 16].any()
    assert expected[radius < 13].all()
    assert (found != expected).mean() < 1e-3


@pytest.mark.slow
def test_noise_is_refused() -> None:
    noise = np.random.default_rng(0).normal(100, 10, (40, 48, 40)).astype(np.float32)
    with pytest.raises(RegistrationError):
        template.template_mask(images.new_image(noise, np.diag([4.0, 4.0, 4.0, 1.0])))


REAL = [
    ("sub-tcga6692/anat/sub-tcga6692_ce-gadolinium_T1w", "sub-tcga6692/anat/sub-tcga6692_ce-gadolinium_desc-brain_mask")
] + [
    (
        f"sub-openms12/ses-{session}/anat/sub-openms12_ses-{session}_{contrast}",
        f"sub-openms12/ses-{session}/anat/sub-openms12_ses-{session}_acq-{contrast}_desc-brain_mask",
    )
    for session in (1, 2)
    for contrast in ("T1w", "T2w", "FLAIR")
]


@pytest.mark.slow
@pytest.mark.parametrize(("head", "reference"), REAL, ids=[head.rsplit("/", 1)[1] for head, _ in REAL])
def test_real_heads_agree_with_their_reference_masks(shared: Path, head: str, reference: str) -> None:
    image = images.conform(nib.load(shared / "data" / f"{head}.nii.gz"))
    truth = images.conform(nib.load(shared / "data/derivatives/reference" / f"{reference}.nii.gz"))
    expected = fill_holes(images.mask_of(truth))
    found = images.mask_of(template.template_mask(image))
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) >= 0.93


@pytest.mark.parametrize("top", [1.0, 100.0, 255.0])
def test_of_a_given_probability_half_and_more_is_brain(top: float) -> None:
    brain = np.zeros((30, 30, 30))
    brain[5:25, 5:25, 5:25] = 1
    soft = ndimage.gaussian_filter(brain, 1.0)
    assert given_brain(soft / soft.max() * top).sum() == pytest.approx(brain.sum(), rel=0.05)


@pytest.mark.parametrize("top", [100, 255])
@pytest.mark.parametrize("blur", [0.5, 1.0, 2.0])
def test_so_it_is_where_a_probability_is_stored_in_whole_numbers(top: int, blur: float) -> None:
    """In per cent it has no more values than a segmentation has labels."""
    brain = np.zeros((90, 90, 90))
    brain[10:80, 10:80, 10:80] = 1
    soft = np.rint(np.clip(ndimage.gaussian_filter(brain, blur), 0, 1) * top)
    assert given_brain(soft.astype(np.uint8)).sum() == pytest.approx(brain.sum(), rel=0.05)


@pytest.mark.parametrize("labels", [(2, 3, 4, 10, 41, 42, 43, 60), (1, 2, 3), (2, 3, 41, 42, 251, 255), (50, 100, 150)])
def test_a_segmentation_is_brain_as_a_whole_whatever_its_numbers(labels: tuple[int, ...]) -> None:
    array = np.zeros((20, 20, 20), np.uint8)
    array[3:17, 3:17, 3:17] = np.random.default_rng(0).choice(labels, (14, 14, 14))
    assert given_brain(array).sum() == 14**3


def test_of_given_labels_every_one_is_brain() -> None:
    labels = np.arange(27).reshape(3, 3, 3).astype(np.float32)
    assert np.array_equal(given_brain(labels), labels > 0)
    assert np.array_equal(given_brain(np.where(labels > 5, 255.0, 0.0)), labels > 5)
    for wrong in (-1.0, np.nan):
        with pytest.raises(ImageError, match="below 0 or that are no numbers"):
            given_brain(np.where(labels == 3, wrong, labels))
