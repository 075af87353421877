"""Coarser copies of images by averaging blocks of voxels: what most numbers need is not finer than two millimetres."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.images import Image, new_image, spacing_mm


def blocks(spacing: tuple[float, float, float], shape: tuple[int, ...], mm: float) -> tuple[int, int, int]:
    """Voxels of a block along each axis, so that its edges are about `mm`; 1 where voxels are longer already."""
    x, y, z = (max(1, min(round(mm / edge), size)) for edge, size in zip(spacing, shape, strict=True))
    return x, y, z


def block_mean(array: NDArray[Any], factors: tuple[int, int, int]) -> NDArray[np.float32]:
    """Means of whole blocks, float32; voxels at the end that fill no block are left out."""
    result: NDArray[Any] = np.asarray(array)
    for axis, factor in enumerate(factors):  # sums of slices are several times faster than numpy's mean of an axis
        lines = np.moveaxis(result, axis, 0)
        end = len(lines) // factor * factor
        total = lines[0:end:factor].astype(np.float32)
        for start in range(1, factor):
            total += lines[start:end:factor]
        result = np.moveaxis(total / np.float32(factor), 0, axis)
    return np.ascontiguousarray(result, dtype=np.float32)


def spread(array: NDArray[Any], factors: tuple[int, int, int], shape: tuple[int, ...]) -> NDArray[Any]:
    """The values of blocks on the voxels' grid again; 0 or False beyond the last whole block."""
    result = np.zeros(shape, array.dtype)
    fine = array
    for axis, factor in enumerate(factors):
        fine = np.repeat(fine, factor, axis=axis)
    result[tuple(slice(0, size) for size in fine.shape)] = fine
    return result


def shrunk(image: Image, mm: float) -> Image:
    """An image of blocks of about `mm`, on its own affine."""
    factors = blocks(spacing_mm(image), image.shape, mm)
    affine = np.asarray(image.affine, dtype=float) @ np.diag([*factors, 1.0])
    affine[:3, 3] += np.asarray(image.affine)[:3, :3] @ ((np.asarray(factors) - 1) / 2)
    return new_image(block_mean(np.asanyarray(image.dataobj), factors), affine)
