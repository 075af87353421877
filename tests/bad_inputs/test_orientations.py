"""The same head stored in all 48 orientations: one conformed image, and every way back to the file's own axes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from trees import Nifti, turned_affine

from bids_app.inputs.content import read_image
from bids_app.inputs.headers import read_header
from bids_app.steps.images import conform, on_raw_grid, to_raw_grid

ORIENTATIONS = [
    "".join(pair[side] for pair, side in zip(axes, sides, strict=True))
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for sides in itertools.product((0, 1), repeat=3)
]
#: A head with three different edges and lengths, slightly oblique.
HEAD = Nifti((20, 24, 17), (8.0, 7.0, 9.0), dtype="int16", affine=turned_affine((8.0, 7.0, 9.0), degrees=7))


def stored_in(orientation: str) -> Any:
    """The head with its voxels stored along other axes; every voxel stays where it is in the world."""
    image = HEAD.image()
    change = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
    )
    return image.as_reoriented(change)


def test_there_are_48() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_one_head(orientation: str, tmp_path: Path) -> None:
    path = tmp_path / "sub-01_T1w.nii.gz"
    stored_in(orientation).to_filename(path)
    header = read_header(path)
    assert header.orientation == orientation
    assert header.warnings == ()
    assert sorted(header.shape) == sorted(HEAD.shape)
    raw, truth = read_image(path), HEAD.image()
    conformed = conform(raw)
    np.testing.assert_array_equal(np.asarray(conformed.dataobj), np.asarray(truth.dataobj))
    np.testing.assert_allclose(conformed.affine, truth.affine, atol=1e-4)
    raw.set_qform(raw.affine, code=1)  # the same by its qform alone, a rotation and at most one mirror
    raw.set_sform(None, code=0)
    np.testing.assert_allclose(conform(raw).affine, truth.affine, atol=0.01)
    np.testing.assert_array_equal(np.asarray(conform(raw).dataobj), np.asarray(truth.dataobj))
    back = to_raw_grid(np.asarray(conformed.dataobj), raw)
    np.testing.assert_array_equal(back, np.asarray(raw.dataobj))
    np.testing.assert_allclose(on_raw_grid(conformed, raw).affine, raw.affine, atol=1e-4)
