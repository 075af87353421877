"""Where the voxels of a NIfTI header are in space, and what is odd about that."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from bids_app.inputs.errors import HeaderError
from bids_app.steps.images import ImageError, coded_affines, grid_affine, right_angled

#: No voxel is a metre long, and no head a hundred metres from the scanner's centre.
_MAX_EDGE_MM = 1000.0
_MAX_OFFSET_MM = 1e5
#: The slice normal's largest component below which a plane counts as oblique (MR-RATE dataset guide).
_OBLIQUE_BELOW = 0.9
#: Axes whose spacing is within 5 % of the largest count as equally thick.
_SAME_SPACING = 1.05
#: Sform and qform closer than this share of the largest voxel edge are the same but for rounding.
_SAME_PLACE = 0.5
_PLANES = ("sagittal", "coronal", "axial")
_UNIT_MM = {1: 1000.0, 3: 0.001}  # NIfTI-1 xyzt_units: metres, micrometres


@dataclass(frozen=True)
class Geometry:
    """The grid of an image; axes are those of the file."""

    spacing_mm: tuple[float, float, float]
    fov_mm: tuple[float, float, float]
    orientation: str  # where the axes point to, such as "LAS"
    plane: str  # "axial", "sagittal", "coronal" or "oblique"
    warnings: tuple[str, ...]
    affine: tuple[float, ...] = ()  # voxels to RAS+ mm, the upper three rows one after another


def read_geometry(header: Any, shape: tuple[int, ...]) -> Geometry:
    """The geometry of a NIfTI header.

    Raises
    ------
    HeaderError
        No usable affine, two that disagree about left and right, other units than millimetres, or absurd numbers.
    """
    affine = _affine(header)
    warnings = _form_warnings(header)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    fov = spacing * shape[:3]
    _check_units(header, fov)
    if spacing.max() > _MAX_EDGE_MM or np.abs(affine[:3, 3]).max() > _MAX_OFFSET_MM:
        raise HeaderError("its header says an absurd voxel size or position; convert the file again")
    return Geometry(
        _rounded(spacing, 5), _rounded(fov, 3), _orientation(affine, spacing), _plane(affine, spacing), warnings,
        tuple(round(float(value), 5) for value in affine[:3].ravel()),
    )  # fmt: skip


def _affine(header: Any) -> Any:
    try:
        with np.errstate(all="ignore"):
            coded = int(header["sform_code"]) or int(header["qform_code"])
            raw = SimpleNamespace(header=header, affine=None if coded else header.get_base_affine())
            affine = grid_affine(raw)
    except ImageError as error:
        raise HeaderError(str(error)) from None
    except (HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
        raise HeaderError(f"its header has no usable orientation: {error}") from None
    return affine


def _form_warnings(header: Any) -> tuple[str, ...]:
    """What is odd about the affines of a header of which one, at least, is usable.

    Two that mirror each other raise: which side is the left one cannot be told from them (FSL refuses them, too).
    """
    coded = coded_affines(header)
    if not coded:
        return ("neither its sform nor its qform is set: where left and right are is a guess",)
    grids = {name: right_angled(affine) for name, affine in coded.items()}
    usable = {name: grid for name, (grid, _) in grids.items() if grid is not None}
    if len(usable) < len(coded):
        (used,) = usable
        return tuple(f"its {name} {what}; its {used} is used" for name, (grid, what) in grids.items() if grid is None)
    if len(usable) < 2:
        return ()
    sform, qform = usable["sform"], usable["qform"]
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        raise HeaderError(
            "its sform and qform disagree about left and right; find out which is true and rewrite the header"
        )
    ends = [(0, int(size) - 1) for size in header["dim"][1:4]]
    corners = np.array([(*corner, 1) for corner in itertools.product(*ends)])
    apart = float(np.linalg.norm(corners @ (sform - qform)[:3].T, axis=1).max())
    if apart > _SAME_PLACE * np.sqrt((sform[:3, :3] ** 2).sum(axis=0)).max():
        return (f"its sform and qform are up to {apart:.3g} mm apart; its sform is used",)
    return ()


def _check_units(header: Any, fov: Any) -> None:
    """Metres or micrometres in a header whose field of view makes sense only in them."""
    factor = _UNIT_MM.get(int(header["xyzt_units"]) & 7)
    if factor and not 30 <= fov.max() <= 1000 and 30 <= fov.max() * factor <= 1000:
        unit = "metres" if factor > 1 else "micrometres"
        raise HeaderError(f"its voxel sizes are in {unit}; rewrite the header in millimetres")


def _orientation(affine: Any, spacing: Any) -> str:
    """Where the axes point to; nibabel's answer, without its decomposition where every axis has its own direction."""
    cosines = affine[:3, :3] / spacing
    world = [int(row) for row in np.abs(cosines).argmax(axis=0)]
    if sorted(world) != [0, 1, 2]:
        return "".join(nib.aff2axcodes(affine))
    return "".join(("LR", "PA", "IS")[row][int(cosines[row, axis] > 0)] for axis, row in enumerate(world))


def _plane(affine: Any, spacing: Any) -> str:
    """The plane of the slices: across the axis of the largest spacing (the third, where none is largest)."""
    thick = [axis for axis in range(3) if spacing[axis] * _SAME_SPACING >= spacing.max()]
    axis = thick[0] if len(thick) == 1 else 2
    normal = np.abs(affine[:3, axis]) / spacing[axis]
    dominant = int(normal.argmax())
    return _PLANES[dominant] if normal[dominant] >= _OBLIQUE_BELOW else "oblique"


def _rounded(values: Any, decimals: int) -> tuple[float, float, float]:
    x, y, z = (round(float(value), decimals) for value in values)
    return x, y, z
