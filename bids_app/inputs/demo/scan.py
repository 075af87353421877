"""Scanning a demo head: pose, grid, slice profile, bias field, noise; and the truth of each.

Worlds are RAS+ millimetres. Three of them occur: the template's, the world of a session's T1w, and each series' own.
A `Body` maps template points to the T1w world of a session; a series adds its own rigid displacement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from bids_app.inputs.demo.anatomy import Contrast
from bids_app.inputs.demo.head import Array, Head

Matrix = NDArray[np.float64]

_BIAS_SD = 0.15  # of the log of the field within the brain
_BIAS_STEP = 2.0**-10  # the field is rounded to this, so that its file compresses; the image carries the rounded one
_SNR = 30.0  # mean signal of the brain over the standard deviation of the noise in each channel
_BRAIN_MEAN = 600.0  # stored intensity


@dataclass(frozen=True)
class Body:
    """One person's anatomy: template point -> head point, by scaling and then a smooth displacement.

    head = scale * template; template = head / scale + warp(head), `warp` a sum of three sines of `wavelength_mm`.
    The second form is the definition (images are resampled from the template).
    """

    scale: tuple[float, float, float]
    warp_mm: float = 0.0
    wavelength_mm: float = 160.0

    def to_template(self, points: list[Array]) -> list[Array]:
        """Template coordinates of head coordinates (three arrays in, three arrays out)."""
        x, y, z = points
        moved = [points[k] / np.float32(self.scale[k]) for k in range(3)]
        if self.warp_mm:
            turn, size = np.float32(2 * np.pi / self.wavelength_mm), np.float32(self.warp_mm)
            moved[0] += size * np.sin(turn * y) * np.cos(turn * z)
            moved[1] += size * np.sin(turn * z + np.float32(0.7)) * np.cos(turn * x)
            moved[2] += size * np.sin(turn * y + np.float32(1.9))
        return moved

    def from_template(self, points: Matrix) -> Matrix:
        """Head coordinates (n, 3) of template points (n, 3), by fixed-point iteration."""
        scale = np.array(self.scale)
        head = points * scale
        for _ in range(50):
            back = np.stack(self.to_template(list(head.T)), axis=1)
            head = head + (points - back) * scale
        return head


@dataclass(frozen=True)
class Scan:
    """How one series is taken.

    `size_mm` are voxel edges and `extent_mm` the field of view along right, front, up of the grid; `tilt_deg` turns
    the grid about the left-right axis; `orientation` is that of the stored array.
    """

    contrast: Contrast
    size_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]
    orientation: str
    centre_mm: tuple[float, float, float] = (0.0, -8.0, -10.0)
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Acquired:
    """A series and its truth, all on the stored grid (`affine`, voxel -> series world)."""

    image: NDArray[np.int16]
    affine: Matrix
    brain: NDArray[np.bool_]
    eyes: NDArray[np.bool_]
    nose: NDArray[np.bool_]
    bias: Array


def rigid(rotation_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Matrix:
    """Rigid 4x4 matrix: rotations about x, then y, then z through the origin, then the shift."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(rotation_deg)):
        one, two = [k for k in range(3) if k != axis]
        turn = np.eye(4)
        turn[[one, two], [one, two]] = np.cos(angle)
        sign = -1 if axis != 1 else 1
        turn[one, two], turn[two, one] = sign * np.sin(angle), -sign * np.sin(angle)
        matrix = turn @ matrix
    matrix[:3, 3] = shift_mm
    return matrix


def random_rigid(rng: np.random.Generator, *, most_deg: float = 8.0, most_mm: float = 8.0) -> Matrix:
    """A rigid displacement about a random axis, 3 degrees to `most_deg` and 3 mm to `most_mm`."""
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    angle = np.deg2rad(rng.uniform(3.0, most_deg))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues
    shift = rng.standard_normal(3)
    matrix[:3, 3] = shift / np.linalg.norm(shift) * rng.uniform(3.0, most_mm)
    return matrix


def acquire(
    head: Head, signal: Array, body: Body, head_to_series: Matrix, scan: Scan, rng: np.random.Generator
) -> Acquired:
    """Take one series.

    Parameters
    ----------
    head, signal
        The anatomy, and its noise-free image in the contrast of the scan, in template space.
    body
        The person.
    head_to_series
        Rigid, from the head's world to the world of the series (mm).
    scan
        Grid and contrast.
    rng
        Bias field and noise.
    """
    affine, shape = _grid(scan, head_to_series)
    clean, brain, face = _resample(head, (signal, head.brain, head.face), body, head_to_series, affine, shape, scan)
    inside = brain >= 0.5
    bias = _bias_field(shape, scan.size_mm, inside, rng)
    mean = float(clean[inside].mean())
    noise = mean / _SNR
    real = clean * bias + noise * rng.standard_normal(shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(shape, dtype=np.float32)
    image = np.rint(np.hypot(real, imaginary) * (_BRAIN_MEAN / mean)).clip(0, 32767).astype(np.int16)

    turn = ornt_transform(io_orientation(np.diag([1.0, 1, 1, 1])), axcodes2ornt(scan.orientation))

    def store(array: NDArray) -> NDArray:  # type: ignore[type-arg]
        return np.ascontiguousarray(apply_orientation(array, turn))

    return Acquired(
        store(image),
        affine @ inv_ornt_aff(turn, shape),
        store(inside),
        store(face >= 0.5),
        store(face <= -0.5),
        store(bias),
    )


def _grid(scan: Scan, head_to_series: Matrix) -> tuple[Matrix, tuple[int, int, int]]:
    """The grid in right, front, up order: its centre follows the head, its axes do not (bar the tilt)."""
    nx, ny, nz = (max(round(extent / size), 4) for extent, size in zip(scan.extent_mm, scan.size_mm, strict=True))
    shape = (nx, ny, nz)
    affine = rigid((scan.tilt_deg, 0, 0), (0, 0, 0)) @ np.diag([*scan.size_mm, 1.0])
    centre = np.round(head_to_series @ [*scan.centre_mm, 1.0])[:3]
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


def _resample(
    head: Head,
    volumes: tuple[Array, ...],
    body: Body,
    head_to_series: Matrix,
    affine: Matrix,
    shape: tuple[int, int, int],
    scan: Scan,
) -> list[Array]:
    """Mean of template volumes over each voxel of the series (a box-shaped slice profile)."""
    from scipy import ndimage

    to_head = np.linalg.inv(head_to_series) @ affine
    steps = [max(1, round(size / head.step_mm)) for size in scan.size_mm]
    offsets = [(np.arange(n) + 0.5) / n - 0.5 for n in steps]
    boxes = [_extent(volume) for volume in volumes]
    sums = [np.zeros(shape, np.float32) for _ in volumes]
    for i in offsets[0]:
        for j in offsets[1]:
            for k in offsets[2]:
                points = body.to_template(_positions(to_head, shape, (i, j, k)))
                for axis in range(3):
                    points[axis] -= np.float32(head.low_mm[axis])
                    points[axis] /= np.float32(head.step_mm)
                where = np.stack(points)
                for total, volume, box in zip(sums, volumes, boxes, strict=True):
                    near = _within(where, *box)
                    total[near] += ndimage.map_coordinates(volume, where[:, near], order=1, output=np.float32)
    return [total / np.float32(np.prod(steps)) for total in sums]


def _extent(volume: Array) -> tuple[list[float], list[float]]:
    """First and last index along each axis between which a volume, interpolated, is not 0."""
    low, high = [], []
    for axis in range(3):
        filled = np.flatnonzero(volume.any(axis=tuple(k for k in range(3) if k != axis)))
        low.append(filled[0] - 1.0)
        high.append(filled[-1] + 1.0)
    return low, high


def _within(where: Array, low: list[float], high: list[float]) -> NDArray[np.bool_]:
    near = np.ones(where.shape[1:], bool)
    for index, first, last in zip(where, low, high, strict=True):
        near &= index > first
        near &= index < last
    return near


def _positions(matrix: Matrix, shape: tuple[int, int, int], offset: tuple[float, float, float]) -> list[Array]:
    """The three coordinates of every voxel of a grid, each shifted by a fraction of a voxel."""
    x, y, z = (
        (np.arange(n) + shift).reshape([-1 if axis == k else 1 for axis in range(3)])
        for k, (n, shift) in enumerate(zip(shape, offset, strict=True))
    )
    return [
        (matrix[row, 0] * x).astype(np.float32)
        + (matrix[row, 1] * y).astype(np.float32)
        + (matrix[row, 2] * z + matrix[row, 3]).astype(np.float32)
        for row in range(3)
    ]


def _bias_field(
    shape: tuple[int, int, int],
    size_mm: tuple[float, float, float],
    inside: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Array:
    """A smooth positive field with geometric mean 1 and log standard deviation 0.15 in the brain.

    The log is a sum of products of cosines along the axes of the grid with wavelengths of 250 mm to 500 mm.
    """
    log = np.zeros(shape, np.float32)
    for _ in range(4):
        waves = [
            np.cos(2 * np.pi * np.arange(n) * size / rng.uniform(250, 500) + rng.uniform(0, 2 * np.pi))
            for n, size in zip(shape, size_mm, strict=True)
        ]
        x, y, z = (wave.astype(np.float32) for wave in waves)
        log += np.float32(rng.uniform(0.5, 1)) * x[:, None, None] * y[:, None] * z
    values = log[inside]
    log = (log - values.mean()) * np.float32(_BIAS_SD / values.std())
    field: Array = np.maximum(np.round(np.exp(log) / _BIAS_STEP), 1).astype(np.float32) * np.float32(_BIAS_STEP)
    return field
