"""Modulated tissue: known deformations, and the volume that has to stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bids_app.steps.images import new_image
from bids_app.steps.modulation import jacobian_determinant, linear_determinant, modulate, smooth
from bids_app.steps.registration import read_transform, write_transform
from bids_app.steps.resampling import Grid

K = 2 * np.pi / 80  # of the waves: one in 80 mm
GRID = Grid((48, 52, 44), np.array([[2.0, 0, 0, -47], [0, 2, 0, -51], [0, 0, 2, -43], [0, 0, 0, 1]]))


def waves(spacing_mm: float = 1.0, turn: float = 1.0) -> sitk.DisplacementFieldTransform:
    """x + 4 sin(K x), y + 3 sin(K y + 0.3) cos(K x / 2), z + 2 sin(K z), in LPS+ mm; `turn` scales it."""
    axis = -70 + spacing_mm * np.arange(round(140 / spacing_mm) + 1)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    moved = (4 * np.sin(K * x), 3 * np.sin(K * y + 0.3) * np.cos(K * x / 2), 2 * np.sin(K * z))
    field = sitk.GetImageFromArray(turn * np.stack(moved, axis=-1), isVector=True)
    field.SetOrigin([-70.0] * 3)
    field.SetSpacing([spacing_mm] * 3)
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))


def affine() -> sitk.AffineTransform:
    turned = np.array(sitk.Euler3DTransform((0, 0, 0), 0.1, 0.2, -0.1).GetMatrix()).reshape(3, 3)
    result = sitk.AffineTransform(3)
    result.SetMatrix((np.diag([1.1, 0.95, 1.05]) @ turned).ravel().tolist())
    result.SetTranslation((3.0, -2.0, 1.0))
    return result


def turned() -> sitk.Transform:
    return sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3)


def true_determinant() -> np.ndarray:
    """Of `waves`, by hand, at the voxels of GRID: a triangular Jacobian."""
    at = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1)
    ras = at @ GRID.affine[:3, :3].T + GRID.affine[:3, 3]
    x, y, z = -ras[..., 0], -ras[..., 1], ras[..., 2]
    return np.asarray(
        (1 + 4 * K * np.cos(K * x))
        * (1 + 3 * K * np.cos(K * y + 0.3) * np.cos(K * x / 2))
        * (1 + 2 * K * np.cos(K * z))
    )


def ball(radius_mm: float, centre: tuple[float, float, float] = (0, 0, 0), shape: int = 90) -> object:
    """A ball with a soft rim in a native space of 1 x 1.5 x 1.2 mm voxels."""
    edges = np.array([1.0, 1.5, 1.2])
    matrix = np.diag([*edges, 1.0])
    matrix[:3, 3] = -edges * (shape - 1) / 2
    at = np.stack(np.meshgrid(*[np.arange(shape)] * 3, indexing="ij"), axis=-1) * edges + matrix[:3, 3]
    distance = np.sqrt(((at - np.array(centre)) ** 2).sum(axis=-1))
    return new_image(np.clip((radius_mm - distance) / 2 + 0.5, 0, 1).astype(np.float32), matrix)


def test_the_determinant_is_that_of_a_known_deformation() -> None:
    found = jacobian_determinant([waves()], GRID)
    assert np.abs(found / true_determinant() - 1).max() < 2e-3
    assert found.min() < 0.7  # there is something to get wrong
    assert found.max() > 1.8


def test_composites_on_disk_have_the_determinants_of_both_parts(tmp_path: Path) -> None:
    write_transform(sitk.CompositeTransform([affine(), waves(2.0)]), tmp_path / "xfm.h5")
    whole = read_transform(tmp_path / "xfm.h5")
    assert linear_determinant([whole]) == pytest.approx(1.1 * 0.95 * 1.05, rel=1e-9)
    # the affine part acts last, so the waves' determinant is the one at the point itself
    found = jacobian_determinant([whole], GRID) / (1.1 * 0.95 * 1.05)
    assert np.abs(found / true_determinant() - 1).max() < 1e-2


@pytest.mark.parametrize("kind", ["rigid", "affine", "syn"])
def test_the_sum_over_the_atlas_is_the_native_volume(kind: str) -> None:
    native = ball(28.0, centre=(4, -3, 2))
    linear = affine() if kind != "rigid" else turned()
    chain = [waves(2.0), linear] if kind == "syn" else [linear]
    found = modulate(native, GRID, chain)
    assert found.native_ml == pytest.approx(4 / 3 * np.pi * 28**3 / 1000, rel=0.01)
    assert found.atlas_ml == pytest.approx(found.native_ml, rel=2e-3)
    assert found.folded == 0
    if kind == "rigid":
        assert found.linear_determinant == pytest.approx(1, abs=1e-9)


def test_the_non_linear_part_alone_leaves_the_size_of_the_head_out() -> None:
    native, chain = ball(28.0), [waves(2.0), affine()]
    full, part = modulate(native, GRID, chain), modulate(native, GRID, chain, part="nonlinear")
    assert part.atlas_ml * full.linear_determinant == pytest.approx(full.atlas_ml, rel=1e-6)
    rigid = modulate(native, GRID, [affine()], part="nonlinear")
    assert rigid.image.get_fdata().max() == pytest.approx(1, abs=1e-5)  # nothing but resampled


def test_what_falls_off_the_atlas_is_said() -> None:
    native = ball(20.0, centre=(-40, 0, 0), shape=130)  # the grid ends at x = -48
    found = modulate(native, GRID, [sitk.AffineTransform(3)])
    cap = np.pi * 12**2 * (3 * 20 - 12) / 3 / 1000  # height 12 of radius 20
    assert found.outside_ml == pytest.approx(cap, rel=0.03)
    assert found.atlas_ml + found.outside_ml == pytest.approx(found.native_ml, rel=5e-3)
    assert modulate(native, GRID, [waves(2.0)]).outside_ml is None
    assert modulate(native, GRID, [waves(2.0)], back=[sitk.AffineTransform(3)]).outside_ml is not None


def test_folding_is_counted_and_adds_no_negative_volume() -> None:
    found = modulate(ball(28.0), GRID, [waves(2.0, turn=8.0)])
    assert found.folded > 0.01
    assert found.image.get_fdata().min() == 0


def test_smoothing_has_the_width_that_it_says() -> None:
    array = np.zeros((41, 41, 41), np.float32)
    array[20, 20, 20] = 1
    image = new_image(array, np.diag([1.0, 2.0, 1.0, 1.0]))
    found = smooth(image, 8.0).get_fdata()
    assert found.sum() == pytest.approx(1, abs=1e-3)
    assert found[24, 20, 20] / found[20, 20, 20] == pytest.approx(0.5, rel=1e-3)  # 4 mm off: half of the maximum
    assert found[20, 22, 20] / found[20, 20, 20] == pytest.approx(0.5, rel=1e-3)
    with pytest.raises(ValueError, match="smooths nothing"):
        smooth(image, 0.0)
