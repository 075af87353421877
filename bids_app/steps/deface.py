"""Defacing from the brain mask alone, in millimetres.

Quickshear (Schimke & Hale 2011) removes everything beyond a plane that touches the brain's sagittal profile from below
and in front. Here the profile is a set of points in mm, not an image: neither thick slices nor a brain at the edge of
the field of view change the plane. A plane alone cuts the eyeballs in two, for they lie in the hollow between frontal
and temporal lobe; so the orbits behind the plane are emptied too, up to a margin around the brain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from .distance import grown, shrunk
from .images import Image, ImageError, grid_affine, like, mask_of, spacing_mm, to_raw_grid

VERSION = "6"

#: No voxel within this distance of the brain mask is removed: masks are off by a few millimetres.
SAFETY_MM = 4.0
#: Nor within this distance of the space inside the skull, where that is known: the bone around it is thicker.
_SKULL_MM = 1.0
_THICK_MM = 2.5

# Where the face is, measured on 18 whole-head label maps with faces (eyeballs, pitch of the head 6 to 48 degrees):
_PLANE_TO_LONG_AXIS_DEG = 76.0  # from the brain's long axis to the plane's normal: 72 to 83 on all of them
_PLANE_TOLERANCE_DEG = 20.0
# Eyeballs reach up to 10 mm behind the plane and up to 20 mm below the foremost point where the brain touches it; the
# rest is for a head that leans sideways. The orbit's fat and the ethmoid reach 24 and 45 mm: going there cost demo
# brains up to 0.1 ml where the mask of the head template was wrong, so with such a mask it is for heads that still show
# a face (see `remove_face`).
_ORBIT_DEPTH_MM, _DEEP_ORBIT_DEPTH_MM = 16.0, 24.0
_ORBIT_LENGTH_MM, _DEEP_ORBIT_LENGTH_MM = 35.0, 45.0
_TOUCHING_MM = 4.0  # hull points this close to the plane count as touching it
_THIN_MM = 5.0  # half the width of what a mask may have grown besides the brain: vessels, nerves, specks


@dataclass(frozen=True)
class _FacePlane:
    """The plane that touches the brain from below and in front, in RAS+ mm."""

    normal: NDArray[np.float64]  # unit, out of the head: forwards and downwards
    forward: NDArray[np.float64]  # unit, in the plane: forwards and upwards
    lateral: NDArray[np.float64]  # unit, to the right
    touch: NDArray[np.float64]  # foremost point of the brain's profile that touches the plane


def face_mask(
    brain_mask: Image, intracranial: Image | None = None, *, buffer_mm: float = 5.0, deep: bool = False
) -> Image:
    """Find the voxels of the face.

    Parameters
    ----------
    brain_mask
        Conformed; any slice thickness and field of view.
    intracranial
        The space inside the skull, on the same grid: what a brain mask that is too tight leaves out is kept by it.
    buffer_mm
        Distance between the brain and the plane beyond which everything goes.
    deep
        Empty the orbits to their ends and the ethmoid, for a mask that took in some of them and so hid the eyes.

    Returns
    -------
    uint8 mask on the grid of the brain mask, 1 where the face (with eyes, nose, mouth, jaw) is to be removed. Nothing
    within `SAFETY_MM` of the brain mask or in the skull belongs to it.

    Raises
    ------
    ImageError
        The brain mask is empty or too flat to see the brain's shape in.
    """
    from scipy.ndimage import binary_dilation

    brain = mask_of(brain_mask)
    plane = _face_plane(_core(brain, spacing_mm(brain_mask)), brain_mask.affine)
    depth = _over_voxels(plane.normal, plane.touch, brain.shape, brain_mask.affine)
    ahead = _over_voxels(plane.forward, plane.touch, brain.shape, brain_mask.affine)
    face = depth > buffer_mm
    behind, below = (_DEEP_ORBIT_DEPTH_MM, _DEEP_ORBIT_LENGTH_MM) if deep else (_ORBIT_DEPTH_MM, _ORBIT_LENGTH_MM)
    face |= (depth > -behind) & (ahead > -below)
    spacing = spacing_mm(brain_mask)
    for axis in range(3):  # half a slice of brain counts as none in a mask: thick slices keep their neighbours
        if spacing[axis] > _THICK_MM:
            line = np.zeros((3, 3, 3), bool)
            line[tuple(slice(None) if each == axis else 1 for each in range(3))] = True
            brain = binary_dilation(brain, line)
    # what is next to a thick slice is kept by now: one more is not, though the slices be of just that distance
    edges = [edge * 1.001 if edge > _THICK_MM else edge for edge in spacing]
    face &= ~grown(brain, edges, SAFETY_MM)
    if intracranial is not None:
        face &= ~grown(mask_of(intracranial), spacing, _SKULL_MM)
    return like(face.astype(np.uint8), brain_mask)


def deface(raw: Any, face: Image) -> nib.Nifti1Image:
    """Remove the face from an image as it was read from disk; every voxel outside the face keeps its stored bits.

    Parameters
    ----------
    raw
        The image as `nibabel` loaded it: any orientation, data type and scaling; a fourth axis of length one is kept.
    face
        From `face_mask`, on the grid of the conformed image.

    Returns
    -------
    An image to be saved as it is: its array holds the *stored* values, its header data type and scaling of `raw`. (An
    image with another scaling than 1 and 0 shows its values only after saving and loading.) In the face it stores what
    stands for 0, or, where the scaling has no 0 (an unsigned type with a positive intercept), the value nearest to it.
    Free text and extensions of the header are gone; sform and qform are the one grid of `images.grid_affine`.

    Raises
    ------
    ImageError
        The face mask is not on the grid of the image.
    """
    stored, slope, inter = _stored(raw)
    removed = to_raw_grid(mask_of(face), raw)
    if removed.size != stored.size or removed.shape != stored.shape[:3]:
        raise ImageError(f"the face mask's shape {removed.shape} is not the image's {stored.shape}")
    stored[removed.reshape(stored.shape)] = _stored_zero(stored.dtype, slope, inter)
    kind = type(raw) if isinstance(raw, nib.Nifti1Image) else nib.Nifti1Image
    affine = grid_affine(raw)
    result = kind(stored, affine, _anonymous(kind.header_class.from_header(raw.header)), dtype=stored.dtype)
    result.set_sform(affine, code=1)
    result.set_qform(affine, code=1, strip_shears=True)
    result.header.set_slope_inter(slope, inter)
    return result


def _core(brain: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The mask without specks and thin outgrowths, which must not push the plane away: its largest opened part."""
    from scipy.ndimage import label

    radius = max(_THIN_MM, *spacing)
    padded = np.pad(brain, 1, mode="edge")  # the border of the field of view is none of the brain
    inner = shrunk(padded, spacing, radius)
    parts, count = label(inner)
    if count == 0:
        return brain
    inner = parts == np.bincount(parts[inner]).argmax()
    return grown(inner, spacing, radius)[1:-1, 1:-1, 1:-1] & brain


def _face_plane(brain: NDArray[np.bool_], affine: NDArray[np.float64]) -> _FacePlane:
    """Fit the plane to the convex hull of the brain's sagittal profile.

    Of the hull's edges that look forwards and downwards, with respect to the brain's long axis, the one that the brain
    touches over the greatest length is taken: it runs from the frontal lobe to the temporal lobe or the brain stem.
    """
    from scipy.spatial import ConvexHull, QhullError

    surface, on_border = _surface(brain)
    if len(surface) < 10:
        raise ImageError("the brain mask is empty or tiny: there is no brain to find the face from")
    points = nib.affines.apply_affine(affine, surface)
    lateral = _lateral_axis(points, affine)
    anterior = np.array([0.0, 1.0, 0.0]) - lateral[1] * lateral
    anterior /= np.linalg.norm(anterior)
    axes = np.stack([anterior, np.cross(lateral, anterior)])
    profile = points @ axes.T
    try:
        corners = ConvexHull(profile).vertices
    except QhullError as error:
        raise ImageError("the brain mask is flat: there is no brain to find the face from") from error
    expected = _expected_angle(nib.affines.apply_affine(affine, np.argwhere(brain)[::5]) @ axes.T)
    hull, cut = profile[corners], on_border[corners]
    edges = np.roll(hull, -1, axis=0) - hull  # counter-clockwise: the outside is to the right
    angles = np.arctan2(edges[:, 0], edges[:, 1])  # of the outward normal, from forwards to downwards
    near = np.abs(angles - expected) < np.radians(_PLANE_TOLERANCE_DEG)
    candidates = angles[near & ~(cut & np.roll(cut, -1))]  # an edge of the field of view is none of the brain
    best, length, touching = expected, -1.0, hull[:1]
    for angle in candidates if len(candidates) else [expected]:
        normal = np.array([np.cos(angle), -np.sin(angle)])
        depth = hull @ normal
        contact = hull[depth > depth.max() - _TOUCHING_MM]
        extent = np.ptp(contact @ np.array([np.sin(angle), np.cos(angle)]))
        if extent > length:
            best, length, touching = angle, extent, contact
    normal, forward = np.array([np.cos(best), -np.sin(best)]), np.array([np.sin(best), np.cos(best)])
    touch = forward * (touching @ forward).max() + normal * (hull @ normal).max()
    # From voxel centres to their faces: half a voxel, seen along the normal.
    touch += normal * 0.5 * np.abs((normal @ axes) @ affine[:3, :3]).sum()
    return _FacePlane(normal @ axes, forward @ axes, lateral, touch @ axes + lateral * (points.mean(axis=0) @ lateral))


def _lateral_axis(points: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The head's left-to-right: the normal of the plane in which the brain mirrors onto itself best.

    Sought with Nelder and Mead's simplex from the grid's own first axis, which the operator aligned with the head; a
    mirror plane further than 30 degrees from it is not believed.
    """
    from scipy.optimize import minimize
    from scipy.spatial import KDTree

    start = np.asarray(affine, dtype=float)[:3, 0] / np.linalg.norm(np.asarray(affine)[:3, 0])
    forward, up = np.linalg.svd(start[None])[2][1:]
    sample = points[:: max(1, len(points) // 3000)]
    centre = points.mean(axis=0)
    cloud, tree = sample[::2] - centre, KDTree(sample - centre)

    def axis(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        direction = start + np.tan(parameters[0]) * forward + np.tan(parameters[1]) * up
        return direction / np.linalg.norm(direction)

    def asymmetry_mm(parameters: NDArray[np.float64]) -> float:
        direction = axis(parameters)
        mirrored = cloud - 2 * np.outer(cloud @ direction - 10 * parameters[2], direction)
        return float(np.minimum(tree.query(mirrored)[0], 15.0).mean())  # what is cut off on one side weighs little

    simplex = np.array([[0, 0, 0], [0.15, 0, 0], [0, 0.15, 0], [0, 0, 0.2]])
    found = minimize(
        asymmetry_mm, simplex[0], method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 5e-3, "fatol": 1e-3, "maxiter": 120},
    ).x  # fmt: skip
    return axis(found) if start @ axis(found) > np.cos(np.radians(30)) else start


def _expected_angle(profile: NDArray[np.float64]) -> float:
    """Angle of the plane's normal, from forwards to downwards, as the brain's long axis lets it expect (radians)."""
    _, vectors = np.linalg.eigh(np.cov(profile.T))
    forward, up = vectors[:, 1] * np.sign(vectors[0, 1])
    return float(np.radians(_PLANE_TO_LONG_AXIS_DEG) - np.arctan2(up, forward))


def _surface(brain: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Indices of the brain voxels with a neighbour outside, and whether each lies in the grid's outermost layers."""
    from scipy.ndimage import binary_erosion

    surface = np.argwhere(brain & ~binary_erosion(brain))
    return surface, ((surface == 0) | (surface == np.asarray(brain.shape) - 1)).any(axis=1)


def _over_voxels(
    direction: NDArray[np.float64], start: NDArray[np.float64], shape: tuple[int, ...], affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far (mm) every voxel's centre lies from `start` along a direction (unit), (x, y, z)."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    x, y, z = direction @ affine[:3, :3]
    return np.asarray(x * i + y * j + (z * k + direction @ (affine[:3, 3] - start)))


def _stored(raw: Any) -> tuple[NDArray[Any], float, float]:
    """A copy of the values as stored, and the slope and intercept that scale them."""
    proxy = raw.dataobj
    if hasattr(proxy, "get_unscaled"):
        return np.array(proxy.get_unscaled()), float(proxy.slope), float(proxy.inter)
    slope, inter = raw.header.get_slope_inter() if hasattr(raw.header, "get_slope_inter") else (None, None)
    return np.array(proxy), float(1 if slope is None else slope), float(0 if inter is None else inter)


def _stored_zero(dtype: np.dtype[Any], slope: float, inter: float) -> Any:
    """The stored value that the scaling shows as 0, or nearest to 0."""
    value = -inter / slope
    if dtype.kind not in "iu":
        return value
    limits = np.iinfo(dtype)
    return int(min(max(round(value), limits.min), limits.max))


def _anonymous(header: nib.Nifti1Header) -> nib.Nifti1Header:
    """The header without free text and extensions."""
    for name in ("descrip", "aux_file", "intent_name", "db_name"):
        if name in header:
            header[name] = b""
    header.extensions.clear()
    return header
