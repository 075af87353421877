"""Defacing: where the face is on heads of known anatomy, and that every other voxel keeps its bits."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from bids_app.steps.deface import SAFETY_MM, deface, face_mask
from bids_app.steps.images import ImageError, conform, mask_of, new_image

EYES, NOSE = [(-32, 68, -38), (32, 68, -38)], [(0, 95, -50), (0, 98, -60)]  # mm, in MNI space


def ellipsoid(points: np.ndarray, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    return (((points - centre) / radii) ** 2).sum(axis=-1) < 1


def brain_at(points: np.ndarray) -> np.ndarray:
    """A brain of ellipsoids in MNI space: cerebrum, temporal lobes, cerebellum, brain stem."""
    return (
        ellipsoid(points, (0, -18, 18), (68, 88, 58))
        | ellipsoid(points, (-42, -10, -22), (24, 38, 26))
        | ellipsoid(points, (42, -10, -22), (24, 38, 26))
        | ellipsoid(points, (0, -60, -38), (50, 35, 26))
        | ellipsoid(points, (0, -25, -45), (12, 14, 30))
    )


def head(spacing=(3.0, 3.0, 3.0), turn: np.ndarray | None = None, bottom_mm: float = -130.0):
    """Points in MNI mm of a grid (right, front, up) whose head is turned by `turn`, its brain mask, its skin."""
    low, high = np.array([-100.0, -130.0, bottom_mm]), np.array([100.0, 130.0, 110.0])
    shape = tuple(int(n) for n in np.ceil((high - low) / spacing))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = low
    world = np.moveaxis(np.indices(shape), 0, -1) * spacing + low
    points = world @ (np.eye(3) if turn is None else turn)  # world = turn @ anatomical
    brain = brain_at(points)
    skin = (
        ellipsoid(points, (0, -15, 5), (80, 103, 82))
        | ellipsoid(points, (0, 30, -60), (62, 58, 70))
        | ellipsoid(points, (0, 90, -55), (14, 22, 20))
    )
    image = new_image(np.where(brain, 100, np.where(skin, 60, 0)).astype(np.float32), affine)
    return points, new_image(brain.astype(np.uint8), affine), image


def rotation(axis: int, degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    i, j = [(1, 2), (0, 2), (0, 1)][axis]
    result = np.eye(3)
    result[i, i] = result[j, j] = np.cos(a)
    result[i, j], result[j, i] = -np.sin(a), np.sin(a)
    return result


def assert_face_is_found(points, mask, image, face) -> None:
    from scipy.ndimage import distance_transform_edt

    removed, brain = mask_of(face), mask_of(mask)
    for centre in EYES:
        eye = ellipsoid(points, centre, (12, 12, 12))
        assert eye.any()
        assert removed[eye].all(), f"{(~removed[eye]).sum()} of {eye.sum()} voxels of an eye remain"
    for centre in NOSE:
        nose = ellipsoid(points, centre, (14, 20, 14))
        assert removed[nose].all()
    spacing = np.sqrt((mask.affine[:3, :3] ** 2).sum(axis=0))
    assert distance_transform_edt(~brain, sampling=spacing)[removed].min() > SAFETY_MM
    tissue = np.asarray(image.dataobj) > 0
    assert not removed[tissue & (points[..., 1] < -60) & (points[..., 2] > -40)].any(), "the back of the head went"
    assert not removed[tissue & (points[..., 2] > 60)].any(), "the top of the head went"


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (2.5, 2.5, 5.5), (5.0, 2.5, 2.5), (2.5, 6.0, 2.5)])
def test_eyes_and_nose_go_whatever_the_slices(spacing) -> None:
    points, mask, image = head(spacing)
    assert_face_is_found(points, mask, image, face_mask(mask))


@pytest.mark.parametrize(("axis", "degrees"), [(0, 20), (0, -20), (1, 12), (2, 12), (2, -12)])
def test_eyes_and_nose_go_however_the_head_lies(axis, degrees) -> None:
    points, mask, image = head((3.0, 3.0, 3.0), rotation(axis, degrees))
    assert_face_is_found(points, mask, image, face_mask(mask))


def test_a_brain_at_the_edge_of_the_field_of_view_loses_the_face_alone() -> None:
    points, mask, _ = head(bottom_mm=-46.0)
    assert mask_of(mask)[..., 0].any()
    removed = mask_of(face_mask(mask))
    eyes = ellipsoid(points, EYES[0], (12, 12, 12)) | ellipsoid(points, EYES[1], (12, 12, 12))
    assert removed[eyes].all()
    assert not (removed & mask_of(mask)).any()
    assert not removed[..., -1].any(), "nothing wraps around to the other end"


def test_specks_and_outgrowths_of_the_mask_do_not_push_the_plane_away() -> None:
    """What they cover stays with its margin, and nothing else."""
    points, mask, _ = head()
    clean = mask_of(face_mask(mask))
    wrong = mask_of(mask) | ellipsoid(points, (0, 100, -60), (4, 4, 4)) | ellipsoid(points, (20, 60, -45), (4, 40, 4))
    removed = mask_of(face_mask(new_image(wrong.astype(np.uint8), mask.affine)))
    assert not (removed & wrong).any()
    near = ellipsoid(points, (0, 100, -60), (14, 14, 14)) | ellipsoid(points, (20, 60, -45), (14, 50, 14))
    assert (removed == clean)[~near].mean() > 0.995


def test_the_face_does_not_depend_on_the_grid() -> None:
    """Slices of 6 mm and cubes of 3 mm agree on what is face, but for the slices' thickness."""
    _, fine, _ = head()
    points, coarse, _ = head((3.0, 3.0, 6.0))
    removed, thick = mask_of(face_mask(fine)), mask_of(face_mask(coarse))
    same = removed[..., ::2] == thick[..., : (removed.shape[2] + 1) // 2]
    assert same.mean() > 0.97
    assert points.shape[:2] == removed.shape[:2]


@pytest.mark.parametrize("voxels", [0, 1])
def test_no_brain_is_said(voxels) -> None:
    empty = np.zeros((20, 20, 20), np.uint8)
    empty.flat[:voxels] = 1
    with pytest.raises(ImageError, match="brain mask"):
        face_mask(new_image(empty, np.eye(4)))


def raw_image(data: np.ndarray, axes: str, slope: float | None = None, inter: float = 0.0) -> nib.Nifti1Image:
    """An image as loaded from disk, with axes `axes`, in an oblique position."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(0, 7) @ np.diag([1.0, 1.2, 3.0])
    affine[:3, 3] = [-5, 8, 20]
    move = ornt_transform(io_orientation(affine), axcodes2ornt(axes))
    array = apply_orientation(data, move)
    image = nib.Nifti1Image(array, affine @ inv_ornt_aff(move, data.shape[:3]), dtype=data.dtype)
    image.header["descrip"] = b"Doe^John 1970-01-01"
    image.header["db_name"], image.header["aux_file"], image.header["intent_name"] = b"Doe", b"Doe.txt", b"John"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"John Doe"))
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    return nib.Nifti1Image.from_bytes(image.to_bytes())


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR", "LIA", "AIR", "SPL"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.float32, np.float64])
def test_voxels_outside_the_face_keep_their_bits(axes, dtype) -> None:
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(7, 8, 5)) * 50 + 120).clip(1, 250).astype(dtype)
    raw = raw_image(data, axes)
    conformed = conform(raw)
    face = new_image((rng.uniform(size=conformed.shape) < 0.3).astype(np.uint8), conformed.affine)
    saved = nib.Nifti1Image.from_bytes(deface(raw, face).to_bytes())
    assert saved.get_data_dtype() == dtype
    again = np.asanyarray(conform(saved).dataobj)
    assert (again[mask_of(face)] == 0).all()
    before, after = raw.dataobj.get_unscaled(), saved.dataobj.get_unscaled()
    kept = after != 0
    assert before[kept].tobytes() == after[kept].tobytes()
    assert (~kept).sum() == mask_of(face).sum()
    np.testing.assert_allclose(conform(saved).affine, conformed.affine, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "zero"),
    [(np.int16, 0.5, 0.0, 0), (np.int16, 2.0, -1000.0, 500), (np.uint8, 1.0, 10.0, 0), (np.int16, 0.5, 20.0, -40)],
)
def test_scaling_is_kept_and_the_face_shows_0_or_what_is_nearest(dtype, slope, inter, zero) -> None:
    data = np.arange(100, 196).reshape(4, 4, 6).astype(dtype)
    raw = raw_image(data, "LPS", slope, inter)
    face = np.zeros(conform(raw).shape, np.uint8)
    face[:, 2:] = 1
    saved = nib.Nifti1Image.from_bytes(deface(raw, new_image(face, conform(raw).affine)).to_bytes())
    assert (saved.dataobj.slope, saved.dataobj.inter) == (slope, inter)
    stored, before = saved.dataobj.get_unscaled(), raw.dataobj.get_unscaled()
    assert (stored != before).sum() == face.sum()
    assert (stored[stored != before] == zero).all()


def test_a_singleton_fourth_axis_stays_and_names_go() -> None:
    data = np.arange(1, 61, dtype=np.int16).reshape(3, 4, 5, 1)
    raw = raw_image(data, "LAS")
    face = np.zeros((3, 4, 5), np.uint8)
    face[0] = 1
    result = deface(raw, new_image(face, conform(raw).affine))
    assert result.shape == (3, 4, 5, 1)
    content = result.to_bytes()
    assert b"Doe" not in content
    assert b"John" not in content
    assert int(result.header["sform_code"]) == int(result.header["qform_code"]) == 1
    assert (np.asanyarray(raw.dataobj) > 0).all(), "the input was changed"


def test_a_face_mask_of_another_grid_is_refused() -> None:
    raw = raw_image(np.ones((3, 4, 5), np.int16), "RAS")
    with pytest.raises(ImageError, match="shape"):
        deface(raw, new_image(np.zeros((3, 4, 6), np.uint8), np.eye(4)))
