"""How sharp an image is in the brain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .collect import CannotMeasureError


@dataclass(frozen=True, eq=False)
class Texture:
    """Intensities in a mask, and the differences of neighbours that both lie in it, along each axis.

    Attributes
    ----------
    spacing
        Distance of neighbours along each axis, mm.
    """

    values: NDArray[Any]
    differences: tuple[NDArray[Any], ...]
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, array: NDArray[Any], mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> Texture:
        """The texture of an image in a mask."""
        return cls(array[mask], tuple(_differences(array, mask, axis) for axis in range(3)), spacing)


def fwhm_mm(texture: Texture) -> float:
    """Smoothness as the full width at half maximum of a Gaussian blur (mm), mean over the axes.

    Of white noise that was smoothed by a Gaussian, neighbours at distance d have the correlation
    r = 1 - var(differences) / (2 var), and FWHM = d sqrt(-2 ln 2 / ln r) (Forman et al. 1995,
    doi:10.1002/mrm.1910330508; AFNI's and MRIQC's `fwhm`). In a brain, anatomy is part of what is smooth: compare
    within a contrast.
    """
    variance = float(texture.values.var(dtype=np.float64))
    widths = []
    for steps, edge in zip(texture.differences, texture.spacing, strict=True):
        correlation = 1 - float(steps.var(dtype=np.float64)) / (2 * variance) if steps.size > 1 and variance else 0.0
        if not 0 < correlation < 1:
            raise CannotMeasureError("neighbouring voxels do not go together along one of the axes")
        widths.append(edge * np.sqrt(-2 * np.log(2) / np.log(correlation)))
    return float(np.mean(widths))


def sharpness(texture: Texture) -> float:
    """Root mean square slope over the standard deviation, in 1/mm (Tenengrad, Krotkov 1988, doi:10.1007/BF00127822).

    The same for every scale of intensity.
    """
    deviation = float(texture.values.std(dtype=np.float64))
    if deviation == 0:
        raise CannotMeasureError("the brain has one intensity")
    energy = 0.0
    for steps, edge in zip(texture.differences, texture.spacing, strict=True):
        energy += float((steps.astype(np.float64) ** 2).mean()) / edge**2 if steps.size else 0.0
    return float(np.sqrt(energy)) / deviation


def _differences(array: NDArray[Any], mask: NDArray[np.bool_], axis: int) -> NDArray[Any]:
    array, mask = np.moveaxis(array, axis, 0), np.moveaxis(mask, axis, 0)
    both = mask[1:] & mask[:-1]
    return (array[1:] - array[:-1])[both]
