"""The brain's border to the millimetre: a network's mask of 2 mm, moved to where tissue ends and fluid begins.

A network that looks at voxels of 2 mm knows roughly where the border runs; the image knows it exactly wherever tissue
and fluid look different. In a band around the network's border every voxel gets the odds of both: the network's
probability as prior, and how well its intensity fits the tissue or the fluid nearby. Their means are local and learned
from the voxels themselves, so that neither the contrast nor the coil's profile needs to be known (expectation
maximisation with a prior for each voxel, after Van Leemput et al. 1999, doi:10.1109/42.811270, with means that are
Gaussian-weighted over the neighbourhood, after Li et al. 2008, doi:10.1109/TIP.2008.2002304). Where the two look alike
the odds are even and the network decides: brain is what it holds for brain rather than not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.brain_mask import Mask, fill_holes, largest_component
from bids_app.steps.distance import grown, shrunk

_Volume = NDArray[np.float32]
_Values = NDArray[np.float64]

# Chosen on twelve heads painted from label maps that the network learned from; `benchmarks/brain_masks.py` measures on
# those that it never saw.
_BAND_MM = 3.0  # how far the border may move; with 4 mm more of a lesion that looks like fluid is lost (3 % for 2 %)
_NEARBY_MM = 16.0  # standard deviation of the neighbourhood that a mean is taken over
_CELL_MM = 4.0  # ... and the means are computed in such cells
_ROUNDS = 4
#: Weight of a voxel's intensity against the prior, and the most that its logarithm of odds may be: what is neither
#: tissue nor fluid (a vessel, a lesion) must not overrule a network that is sure.
_WEIGHT, _MOST = 1.5, 2.0
_PERCENTILES = (0.5, 99.5)  # of the band's intensities, to which all are cut
_OUTLIERS = 0.02  # density of intensities that are neither, of the wider Gaussian's peak
_SMOOTH_MM = 0.5  # Gaussian over the odds: one voxel alone says little
_SULCI_MM = 3.0  # the mask is closed over the sulci, as the network's truth was
_FEWEST = 200  # voxels of each of the two; with less, nothing can be learned
_LEAST_NOISE = 1e-3  # of how far the means are apart: there are images without any noise


@dataclass(frozen=True)
class Belief:
    """What the network holds of each voxel: probability (0..1) and mask of one thing, (x, y, z) each."""

    probability: _Volume
    mask: Mask


def sharpened(image: _Volume, spacing: Sequence[float], brain: Belief, inside: Belief) -> Mask:
    """The brain mask with its border where the image has it.

    Parameters
    ----------
    image
        Intensities of any contrast and unit, (x, y, z).
    spacing
        Edges of a voxel, mm.
    brain, inside
        The brain, and all of the space within the skull: the brain grows in there only.

    Returns
    -------
    NDArray[np.bool_]
        One piece without holes; the mask that was given where nothing can be learned, as of voxels above 3 mm.
    """
    within = inside.mask | brain.mask
    band = _Band(grown(brain.mask, spacing, _BAND_MM) & ~shrunk(brain.mask, spacing, _BAND_MM) & within, spacing)
    odds = _odds(band, band.of(image), band.of(brain.probability), band.of(inside.probability))
    if odds is None:
        return brain.mask
    result = brain.mask.copy()
    result[band.mask] = odds > 0
    return fill_holes(largest_component(result | (_closed(result, spacing) & within)))


def _closed(mask: Mask, spacing: Sequence[float]) -> Mask:
    """The mask closed over the sulci; where the image ends, both mask and fluid go on."""
    beyond = [int(_SULCI_MM / edge) + 2 for edge in spacing]
    larger = np.pad(mask, [(width, width) for width in beyond], mode="edge")
    closed = shrunk(grown(larger, spacing, _SULCI_MM), spacing, _SULCI_MM)
    return closed[tuple(slice(width, -width) for width in beyond)]


class _Band:
    """Some voxels of an image, as vectors; what lies next to each other is known by the mask."""

    def __init__(self, mask: Mask, spacing: Sequence[float]) -> None:
        self.mask, self._spacing = mask, np.asarray(spacing)
        cells = (np.argwhere(mask) * (self._spacing / _CELL_MM)).astype(np.float32)
        self._place = cells.T  # in cells, whose centres lie at whole numbers
        nearest = np.rint(cells).astype(np.int32)
        self._shape = tuple(nearest.max(axis=0, initial=0) + 1)
        self._cell = np.ravel_multi_index(tuple(nearest.T), self._shape)

    def of(self, volume: _Volume) -> _Values:
        return volume[self.mask].astype(np.float64)

    def local_mean(self, values: _Values, weights: _Values) -> _Values:
        """The weighted mean around each voxel; where nothing has weight, that of all."""
        from scipy import ndimage

        overall = float(values @ weights / weights.sum())
        weight, total = (self._spread(weights), self._spread(weights * (values - overall)))
        mean = total / (weight + 1e-3 * weight.max()) + overall
        return np.asarray(ndimage.map_coordinates(mean, self._place, order=1, mode="nearest"))

    def _spread(self, values: _Values) -> _Values:
        from scipy import ndimage

        sums = np.bincount(self._cell, values, int(np.prod(self._shape))).reshape(self._shape)
        return np.asarray(ndimage.gaussian_filter(sums, _NEARBY_MM / _CELL_MM, mode="constant"))

    def smoothed(self, values: _Values) -> _Values:
        """The values after a Gaussian; outside the band is 0."""
        from scipy import ndimage

        volume = np.zeros(self.mask.shape, np.float32)
        volume[self.mask] = values
        return self.of(ndimage.gaussian_filter(volume, _SMOOTH_MM / self._spacing, mode="nearest", truncate=3))


def _odds(band: _Band, values: _Values, brain: _Values, inside: _Values) -> _Values | None:
    """Logarithm of the odds of tissue against fluid; None where nothing can be learned."""
    if values.size < _FEWEST:
        return None
    values = np.clip(values, *np.percentile(values, _PERCENTILES))  # one spike of a vessel or a map is not all noise
    certain = np.clip(brain, 1e-3, 1 - 1e-3)
    prior = np.log(certain / (1 - certain))
    evidence = np.zeros_like(prior)
    for _ in range(_ROUNDS):
        tissue = 1 / (1 + np.exp(-prior - _WEIGHT * evidence))
        weights = (tissue, (1 - tissue) * inside)
        if min(weight.sum() for weight in weights) < _FEWEST:
            return None
        rest = [values - band.local_mean(values, weight) for weight in weights]
        apart = float(np.abs(rest[0] - rest[1]).mean())
        noise = [max(np.sqrt(r**2 @ w / w.sum()), _LEAST_NOISE * apart) for r, w in zip(rest, weights, strict=True)]
        if not min(noise) > 0:
            return None
        fit = [np.exp(-0.5 * (r / sd) ** 2) / sd + _OUTLIERS / max(noise) for r, sd in zip(rest, noise, strict=True)]
        evidence = np.clip(np.log(fit[0] / fit[1]), -_MOST, _MOST)
    return np.asarray(prior + _WEIGHT * band.smoothed(evidence))
