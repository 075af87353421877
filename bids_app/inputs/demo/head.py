"""The demo head: the ICBM 152 brain of nilearn with a skull, a face and a neck built around it.

Brain, grey and white matter are the MNI152NLin2009aSym average maps (Fonov et al., NeuroImage 2011), which nilearn
ships; everything outside the brain is made here from the shapes in `anatomy`. All arrays are float32 on one grid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_app.inputs.demo.anatomy import (
    CONTRASTS,
    EARS,
    EYES,
    FACE,
    FEATURES,
    LESION,
    NOSE,
    OPENINGS,
    OUTLINE,
    SIGNAL,
    VESSELS,
    Contrast,
    Ellipsoid,
    Shape,
)

Array = NDArray[np.float32]
Box = tuple[slice, slice, slice]

_WHOLE: Box = (slice(None), slice(None), slice(None))
_LOW_MM, _HIGH_MM = (-104, -136, -170), (104, 112, 116)  # the grid, template space
_COARSE_MM = 2  # distances are computed on this grid, smoothed and interpolated
#: Distance from the brain's hull to the inner table, the diploe, the outer table, the scalp and the air (mm).
_CSF, _DIPLOE, _OUTER_TABLE, _SKULL, _SCALP = 1.5, 3.0, 5.6, 7.0, 11.5
_SHARPEN = 1.4
_SKIN, _FAT = 1.8, 6.5  # depth below the skin surface at which fat begins and ends (mm)


@dataclass(frozen=True)
class Layer:
    """One coat of paint: how much of each voxel of `box` is covered by `tissue`."""

    tissue: str
    box: Box
    cover: Array


@dataclass
class Head:
    """Anatomy in template space on a grid of `step_mm`; first voxel at `low_mm`, axes RAS+.

    `brain` is the fraction of brain in each voxel; `face` is +1 in the eyes, -1 in the nose and 0 elsewhere.
    """

    step_mm: float
    low_mm: NDArray[np.float64]
    shape: tuple[int, int, int]
    layers: list[Layer] = field(default_factory=list)
    lesion: list[Layer] = field(default_factory=list)
    brain: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    face: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    texture: Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def image(self, contrast: Contrast, *, lesion: bool) -> Array:
        """The noise-free signal of the head in a contrast (white matter in T1w is 1)."""
        column = CONTRASTS.index(contrast)
        image = np.full(self.shape, SIGNAL["air"][column], np.float32)
        for layer in self.layers + (self.lesion if lesion else []):
            part = image[layer.box]
            signal: float | Array = SIGNAL[layer.tissue][column]
            if layer.tissue in _TEXTURED:
                signal = signal * self.texture[layer.box]
            part += layer.cover * (signal - part)
        return image


_TEXTURED = {"muscle", "fat", "marrow", "mucosa"}


def build_head(step_mm: float = 1.0) -> Head:
    """Build the head on a grid of `step_mm` (1 or 2 mm); it is the same every time."""
    head = _empty(step_mm)
    brain, gm, wm = _template_maps(head)
    head.brain = _blur(brain, 0.6 / step_mm)
    hull, depth = _distances(head, head.brain > 0.5)
    head.texture = _texture(head)

    def coat(tissue: str, cover: Array) -> None:
        head.layers.append(Layer(tissue, _WHOLE, cover))

    def inside(distance: Array) -> Array:
        return np.clip(0.5 - distance / step_mm, 0, 1)

    coat("skin", inside(-depth))
    head.layers += _coats(head, EARS)
    beneath = inside(_SKIN - depth)
    coat("fat", beneath)
    coat("muscle", inside(_FAT - depth))
    coat("bone", inside(hull - _SKULL))
    coat("marrow", inside(np.abs(hull - (_DIPLOE + _OUTER_TABLE) / 2) - (_OUTER_TABLE - _DIPLOE) / 2))
    head.layers += [replace(one, cover=np.minimum(one.cover, beneath[one.box])) for one in _coats(head, FACE)]
    head.layers += _coats(head, OPENINGS)
    coat("bone", inside(hull - _DIPLOE))
    x, y, z = _axes(head, _WHOLE)  # the superior sagittal sinus follows the hull in the midline
    sagittal = np.hypot(x / 1.2, hull - 4) - 3 + 100 * ((z < -10) | ((y > 40) & (z < 20)))
    coat("blood", inside(sagittal.astype(np.float32)))
    coat("csf", inside(hull - _CSF))
    head.layers += _coats(head, VESSELS)
    coat("csf", head.brain)
    coat("gm", head.brain * np.clip(gm / np.maximum(1 - wm, 1e-3), 0, 1))  # white matter then covers its part
    coat("wm", head.brain * wm)
    head.lesion = [Layer(one.tissue, one.box, one.cover * 0.85) for one in _coats(head, LESION)]
    head.face = np.zeros(head.shape, np.float32)
    for shapes, sign in ((NOSE, -1), (EYES, 1)):
        for one in _coats(head, shapes):
            part = head.face[one.box]
            np.copyto(part, sign * np.maximum(one.cover, np.abs(part)))
    head.face[hull < _SKULL] = 0  # what the shapes share with the skull is neither eye nor nose
    return head


def _empty(step_mm: float) -> Head:
    nx, ny, nz = (round((high - low) / step_mm) + 1 for low, high in zip(_LOW_MM, _HIGH_MM, strict=True))
    return Head(step_mm, np.array(_LOW_MM, float), (nx, ny, nz))


def _coarse(head: Head) -> Head:
    return head if head.step_mm == _COARSE_MM else _empty(_COARSE_MM)


def _template_maps(head: Head) -> tuple[Array, Array, Array]:
    """Brain (where the T1 map is not 0), grey and white matter of nilearn's template on the grid of the head.

    The maps are averages of 152 people, so that their fractions are blurred; a power above 1 brings some of
    the edges of one person back. All three are fractions, 0 to 1.
    """
    import nibabel as nib

    folder = Path(str(files("nilearn"))) / "datasets" / "data"  # its loaders import much and rescale
    maps: list[Array] = []
    for name in ("t1", "gm", "wm"):
        image = nib.Nifti1Image.from_filename(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
        data = np.asarray(image.dataobj, np.float32)
        data = np.asarray(data > 0 if name == "t1" else data / 255, np.float32)
        if head.step_mm > 1:
            data = _halved(data)
        first = np.round((image.affine[:3, 3] - head.low_mm) / head.step_mm).astype(int)
        last = first + data.shape
        placed = np.zeros(head.shape, np.float32)
        placed[first[0] : last[0], first[1] : last[1], first[2] : last[2]] = data
        maps.append(placed)
    brain, gm, wm = maps
    csf = np.clip(1 - gm - wm, 0, 1) ** _SHARPEN
    gm, wm = np.asarray(gm**_SHARPEN, np.float32), np.asarray(wm**_SHARPEN, np.float32)
    total = np.asarray(gm + wm + csf, np.float32)
    return brain, gm / total, wm / total


def _halved(data: Array) -> Array:
    """Every second voxel of the data smoothed by (1/4, 1/2, 1/4) along each axis."""
    for axis in range(3):
        along = np.moveaxis(np.pad(data, [(int(k == axis),) * 2 for k in range(3)]), axis, 0)
        data = np.moveaxis(0.25 * along[:-2:2] + 0.5 * along[1:-1:2] + 0.25 * along[2::2], 0, axis)
    return data


def _doubled(data: Array) -> Array:
    """Linear interpolation to half the voxel edge; n voxels along an axis become 2 n - 1."""
    for axis in range(3):
        along = np.moveaxis(data, axis, 0)
        fine = np.empty((2 * len(along) - 1, *along.shape[1:]), np.float32)
        fine[::2] = along
        fine[1::2] = (along[1:] + along[:-1]) / 2
        data = np.moveaxis(fine, 0, axis)
    return np.ascontiguousarray(data)


def _to_grid(coarse: Array, head: Head) -> Array:
    return coarse if head.step_mm == _COARSE_MM else _doubled(coarse)


def _distances(head: Head, brain: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Signed distance from the brain's closed hull (mm, positive outside) and depth below the skin (mm)."""
    from scipy import ndimage

    coarse = _coarse(head)
    every = round(_COARSE_MM / head.step_mm)
    inner = brain[::every, ::every, ::every]
    radius = 12.0  # bridges the fissures and the gap between cerebrum and cerebellum
    grown = ndimage.distance_transform_edt(~inner, sampling=_COARSE_MM) < radius
    closed = ndimage.distance_transform_edt(grown, sampling=_COARSE_MM) > radius
    hull = _signed_distance(closed | inner)
    x, _, z = _axes(coarse, _WHOLE)
    crown = 4 * np.clip(z / 60, 0, 1) * np.clip(1 - np.abs(x) / 90, 0, 1)  # the scalp is further off at the crown
    outline = hull - crown < _SCALP
    for one in _coats(coarse, OUTLINE):
        outline[one.box] |= one.cover > 0.5
    outline = _blur(outline.astype(np.float32), 4 / _COARSE_MM) > 0.5
    for one in _coats(coarse, FEATURES):
        outline[one.box] |= one.cover > 0.5
    depth = -_signed_distance(_blur(outline.astype(np.float32), 2 / _COARSE_MM) > 0.5)
    return _to_grid(_blur(hull, 1), head), _to_grid(_blur(depth, 1), head)


def _signed_distance(inside: NDArray[np.bool_]) -> Array:
    from scipy import ndimage

    outer = ndimage.distance_transform_edt(~inside, sampling=_COARSE_MM)
    inner = ndimage.distance_transform_edt(inside, sampling=_COARSE_MM)
    distance: Array = (outer - inner).astype(np.float32)
    return distance


def _coats(head: Head, shapes: Iterable[Shape]) -> list[Layer]:
    """The layers of shapes, each only as large as its shape."""
    layers = []
    for shape in shapes:
        for side in (1, -1) if shape.both else (1,):
            box = _box(head, shape, side)
            if all(axis.stop > axis.start for axis in box):
                cover = np.clip(0.5 - _distance(shape, side, _axes(head, box)) / head.step_mm, 0, 1)
                layers.append(Layer(shape.tissue, box, cover.astype(np.float32)))
    return layers


def _box(head: Head, shape: Shape, side: int) -> Box:
    if isinstance(shape, Ellipsoid):
        ends, reach = np.array([shape.centre]), np.array(shape.radii)
    else:
        ends, reach = np.array([shape.start, shape.end]), np.full(3, max(shape.radius, shape.end_radius))
    ends = ends * (side, 1, 1)
    first = np.floor((ends.min(0) - reach - head.low_mm) / head.step_mm - 1).astype(int)
    last = np.ceil((ends.max(0) + reach - head.low_mm) / head.step_mm + 2).astype(int)
    low, high = np.clip(first, 0, head.shape), np.clip(last, 0, head.shape)
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _axes(head: Head, box: Box) -> list[Array]:
    """Template coordinates of a box, shaped to broadcast."""
    return [
        ((head.low_mm[k] + head.step_mm * np.arange(head.shape[k])[box[k]]).astype(np.float32)).reshape(
            [-1 if axis == k else 1 for axis in range(3)]
        )
        for k in range(3)
    ]


def _distance(shape: Shape, side: int, axes: list[Array]) -> Array:
    """Approximate signed distance from the surface of a shape (mm, negative inside)."""
    if isinstance(shape, Ellipsoid):
        centre = np.array(shape.centre) * (side, 1, 1)
        scaled = sum(((axes[k] - centre[k]) / shape.radii[k]) ** 2 for k in range(3))
        return np.asarray((np.sqrt(scaled) - 1) * min(shape.radii), np.float32)
    start, end = np.array(shape.start) * (side, 1, 1), np.array(shape.end) * (side, 1, 1)
    along = end - start
    length = along @ along
    share = np.clip(sum((axes[k] - start[k]) * (along[k] / length) for k in range(3)), 0, 1)
    away = np.sqrt(sum((axes[k] - start[k] - share * along[k]) ** 2 for k in range(3)))
    return np.asarray(away - (shape.radius + share * (shape.end_radius - shape.radius)), np.float32)


def _texture(head: Head) -> Array:
    """Streaks of fat and fascia between muscle fibres: a smooth random pattern around 1."""
    from scipy import ndimage

    rng = np.random.default_rng(152)
    noise = rng.standard_normal(_coarse(head).shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (1.0, 1.0, 2.5))
    noise /= noise.std()
    texture: Array = np.clip(1 + 0.16 * _to_grid(noise, head), 0.6, 1.8)
    return texture


def _blur(data: Array, sigma: float) -> Array:
    from scipy import ndimage

    blurred: Array = ndimage.gaussian_filter(data, sigma, output=np.float32, truncate=3)
    return blurred
