"""The image that flows between the steps, and its bridge to SimpleITK (that to ANTs: `ants`).

Every step works on a *conformed* image: a three-dimensional float32 `nibabel.Nifti1Image` in RAS+ orientation
(first axis towards the right, second towards the front, third upwards), finite, with one affine (voxel -> mm,
RAS+ world). Masks are uint8 images on the same grid. `conform` makes one out of a file as a scanner wrote it without
interpolating; `to_raw_grid` takes an array back to the orientation of that file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

if TYPE_CHECKING:
    import SimpleITK as sitk

Image = nib.Nifti1Image
Affine = NDArray[np.float64]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's world is left-posterior-superior, NIfTI's right-anterior-superior
_RAS_ORIENTATION = axcodes2ornt("RAS")
#: Largest cosine between two axes of a grid that is taken for rounding and made right-angled; above it is a shear.
_MAX_SHEAR = 1e-2


class ImageError(ValueError):
    """An image that cannot be processed; the message says what is wrong with it, for a user."""


def spacing_mm(image: Any) -> tuple[float, float, float]:
    """Voxel edge lengths along the image's own axes, in mm, from its affine."""
    x, y, z = np.sqrt((np.asarray(image.affine)[:3, :3] ** 2).sum(axis=0))
    return float(x), float(y), float(z)


def voxel_ml(image: Any) -> float:
    """Volume of a voxel in millilitres."""
    return float(abs(np.linalg.det(np.asarray(image.affine)[:3, :3])) / 1000)


def grid_affine(raw: Any) -> Affine:
    """The one right-angled affine (voxel -> RAS+ mm) of a NIfTI image.

    The sform where it is set and right-angled, else the qform where it is set, else the voxel sizes with the centre of
    the grid at the origin (NIfTI-1 standard, methods 3, 2 and 1). Rounding errors in the angles are removed.

    Raises
    ------
    ImageError
        No affine is invertible, or the only one is sheared: a rigid scanner grid cannot be recovered.
    """
    affines = list(coded_affines(raw.header).values()) or [np.asarray(raw.affine, dtype=float)]
    problem = ""
    for affine in affines:
        grid, problem = right_angled(affine)
        if grid is not None:
            return grid
    raise ImageError(
        f"its affine {problem}: the header gives no right-angled grid; rewrite it with a valid qform or sform"
    )


def coded_affines(header: Any) -> dict[str, Affine]:
    """The affines that a NIfTI header says to be set, as it has them: `sform` first, then `qform`."""
    result = {}
    for name in ("sform", "qform") if hasattr(header, "get_sform") else ():
        try:
            affine, code = getattr(header, f"get_{name}")(coded=True)
        except (ValueError, HeaderDataError):  # a quaternion that is no rotation
            affine, code = np.full((4, 4), np.nan), 1
        if code and affine is not None:
            result[name] = np.asarray(affine, dtype=float)
    return result


def right_angled(affine: Affine) -> tuple[Affine | None, str]:
    """An affine without the rounding errors in its angles, and "", or None and what is wrong with it."""
    edges = affine[:3, :3].astype(float)
    lengths = np.sqrt((edges**2).sum(axis=0))
    if not np.isfinite(affine).all() or not np.isfinite(lengths).all() or (lengths < 1e-4).any():
        return None, "is not invertible"
    cosines = edges / lengths
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > _MAX_SHEAR:
        return None, "is sheared"
    left, _, right = np.linalg.svd(cosines)  # nearest rotation: polar decomposition
    result = np.eye(4)
    result[:3, :3] = (left @ right) * lengths
    result[:3, 3] = affine[:3, 3]
    return result, ""


def conform(raw: Any, *, may_be_constant: bool = False) -> Image:
    """Conform an image as read from disk: RAS+, three-dimensional, float32, finite, one affine; no interpolation.

    Parameters
    ----------
    raw
        Any `nibabel` spatial image; a fourth axis of length one is dropped. NaN and infinite voxels become 0.
    may_be_constant
        Whether all voxels may have one value, as those of a mask in a small field of view.

    Raises
    ------
    ImageError
        Not three-dimensional, complex or RGB, no usable affine, or the same value everywhere where it may not be.
    """
    array = np.asanyarray(raw.dataobj)
    if array.dtype.fields is not None or np.iscomplexobj(array):
        raise ImageError("its voxels are complex or RGB, not one number each")
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or min(array.shape) < 1:
        raise ImageError(f"its shape is {tuple(raw.shape)}: one three-dimensional volume is needed")
    affine = grid_affine(raw)
    with np.errstate(over="ignore", invalid="ignore"):
        data = array.astype(np.float32)
    if not np.isfinite(data).all():
        data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    if not may_be_constant and data.min() == data.max():
        raise ImageError("every voxel has the same value: the image is empty")
    orientation = io_orientation(affine)
    data = np.ascontiguousarray(apply_orientation(data, ornt_transform(orientation, _RAS_ORIENTATION)))
    affine = affine @ nib.orientations.inv_ornt_aff(ornt_transform(orientation, _RAS_ORIENTATION), array.shape)
    return new_image(data, affine)


def to_raw_grid(array: NDArray[Any], raw: Any) -> NDArray[Any]:
    """Reorient an array of a conformed grid to the axes of the raw image that `conform` made it from."""
    back = ornt_transform(_RAS_ORIENTATION, io_orientation(grid_affine(raw)))
    return np.ascontiguousarray(apply_orientation(array, back))


def on_raw_grid(image: Any, raw: Any) -> Image:
    """A conformed image put back on the grid and axes of the raw image that it comes from."""
    return new_image(to_raw_grid(np.asanyarray(image.dataobj), raw), grid_affine(raw))


def new_image(array: NDArray[Any], affine: Affine) -> Image:
    """A NIfTI image with sform and qform both set to `affine` (code 1, scanner), units mm and seconds."""
    image = Image(array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1, strip_shears=True)
    image.header.set_xyzt_units("mm", "sec")
    return image


def like(array: NDArray[Any], image: Any) -> Image:
    """A new image on the grid of `image`."""
    return new_image(array, np.asarray(image.affine))


def array_of(image: Any) -> NDArray[np.float32]:
    """The voxels as float32."""
    return np.asarray(image.dataobj, dtype=np.float32)


def mask_of(image: Any) -> NDArray[np.bool_]:
    """The voxels of a mask as booleans."""
    return np.asanyarray(image.dataobj) > 0


def same_grid(one: Any, other: Any, tolerance_mm: float = 1e-3) -> bool:
    """Whether two images have the same shape and affine."""
    return one.shape[:3] == other.shape[:3] and bool(np.allclose(one.affine, other.affine, atol=tolerance_mm))


def itk_grid(affine: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Origin (mm), spacing (mm) and direction (3 x 3) of a grid in ITK's world, LPS+."""
    world = LPS @ np.asarray(affine, dtype=float)
    spacing = np.sqrt((world[:3, :3] ** 2).sum(axis=0))
    return world[:3, 3], spacing, world[:3, :3] / spacing


def to_itk(image: Any) -> sitk.Image:
    """A SimpleITK image with the same voxels and grid (RAS+ mm become ITK's LPS+ mm)."""
    import SimpleITK as sitk

    result = sitk.GetImageFromArray(np.asanyarray(image.dataobj).transpose(2, 1, 0))
    origin, spacing, direction = itk_grid(image.affine)
    result.SetSpacing(spacing.tolist())
    result.SetDirection(direction.ravel().tolist())
    result.SetOrigin(origin.tolist())
    return result


def from_itk(image: sitk.Image) -> Image:
    """The NIfTI image of a SimpleITK image."""
    import SimpleITK as sitk

    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return new_image(np.ascontiguousarray(sitk.GetArrayFromImage(image).transpose(2, 1, 0)), LPS @ affine)
