"""Heads for benchmarks: label maps painted with known contrasts, scanned at any spacing, in any pose, with truth."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from label_maps import TISSUES, LabelMap
from synth_contrast import CONTRASTS

from bids_app.steps import images

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Scan:
    """An image of a head and what is true of it, all on one grid (RAS+).

    Attributes
    ----------
    image
        float32, with noise.
    brain, intracranial
        True masks, uint8.
    classes
        Indices into the network's classes, uint8.
    """

    image: images.Image
    brain: images.Image
    intracranial: images.Image
    classes: images.Image


def contrast_names() -> list[str]:
    """The contrasts that `painted` knows."""
    return list(CONTRASTS)


def painted(source: LabelMap, mean: Array, rng: np.random.Generator, noise: float = 0.03) -> Array:
    """A label map with an intensity for each tissue, at 1 mm, with partial volume and texture."""
    tissue = source.tissue.numpy()
    image = mean[tissue] + np.float32(noise) * rng.normal(size=tissue.shape).astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(image, 0.6), np.float32)


def known_contrast(name: str, rng: np.random.Generator) -> Array:
    """Mean of each tissue in a contrast of `contrast_names`, a little different each time."""
    prior = CONTRASTS[name]
    mean = rng.uniform(0.1, 0.6, len(TISSUES)).astype(np.float32)
    for tissue, value in {**prior, "cerebellum gm": prior["gm"], "cerebellum wm": prior["wm"]}.items():
        mean[TISSUES.index(tissue)] = value + rng.normal(0, 0.03)
    return mean


def scanned(
    source: LabelMap,
    head: Array,
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    grid: NDArray[np.float64],
    pose: NDArray[np.float64],
    rng: np.random.Generator,
    coil_noise: float = 0.02,
) -> Scan:
    """Scan a painted head.

    Parameters
    ----------
    head, affine
        The painted map and its affine (voxel -> head mm).
    shape, grid
        Of the scan (voxel -> scanner mm); voxels longer than 1 mm average what lies in them.
    pose
        4x4, scanner mm -> head mm.
    """
    edges = np.sqrt((grid[:3, :3] ** 2).sum(axis=0))
    to_map = np.linalg.inv(affine) @ pose @ grid
    counts = [max(1, round(edge)) for edge in edges]
    total = np.zeros(shape, np.float32)
    masks = np.zeros((2, *shape), np.float32)
    volumes = (source.brain.numpy() > 0, source.intracranial.numpy() > 0)
    for offset in np.ndindex(*counts):
        shift = (np.array(offset) + 0.5) / counts - 0.5
        place = to_map[:3, 3] + to_map[:3, :3] @ shift
        total += ndimage.affine_transform(head, to_map[:3, :3], place, shape, order=1)
        for mask, volume in zip(masks, volumes, strict=True):
            mask += ndimage.affine_transform(volume.astype(np.float32), to_map[:3, :3], place, shape, order=1)
    total /= np.prod(counts)
    classes = ndimage.affine_transform(source.classes.numpy(), to_map[:3, :3], to_map[:3, 3], shape, order=0)
    noisy = np.abs(total + rng.normal(0, coil_noise, shape)).astype(np.float32)
    brain, inside = ((mask / np.prod(counts) > 0.5).astype(np.uint8) for mask in masks)
    return Scan(*(images.new_image(array, grid) for array in (noisy, brain, inside, classes)))


def smooth_field(
    inside: NDArray[np.bool_], edges_mm: tuple[float, ...], sd: float, waves_mm: tuple[float, float],
    rng: np.random.Generator,
) -> Array:  # fmt: skip
    """Logarithm of a smooth multiplicative field: mean 0 and standard deviation `sd` where `inside`.

    A sum of four products of cosines along the axes, of wavelengths drawn from `waves_mm`.
    """
    log = np.zeros(inside.shape, np.float32)
    for _ in range(4):
        x, y, z = (
            np.cos(2 * np.pi * np.arange(n) * edge / rng.uniform(*waves_mm) + rng.uniform(0, 2 * np.pi))
            for n, edge in zip(inside.shape, edges_mm, strict=True)
        )
        log += (rng.uniform(0.5, 1) * x[:, None, None] * y[:, None] * z).astype(np.float32)
    return np.asarray((log - log[inside].mean()) * (sd / log[inside].std()), np.float32)
