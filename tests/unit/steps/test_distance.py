"""Masks grown and shrunk by a distance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from bids_app.steps.distance import grown, shrunk

SPACING = (0.9, 1.1, 5.0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mm", [0.0, 2.0, 6.5])
def test_it_is_what_the_whole_grid_would_give(seed: int, mm: float) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((30, 28, 9), bool)
    low, high = rng.integers(0, 8, 3) // [1, 1, 4], rng.integers(10, 28, 3) // [1, 1, 3] + 1
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    mask &= rng.random(mask.shape) > 0.02
    assert np.array_equal(grown(mask, SPACING, mm), distance_transform_edt(~mask, sampling=SPACING) <= mm)
    assert np.array_equal(shrunk(mask, SPACING, mm), distance_transform_edt(mask, sampling=SPACING) > mm)


def test_nothing_grows_to_nothing_and_everything_shrinks_to_everything() -> None:
    nothing = np.zeros((4, 5, 6), bool)
    assert not grown(nothing, SPACING, 3).any()
    assert not shrunk(nothing, SPACING, 3).any()
    assert grown(~nothing, SPACING, 3).all()
    assert shrunk(~nothing, SPACING, 3).all()


@pytest.mark.parametrize("edge", [2.0, np.nextafter(2.0, 3), float(np.float32(1.9999999)), 2.0000002])
def test_the_last_bit_of_a_voxels_edge_decides_nothing(edge: float) -> None:
    """Edges from the header of an oblique scan of 2 mm are off by as much."""
    one = np.zeros((7, 7, 7), bool)
    one[3, 3, 3] = True
    assert grown(one, (edge, edge, edge), 2.0).sum() == 7
