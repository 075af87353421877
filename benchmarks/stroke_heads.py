"""Acute stroke in heads with known labels: b0, trace and ADC with a lesion of any size, as several scanners see it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from head_template import brain_mask

from bids_app.steps import images

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Labels, signal without diffusion weighting (white matter 1) and ADC (1e-3 mm^2/s): textbook values at 3 T and an echo
#: time of about 70 ms. What the labels do not name is soft tissue.
_TISSUES: tuple[tuple[tuple[int, ...], float, float], ...] = (
    ((0,), 0.0, 1.0),
    ((2, 41, 7, 46, 16, 85, 28, 60, 77, 30, 62), 1.00, 0.72),
    ((3, 42, 8, 47, 17, 18, 53, 54, 26, 58), 1.22, 0.83),
    ((10, 11, 49, 50), 1.10, 0.76),
    ((12, 13, 51, 52), 0.95, 0.72),
    ((4, 43, 5, 44, 14, 15, 24, 72), 3.00, 3.00),
    ((31, 63), 2.20, 2.20),
    ((506,), 3.00, 2.80),
    ((511, 515), 0.08, 0.30),
)
_OTHER = (0.45, 1.2)
_LESION = (1.15, 0.42)
_FLUID = (4, 43, 5, 44, 14, 15, 24, 72, 31, 63)
B_VALUE = 1000.0


@dataclass(frozen=True)
class Scanner:
    """What a scanner and its field make of the same head.

    Attributes
    ----------
    gain
        Units of its numbers.
    noise
        Standard deviation of each channel (Rice), in units of white matter's signal in the b0 image.
    t2
        Exponent on the b0 signals: how much of the T2 contrast its echo time brings out (longer at 1.5 T).
    field
        Standard deviation of the logarithm of its receive field in the brain.
    fov_mm
        Air around the head that it writes on each side.
    spikes
        Voxels per million at its vessels and edges that are up to six times as bright as tissue (EPI pile-up).
    """

    name: str
    gain: float
    noise: float
    t2: float
    field: float
    fov_mm: int
    spikes: float


#: Two fields and three makers.
SCANNERS = (
    Scanner("A 1.5 T", 1.0e3, 0.045, 0.80, 0.03, 10, 5.0),
    Scanner("B 1.5 T", 2.1e2, 0.055, 0.90, 0.04, 40, 60.0),
    Scanner("C 1.5 T", 3.6e4, 0.050, 0.75, 0.03, 24, 0.0),
    Scanner("A 3 T", 1.4e3, 0.025, 1.10, 0.06, 10, 20.0),
    Scanner("B 3 T", 4.0e2, 0.030, 1.20, 0.07, 40, 150.0),
    Scanner("C 3 T", 5.1e4, 0.028, 1.00, 0.06, 24, 0.0),
)


@dataclass(frozen=True)
class Head:
    """A head at `spacing_mm`: labels' signals, true masks."""

    name: str
    labels: NDArray[np.int16]
    brain: Mask
    affine: NDArray[np.float64]
    spacing_mm: float

    @property
    def tissue(self) -> Mask:
        """Brain that is no fluid."""
        return self.brain & ~np.isin(self.labels, _FLUID)


@dataclass(frozen=True)
class Stroke:
    """Images of a head with a lesion; `lesion` is empty for a volume of 0."""

    b0: images.Image
    trace: images.Image
    brain: images.Image
    lesion: images.Image
    tissue: Mask  # brain that is neither fluid nor lesion
    healthy: Mask  # tissue that borders on neither


def load_head(path: Path, spacing_mm: int = 2) -> Head:
    """A label map of 1 mm, taken at every `spacing_mm`-th voxel."""
    image = images.conform(nib.load(path))
    labels = np.rint(images.array_of(image)).astype(np.int16)
    brain = brain_mask(labels)
    step = (slice(None, None, spacing_mm),) * 3
    affine = image.affine @ np.diag([spacing_mm] * 3 + [1])
    return Head(path.name.split(".")[0], labels[step], brain[step], affine, float(spacing_mm))


def lesion_of(head: Head, volume_ml: float, rng: np.random.Generator) -> Mask:
    """A lumpy lesion of a volume, grown in tissue from a random place in one hemisphere (100 ml fill most of one)."""
    result = np.zeros(head.labels.shape, bool)
    wanted = round(volume_ml * 1000 / head.spacing_mm**3)
    if wanted == 0:
        return result
    middle = np.argwhere(head.brain).mean(axis=0)
    x = np.arange(head.labels.shape[0])[:, None, None]
    side = head.tissue & ((x > middle[0]) if rng.random() < 0.5 else (x < middle[0]))
    side[..., : int(middle[2] - 20 / head.spacing_mm)] = False  # above the cerebellum
    deep = np.argwhere(ndimage.binary_erosion(side, iterations=2))
    seed = deep[rng.integers(len(deep))]
    away = np.sqrt(sum((np.indices(side.shape)[axis] - seed[axis]) ** 2 for axis in range(3)))
    lumps = ndimage.gaussian_filter(rng.normal(size=side.shape), 6 / head.spacing_mm)
    cost = np.where(side, away * np.exp(0.25 * lumps / lumps.std()), np.inf)
    chosen = np.argpartition(cost.ravel(), wanted)[:wanted]
    result.ravel()[chosen] = True
    return result & side


def signals(head: Head, lesion: Mask, t2: float = 1.0) -> tuple[Array, Array]:
    """Noise-free b0 and trace, with partial volume."""
    s0 = np.full(head.labels.shape, _OTHER[0], np.float32)
    adc = np.full(head.labels.shape, _OTHER[1], np.float32)
    for labels, signal, diffusion in _TISSUES:
        where = np.isin(head.labels, labels)
        s0[where], adc[where] = signal, diffusion
    s0[lesion], adc[lesion] = _LESION
    s0 = np.where(s0 > 0, np.maximum(s0, 1e-6) ** t2, 0).astype(np.float32)
    trace = s0 * np.exp(-B_VALUE * adc * 1e-3)
    blur = 0.6
    return ndimage.gaussian_filter(s0, blur), ndimage.gaussian_filter(trace, blur)


def scanned(head: Head, volume_ml: float, scanner: Scanner, seed: list[int]) -> Stroke:
    """A head with a lesion as a scanner writes it; lesion and anatomy depend on the seed alone, not on the scanner."""
    lesion = lesion_of(head, volume_ml, np.random.default_rng(seed))
    rng = np.random.default_rng([*seed, *scanner.name.encode()])
    pad = round(scanner.fov_mm / head.spacing_mm)
    clean = [np.pad(one, pad) for one in signals(head, lesion, scanner.t2)]
    brain, found = np.pad(head.brain, pad), np.pad(lesion, pad)
    field = _field(brain, head.spacing_mm, scanner.field, rng)
    noise = [scanner.noise * (1.0, 0.6)[index] for index in range(2)]  # a trace averages three directions
    pair = []
    for one, sd in zip(clean, noise, strict=True):
        real, other = one * field + rng.normal(0, sd, one.shape), rng.normal(0, sd, one.shape)
        pair.append(np.hypot(real, other))
    spots = rng.random(brain.shape) < scanner.spikes * 1e-6 * brain.size / max(brain.sum(), 1)
    pair[1] = np.where(spots & brain, pair[1] * rng.uniform(2, 6, brain.shape), pair[1])
    affine = head.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, pad)
    tissue = np.pad(head.tissue, pad) & ~ndimage.binary_dilation(found, iterations=2)
    healthy = ndimage.binary_erosion(tissue, iterations=1)
    made = [images.new_image((one * scanner.gain).astype(np.float32), affine) for one in pair]
    masks = [images.new_image(one.astype(np.uint8), affine) for one in (brain, found)]
    return Stroke(made[0], made[1], masks[0], masks[1], np.pad(head.tissue, pad) & ~found, healthy)


def _field(brain: Mask, spacing_mm: float, sd: float, rng: np.random.Generator) -> Array:
    log = np.zeros(brain.shape, np.float32)
    for _ in range(3):
        waves = [
            np.cos(2 * np.pi * np.arange(size) * spacing_mm / rng.uniform(250, 500) + rng.uniform(0, 2 * np.pi))
            for size in brain.shape
        ]
        log += (rng.uniform(0.5, 1) * waves[0][:, None, None] * waves[1][:, None] * waves[2]).astype(np.float32)
    return np.exp((log - log[brain].mean()) * (sd / log[brain].std())).astype(np.float32)
