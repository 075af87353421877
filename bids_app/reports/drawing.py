"""Slices of an image as pictures: which are shown, cut to what, in pixels that are square in millimetres.

Images are conformed (RAS+), so that pictures are always the same way round: the person's right is on the left of axial
and coronal slices (radiological convention), the front is on the left of sagittal ones, up is up. A `Layout` is made
once for a grid and then draws every image and mask on it, so that what lies on each other in two pictures lies on each
other in the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.box import box_of

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SAGITTAL, CORONAL, AXIAL = 0, 1, 2
PLANES = ("sagittal", "coronal", "axial")
#: What is kept around the brain: enough to see skull that a mask took in, too little for a face.
_MARGIN_MM = 10.0
_GAP = 2  # black pixels between slices
#: A voxel edge of more pixels than this is drawn as a block, so that thick slices are seen for what they are.
_BLOCK_FROM_PIXELS = 2.0


@dataclass(frozen=True)
class Tile:
    """One slice: its plane (the axis that it is cut across) and its index along it."""

    plane: int
    index: int


@dataclass(frozen=True)
class Layout:
    """Slices in rows, all cut to the same box of the grid.

    Attributes
    ----------
    box
        First and last-but-one voxel along each axis.
    spacing_mm
        Voxel edges.
    pixel_mm
        Edge of a pixel of the picture.
    rows
        The slices.
    """

    box: tuple[tuple[int, int], ...]
    spacing_mm: tuple[float, float, float]
    pixel_mm: float
    rows: tuple[tuple[Tile, ...], ...]

    def image(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """The slices of an image (float32, 2-D); between them 0."""
        return self._assembled(array, self._resized, np.float32)

    def mask(self, array: NDArray[Any]) -> Mask:
        """The slices of a mask: the nearest voxel for every pixel."""
        return self._assembled(array, self._nearest, np.bool_)

    def outline(self, array: NDArray[Any]) -> Mask:
        """The border of a mask: its own outermost pixels, in each slice by itself."""
        return self._assembled(array, lambda tile, voxels: border(self._nearest(tile, voxels)), np.bool_)

    def checkerboard(self, side_mm: float = 22.0) -> Mask:
        """Squares of a checkerboard over each slice."""

        def squares(tile: Tile, _: NDArray[Any]) -> Mask:
            rows, columns = self._pixels(tile)
            row, column = np.indices((rows, columns)) * self.pixel_mm // side_mm
            return np.asarray((row + column) % 2 == 0)

        shape = tuple(high for _, high in self.box)
        return self._assembled(np.zeros(shape, dtype=bool), squares, np.bool_)

    def _assembled(self, array: NDArray[Any], draw: Any, dtype: Any) -> Any:
        rows = []
        for row in self.rows:
            drawn = [draw(tile, self._slice(tile, array)) for tile in row]
            height = max(one.shape[0] for one in drawn)
            rows.append(np.hstack([np.pad(_centred(one, height, 0), ((0, 0), (0, _GAP))) for one in drawn])[:, :-_GAP])
        width = max(one.shape[1] for one in rows)
        return np.vstack([np.pad(_centred(one, 0, width), ((0, _GAP), (0, 0))) for one in rows])[:-_GAP].astype(dtype)

    def _slice(self, tile: Tile, array: NDArray[Any]) -> NDArray[Any]:
        """A slice of the box as it is seen (rows from the top, columns from the left)."""
        cut: list[Any] = [slice(low, high) for low, high in self.box]
        cut[tile.plane] = tile.index
        return array[tuple(cut)].T[::-1, ::-1]

    def _pixels(self, tile: Tile) -> tuple[int, int]:
        """Rows and columns of a slice."""
        across, up = (axis for axis in range(3) if axis != tile.plane)
        rows, columns = (
            max(1, round((self.box[axis][1] - self.box[axis][0]) * self.spacing_mm[axis] / self.pixel_mm))
            for axis in (up, across)
        )
        return rows, columns

    def _nearest(self, tile: Tile, voxels: NDArray[Any]) -> Mask:
        rows, columns = self._pixels(tile)
        at = [
            ((np.arange(count) + 0.5) * have / count).astype(int)
            for count, have in zip((rows, columns), voxels.shape, strict=True)
        ]
        return np.asarray(voxels[np.ix_(*at)] > 0)

    def _resized(self, tile: Tile, voxels: NDArray[Any]) -> NDArray[np.float32]:
        from PIL import Image

        rows, columns = self._pixels(tile)
        picture = Image.fromarray(np.ascontiguousarray(voxels, dtype=np.float32))
        for size, axis in (((columns, picture.height), 0), ((columns, rows), 1)):
            blocks = size[axis] > _BLOCK_FROM_PIXELS * picture.size[axis]
            picture = picture.resize(size, Image.Resampling.NEAREST if blocks else Image.Resampling.BILINEAR)
        return np.asarray(picture)


def mosaic(mask: Mask, spacing_mm: Sequence[float], pixel_mm: float = 1.0, width: int = 1040) -> Layout:
    """Three rows of slices, axial, coronal and sagittal, evenly over a mask, about as wide as `width` pixels."""
    box = box_around(mask, spacing_mm)
    rows = []
    for plane in (AXIAL, CORONAL, SAGITTAL):
        across = 1 if plane == SAGITTAL else 0
        tile_mm = (box[across][1] - box[across][0]) * spacing_mm[across]
        count = int(np.clip(width // (tile_mm / pixel_mm + _GAP), 1, 8))
        rows.append(tuple(Tile(plane, index) for index in _spread(mask, plane, count)))
    return Layout(box, _three(spacing_mm), pixel_mm, tuple(rows))


def strip(mask: Mask, spacing_mm: Sequence[float], pixel_mm: float = 1.0) -> Layout:
    """One row: three axial slices, two coronal and one sagittal beside the midline."""
    box = box_around(mask, spacing_mm)
    tiles = [Tile(AXIAL, index) for index in _spread(mask, AXIAL, 3)]
    tiles += [Tile(CORONAL, index) for index in _spread(mask, CORONAL, 2)]
    tiles += [Tile(SAGITTAL, _spread(mask, SAGITTAL, 5)[-2])]
    return Layout(box, _three(spacing_mm), pixel_mm, (tuple(tiles),))


def box_around(mask: Mask, spacing_mm: Sequence[float], margin_mm: float = _MARGIN_MM) -> tuple[tuple[int, int], ...]:
    """The box of a mask with a margin, within the grid; the whole grid where the mask is empty."""
    if not mask.any():
        return tuple((0, size) for size in mask.shape)
    box = box_of(mask, [int(np.ceil(margin_mm / edge)) for edge in spacing_mm])
    return tuple((part.start, part.stop) for part in box)


def border(mask: Mask) -> Mask:
    """The pixels of a mask of which one of the four neighbours is outside it; beyond the picture is outside."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inner)


def sample(mask: Mask, most: int = 100_000) -> tuple[NDArray[np.intp], ...]:
    """Indices of voxels of a mask, evenly over it: enough for a histogram, and soon looked up in any image."""
    flat = np.flatnonzero(mask)
    return np.unravel_index(flat[:: -(-len(flat) // most) or 1], mask.shape)


def window(values: NDArray[Any]) -> tuple[float, float]:
    """What is black and what is white: 0, or the 1st percentile where there are negative ones, and the 99.5th + 5 %.

    Parameters
    ----------
    values
        Of the brain, so that fat and vessels do not darken it.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(one) for one in np.percentile(finite, (1.0, 99.5)))
    low = 0.0 if low >= 0 else low
    high += 0.05 * (high - low)
    return low, high if high > low else low + 1.0


def grey(picture: NDArray[np.float32], limits: tuple[float, float]) -> Grey:
    """Grey values of a picture within a window."""
    low, high = limits
    return np.rint(255 * np.clip((picture - low) / (high - low), 0, 1)).astype(np.uint8)


#: A scale for ratios: blue below 1, white at 1, orange above; told apart in all kinds of colour blindness.
_BELOW, _ONE, _ABOVE = (0, 90, 160), (245, 245, 245), (200, 85, 0)


def coloured_ratio(picture: NDArray[np.float32], largest: float) -> NDArray[np.uint8]:
    """Colours (rows x columns x 3) of a ratio from 1/`largest` to `largest`, on a logarithmic scale; 0 is black."""
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.clip(np.log(picture) / np.log(largest), -1, 1)
    level = np.nan_to_num(level)[..., None]
    middle = np.array(_ONE, dtype=np.float32)
    colours = np.where(level < 0, middle + level * (middle - _BELOW), middle + level * (np.array(_ABOVE) - middle))
    return np.where(picture[..., None] > 0, np.rint(colours), 0).astype(np.uint8)


def _spread(mask: Mask, plane: int, count: int) -> list[int]:
    """Indices of slices, evenly over those that a mask reaches, the outermost left out; fewer where there are fewer."""
    other = tuple(axis for axis in range(3) if axis != plane)
    filled = np.flatnonzero(mask.any(axis=other))
    if not len(filled):
        filled = np.arange(mask.shape[plane])
    at = (np.arange(count) + 0.75) * len(filled) / (count + 0.5)
    return sorted({int(filled[min(int(one), len(filled) - 1)]) for one in at})


def _centred(picture: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """A picture with black around it, at least so large; an odd pixel is below and to the right."""
    more = [max(0, wanted - size) for wanted, size in zip((rows, columns), picture.shape, strict=True)]
    return np.pad(picture, [(one // 2, one - one // 2) for one in more])


def _three(spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = (float(one) for one in spacing_mm)
    return x, y, z
