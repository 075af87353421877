"""Cortical thickness: shells of known thickness."""

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


@pytest.mark.parametrize(
    "thickness_mm", [3.0, pytest.param(2.0, marks=pytest.mark.slow), pytest.param(4.0, marks=pytest.mark.slow)]
)
def test_a_shell_is_as_thick_as_it_is(thickness_mm: float) -> None:
    grey, white = shell(36, 10.0, thickness_mm)
    cortex = cortex_of(grey, white)
    found = cortical_thickness(cortex)
    told = summary(found, np.asanyarray(cortex.labels.dataobj) == 2)
    assert told.mean_mm == pytest.approx(thickness_mm, abs=0.3)
    assert told.median_mm == pytest.approx(thickness_mm, abs=0.3)
    assert told.sd_mm is not None
    assert told.sd_mm < 0.2
    assert told.voxels == (np.asanyarray(cortex.labels.dataobj) == 2).sum()


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
