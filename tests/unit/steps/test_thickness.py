"""Cortical thickness: shells and folds of known thickness."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.steps.images import ImageError, new_image
from bids_app.steps.thickness import cortex_of, cortical_thickness, summary


def shell(size: int, radius_mm: float, thickness_mm: float, edge_mm: float = 1.0) -> tuple[object, object]:
    """Grey matter around a ball of white matter, with partial volume."""
    fine = 4
    axis = (np.arange(size * fine) - (size * fine - 1) / 2) * edge_mm / fine
    r = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    affine = np.diag([edge_mm, edge_mm, edge_mm, 1.0])

    def coarse(mask: np.ndarray) -> object:
        part = mask.reshape(size, fine, size, fine, size, fine).mean(axis=(1, 3, 5))
        return new_image(part.astype(np.float32), affine)

    return coarse((r >= radius_mm) & (r < radius_mm + thickness_mm)), coarse(r < radius_mm)


@pytest.mark.parametrize("edge_mm", [0.7, 1.0, 1.2])
@pytest.mark.parametrize("thickness_mm", [2.0, 3.0, 4.0])
def test_a_shell_is_as_thick_as_it_is(thickness_mm: float, edge_mm: float) -> None:
    grey, white = shell(round(36 / edge_mm), 10.0, thickness_mm, edge_mm)
    cortex = cortex_of(grey, white)
    found = cortical_thickness(cortex)
    told = summary(found, np.asanyarray(cortex.labels.dataobj) == 2)
    assert told.mean_mm == pytest.approx(thickness_mm, abs=0.1)
    assert told.median_mm == pytest.approx(thickness_mm, abs=0.1)
    assert told.sd_mm is not None
    assert told.sd_mm < 0.1
    assert told.voxels == (np.asanyarray(cortex.labels.dataobj) == 2).sum()


@pytest.mark.parametrize("fluid_mm", [0.0, 0.3, 0.6, 2.0])
def test_banks_that_touch_are_two(fluid_mm: float) -> None:
    """Two banks of 2.5 mm with so much fluid between them, less than a voxel shows or more, oblique to the grid."""
    size, fine, thickness_mm = 32, 4, 2.5
    axis = (np.arange(size * fine) - (size * fine - 1) / 2) / fine
    away = np.abs(np.cos(0.3) * axis[:, None, None] + np.sin(0.3) * axis[None, :, None] + 0 * axis)

    def coarse(mask: np.ndarray) -> object:
        part = mask.reshape(size, fine, size, fine, size, fine).mean(axis=(1, 3, 5))
        return new_image(part.astype(np.float32), np.eye(4))

    white, fluid = away > thickness_mm + fluid_mm / 2, away < fluid_mm / 2
    cortex = cortex_of(coarse(~white & ~fluid), coarse(white))
    middle = np.zeros((size,) * 3, bool)
    middle[8:-8, 8:-8, 8:-8] = True
    told = summary(cortical_thickness(cortex), middle)
    assert told.mean_mm == pytest.approx(thickness_mm, abs=0.2)
    assert told.sd_mm is not None
    assert told.sd_mm < 0.2


def test_a_piece_of_surface_counts_by_its_area() -> None:
    """Equal areas of 2 and 4 mm of cortex: twice as many voxels lie in the second."""
    thickness = new_image(np.repeat([2.0, 4.0], [1000, 2000]).astype(np.float32).reshape(10, 10, 30), np.eye(4))
    told = summary(thickness, np.ones((10, 10, 30), bool))
    assert told.mean_mm == pytest.approx(3.0)
    assert told.sd_mm == pytest.approx(1.0)
    assert told.voxels == 3000


def test_grey_matter_far_from_white_matter_has_no_thickness() -> None:
    grey = np.zeros((40, 20, 20), np.float32)
    white = np.zeros_like(grey)
    white[:5], grey[5:8], grey[30:32] = 1, 1, 1
    cortex = cortex_of(new_image(grey, np.eye(4)), new_image(white, np.eye(4)))
    found = np.asanyarray(cortical_thickness(cortex).dataobj)
    assert found[5:8].mean() == pytest.approx(3.0, abs=0.1)
    assert not found[30:32].any()


def test_what_is_within_or_beyond_is_no_cortex() -> None:
    grey, white = shell(20, 4.0, 3.0)
    within, beyond = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    within[10:], beyond[:5] = True, True
    labels = np.asanyarray(cortex_of(grey, white, within=within, beyond=beyond).labels.dataobj)
    assert (labels[10:] == 3).all()
    assert (labels[:5] == 0).all()


def test_large_voxels_and_no_cortex_are_refused() -> None:
    grey, white = shell(20, 8.0, 6.0, edge_mm=1.5)
    with pytest.raises(ImageError, match=r"up to 1\.5 mm long"):
        cortical_thickness(cortex_of(grey, white))
    nothing = new_image(np.zeros((9, 9, 9), np.float32), np.eye(4))
    with pytest.raises(ImageError, match="no cortex"):
        cortical_thickness(cortex_of(nothing, nothing))
