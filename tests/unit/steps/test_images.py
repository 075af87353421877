"""Images as they are read: constant ones, and the way to a conformed grid and back."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from bids_app.steps.images import ImageError, conform, mask_of, new_image, on_raw_grid
from bids_app.workflow.context import Extraction
from bids_app.workflow.interfaces.base import conformed_mask
from bids_app.workflow.interfaces.native import _extract

AXES = ["".join(sides[axis][flip >> axis & 1] for axis in order)
        for order in permutations(range(3)) for flip in range(8) for sides in [("LR", "PA", "IS")]]  # fmt: skip


def _oriented(axes: str, array: np.ndarray) -> Any:
    """A conformed array as a scanner that stores its voxels along other axes would have written it."""
    image = nib.Nifti1Image(array, np.array([[1, 0, 0, -9], [0, 2, 0, 7], [0, 0, 5, 3], [0, 0, 0, 1.0]]))
    there = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )  # fmt: skip
    return image.as_reoriented(there)


@pytest.mark.parametrize("axes", AXES)
def test_every_orientation_is_conformed_and_put_back(axes: str) -> None:
    array = np.arange(3 * 4 * 1, dtype=np.int16).reshape(3, 4, 1)
    raw = _oriented(axes, array)
    assert "".join(nib.aff2axcodes(raw.affine)) == axes
    image = conform(raw)
    np.testing.assert_array_equal(image.dataobj, array)
    np.testing.assert_allclose(image.affine, [[1, 0, 0, -9], [0, 2, 0, 7], [0, 0, 5, 3], [0, 0, 0, 1]])
    back = on_raw_grid(image, raw)
    np.testing.assert_array_equal(back.dataobj, raw.dataobj)
    np.testing.assert_allclose(back.affine, raw.affine)


@pytest.mark.parametrize("value", [0, 1])
def test_an_image_of_one_value_is_none_but_a_mask_is_one(tmp_path: Path, value: int) -> None:
    """A slab can lie in the brain as a whole; a mask that is empty is for the caller to judge."""
    mask = new_image(np.full((4, 5, 6), value, np.uint8), np.diag([-1.0, 2.0, 3.0, 1.0]))
    with pytest.raises(ImageError, match="same value"):
        conform(mask)
    nib.save(mask, tmp_path / "mask.nii.gz")
    read = conformed_mask(str(tmp_path / "mask.nii.gz"))
    assert read.shape == mask.shape
    assert (mask_of(read) == value).all()


def test_a_given_mask_can_take_in_all_of_the_image(tmp_path: Path) -> None:
    raw = new_image(np.random.default_rng(0).random((4, 5, 6)).astype(np.float32), np.diag([-1.0, 2.0, 3.0, 1.0]))
    nib.save(new_image(np.ones(raw.shape, np.uint8), raw.affine), tmp_path / "mask.nii.gz")
    extraction = Extraction("precomputed", mask=tmp_path / "mask.nii.gz")
    context: Any = SimpleNamespace(settings=None)
    brain, inside = _extract(raw, extraction, context)
    assert mask_of(brain).all()
    assert inside is None
