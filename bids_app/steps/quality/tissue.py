"""Voxels that are surely grey matter, white matter or fluid, for numbers of image quality; no segmentation to keep.

Where each tissue is comes from prior maps (an atlas carried to the image, or a segmentation); which intensity it has is
learnt from the image by a mixture of three Gaussians (expectation maximisation; Ashburner and Friston 2005,
doi:10.1016/j.neuroimage.2005.02.018, without their deformations). So it does not matter which contrast the image has,
nor that a rigidly aligned atlas is a few millimetres off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .collect import CannotMeasureError

TISSUES = ("csf", "gm", "wm")

#: What every tissue has at least as prior, everywhere in the brain: an atlas is never right to the millimetre.
_LEAST_PRIOR = 0.02
_ITERATIONS = 15
_SURE = 0.85  # posterior probability of a voxel that counts
_LARGEST_SAMPLE = 100_000
_FEWEST_VOXELS = 200
_CLIPPED = (0.5, 99.5)  # percentiles: vessels and lesions do not widen the Gaussians


@dataclass(frozen=True)
class Tissues:
    """Voxels that are surely one tissue: their indices in the flattened image."""

    indices: Mapping[str, NDArray[np.intp]]

    def values(self, image: NDArray[Any], tissue: str) -> NDArray[Any]:
        """The image's intensities in a tissue.

        Raises
        ------
        CannotMeasureError
            There is hardly any of it.
        """
        found = image.ravel()[self.indices[tissue]]
        if found.size < _FEWEST_VOXELS:
            raise CannotMeasureError(f"hardly any voxel is surely {_NAMES[tissue]}")
        return found


_NAMES = {"csf": "fluid", "gm": "grey matter", "wm": "white matter"}


def find_tissues(
    image: NDArray[Any], brain: NDArray[np.bool_], priors: Mapping[str, NDArray[np.floating[Any]]]
) -> Tissues:
    """Find the voxels of each tissue.

    Parameters
    ----------
    image
        Bias-corrected intensities, (x, y, z).
    brain
        Brain mask, same shape.
    priors
        "csf", "gm" and "wm": how likely each tissue is at the voxels `image[brain]`, any common scale.

    Raises
    ------
    CannotMeasureError
        The brain is tiny or has one intensity, or the priors miss it.
    """
    values = image[brain].astype(np.float32)
    if values.size < 10 * _FEWEST_VOXELS:
        raise CannotMeasureError("the brain has too few voxels to tell tissues apart")
    low, high = np.percentile(values, _CLIPPED)
    if not high > low:
        raise CannotMeasureError("the brain has one intensity")
    values = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    table = np.stack([priors[tissue] for tissue in TISSUES]).astype(np.float32)
    if not (table.max(axis=1) > 0).all():
        raise CannotMeasureError("the tissue maps and the brain do not meet")
    table = np.maximum(table, 0) + np.float32(_LEAST_PRIOR)
    table /= table.sum(axis=0)
    step = max(1, values.size // _LARGEST_SAMPLE)
    means, variances = _fitted(values[::step].astype(np.float64), table[:, ::step].astype(np.float64))
    posterior = _posterior(values, table, means.astype(np.float32), variances.astype(np.float32))
    where = np.flatnonzero(brain)
    return Tissues({tissue: where[posterior[row] >= _SURE] for row, tissue in enumerate(TISSUES)})


def _fitted(
    values: NDArray[np.float64], priors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each tissue's Gaussian; it starts from the priors alone, leaning on their surest voxels."""
    share = priors**4  # sure voxels first
    share /= share.sum(axis=0)
    smallest = 1e-4  # of intensities from 0 to 1: no Gaussian narrows to a point
    for _ in range(_ITERATIONS):
        weight = share.sum(axis=1) + 1e-9
        means = (share * values).sum(axis=1) / weight
        variances = np.maximum((share * (values - means[:, None]) ** 2).sum(axis=1) / weight, smallest)
        share = _posterior(values, priors, means, variances)
    return means, variances


def _posterior(
    values: NDArray[Any], priors: NDArray[Any], means: NDArray[Any], variances: NDArray[Any]
) -> NDArray[Any]:
    distance = (values - means[:, None]) ** 2 / (2 * variances[:, None])
    share = priors * np.exp(-distance) / np.sqrt(variances[:, None])
    total = share.sum(axis=0)
    return share / np.where(total > 0, total, 1)
