"""Slices of a volume as pictures: which way up, how grey, how large; and volumes that are no continuous stack.

In RAS+ orientation, without interpolation: an axial picture has the front at its top and the patient's left at its left
(neurological); a coronal one the top of the head at its top and left at left; a sagittal one the top of the head at its
top and the back at its left.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Axis (of R, A, S) that slices of a plane lie along.
AXES: Mapping[str, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
_PLANES = ("sagittal", "coronal", "axial")
#: A spacing of slices that differs from the header's by more than this share means slices that were lost.
_SAME_SPACING = 0.05
#: zlib's level of a PNG; fixed, so that the bytes are.
_PNG_LEVEL = 6


class BrokenStackError(ValueError):
    """A volume whose slices are no continuous stack; the message says why."""


@dataclass(frozen=True)
class Grey:
    """How intensities become pixels: value = (pixel / (2^bits - 1)) (high - low) + low, within half a step."""

    low: float
    high: float
    bits: int

    def pixels(self, values: NDArray[Any]) -> NDArray[Any]:
        """The pixels of values between low and high; all 0 where these are equal."""
        most = 2**self.bits - 1
        scale = most / (self.high - self.low) if self.high > self.low else 0.0
        scaled = (values.astype(np.float64) - self.low) * scale
        return np.clip(np.rint(scaled), 0, most).astype(np.uint8 if self.bits == 8 else np.uint16)


def slicing_plane(plane: str, spacing_mm: NDArray[Any]) -> str:
    """The anatomical plane of `acquisition`: across the largest spacing (axial where none is larger)."""
    if plane != "acquisition":
        return plane
    largest = spacing_mm.max()
    thick = [axis for axis in range(3) if spacing_mm[axis] * (1 + _SAME_SPACING) >= largest]
    return _PLANES[thick[0]] if len(thick) == 1 else "axial"


def check_stack(volume: NDArray[Any], axis: int) -> None:
    """Whether the slices along an axis of an array follow each other without a gap and without one there twice.

    Raises
    ------
    BrokenStackError
        An empty slice between others, or two neighbours that are the same.
    """
    rows = np.moveaxis(volume, axis, 0).reshape(volume.shape[axis], -1)
    empty = rows.min(axis=1) == rows.max(axis=1)
    filled = np.flatnonzero(~empty)
    if len(filled) == 0:
        raise BrokenStackError("it is empty")
    inside = empty[filled[0] : filled[-1] + 1]
    if inside.any():
        raise BrokenStackError(f"its slices are no continuous stack: {int(inside.sum())} within it are empty")
    twice = [index for index in filled[1:] if not empty[index - 1] and np.array_equal(rows[index], rows[index - 1])]
    if twice:
        raise BrokenStackError(f"its slices are no continuous stack: {len(twice)} are the same as the one before")


def check_spacing(said_mm: float, spacing_mm: NDArray[Any]) -> None:
    """Whether the spacing of slices in the sidecar (`SpacingBetweenSlices`) is one of the grid's.

    Raises
    ------
    BrokenStackError
        It is none: slices were lost or put together wrongly when the file was made.
    """
    if said_mm > 0 and np.abs(spacing_mm / said_mm - 1).min() > _SAME_SPACING:
        raise BrokenStackError(
            f"its slices are no continuous stack: they should be {said_mm:.3g} mm apart, by its SpacingBetweenSlices"
        )


def picture(volume: NDArray[Any], plane: str, index: int) -> NDArray[Any]:
    """A slice of a RAS+ volume, the right way up (see the module)."""
    return np.take(volume, index, axis=AXES[plane]).T[::-1]


def fitted(pixels: NDArray[Any], square: bool, size: int | None, labels: bool = False) -> NDArray[Any]:
    """Pixels padded with 0 to a square, and scaled so that the longer side has `size` pixels; labels by the nearest."""
    from PIL import Image

    if square:
        edge = max(pixels.shape)
        before = [(edge - length) // 2 for length in pixels.shape]
        around = [(one, edge - length - one) for one, length in zip(before, pixels.shape, strict=True)]
        pixels = np.pad(pixels, around)
    if size is None or max(pixels.shape) == size:
        return pixels
    height, width = (max(1, round(length * size / max(pixels.shape))) for length in pixels.shape)
    if labels:
        scaled = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
        return np.asarray(scaled)
    scaled = Image.fromarray(pixels.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.rint(np.asarray(scaled)), 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def png_bytes(pixels: NDArray[Any]) -> bytes:
    """A greyscale PNG of 8 or 16 bits."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", compress_level=_PNG_LEVEL)
    return stream.getvalue()
