"""Regions in a head: labels stay labels, sides are told, volumes are counted."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from bids_app.steps.images import ImageError, new_image
from bids_app.steps.regions import LEFT, RIGHT, Region, carried, hemisphere_of, parts_of, sides, volumes
from bids_app.steps.resampling import Grid

ATLAS = np.array([[1.0, 0, 0, -19.5], [0, 1, 0, -20], [0, 0, 1, -20], [0, 0, 0, 1]])
REGIONS = [Region(7, "Left-Block", "left"), Region(1021, "bilateral"), Region(3, "all on the right"), Region(9, "none")]


def atlas() -> object:
    array = np.zeros((40, 40, 40), np.int32)
    array[5:15, 10:20, 10:20] = 7
    array[10:30, 25:35, 10:20] = 1021  # x from -10 to 10: half of it on each side
    array[25:35, 10:20, 25:35] = 3
    return new_image(array, ATLAS)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("ctx-lh-precentral", "left"), ("Right-Putamen", "right"), ("7Networks_LH_Vis_1", "left"),
        ("Putamen_R", "right"), ("leftThalamus", "left"), ("Brain-Stem", None), ("Clearing", None),
        ("left-right-fissure", None),
    ],
)  # fmt: skip
def test_a_name_says_its_side(name: str, side: str | None) -> None:
    assert hemisphere_of(name) == side


def test_volumes_by_region_and_side_are_those_of_the_atlas_scaled() -> None:
    """Native space is the atlas, twice as large along x: each region has twice the volume, on other voxels."""
    stretch = sitk.AffineTransform(3)
    stretch.SetMatrix(np.diag([0.5, 1, 1]).ravel().tolist())  # native points to the atlas
    grid = Grid((80, 40, 40), np.array([[1.0, 0, 0, -39.5], [0, 1, 0, -20], [0, 0, 1, -20], [0, 0, 0, 1]]))
    labels, side = carried(atlas(), grid, [stretch]), sides(grid, [stretch])
    assert set(np.unique(labels.get_fdata())) == {0, 3, 7, 1021}
    assert (np.asanyarray(side.dataobj)[:40] == LEFT).all()
    assert (np.asanyarray(side.dataobj)[40:] == RIGHT).all()
    parts = parts_of(labels, side, REGIONS)
    told = [(part.region.index, part.hemisphere) for part in parts]
    assert told == [(7, "left"), (1021, "left"), (1021, "right"), (3, "right"), (9, "left"), (9, "right")]
    half_grey = new_image(np.full(grid.shape, 0.5, np.float32), grid.affine)
    found = volumes(parts, half_grey)
    for (whole, grey), truth in zip(found, [2.0, 2.0, 2.0, 2.0, 0, 0], strict=True):
        assert whole == pytest.approx(truth, rel=0.06)
        assert grey == pytest.approx(whole / 2)


def test_a_parcellation_of_another_space_is_refused() -> None:
    far = Grid((20, 20, 20), np.diag([1.0, 1, 1, 1]) + np.array([[0, 0, 0, 500.0]] + [[0] * 4] * 3))
    with pytest.raises(ImageError, match="not in the space of the atlas"):
        carried(atlas(), far, [])
