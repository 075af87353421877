"""What intensities say of tissue: a mixture of pure tissues and of voxels that hold two of them.

Pure tissues are Gaussians; a voxel with two tissues has any share of each with the same probability, blurred by the
noise (Laidlaw et al. 1998, doi:10.1109/42.668698; Shattuck et al. 2001, doi:10.1006/nimg.2000.0730). Without the mixed
voxels, which are a third of a brain at 1 mm, the Gaussians of the pure tissues come out twice as wide as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The pure tissues. Deep grey matter lies between cortex and white matter in T1-weighted images.
PURE = ("fluid", "cortex", "deep grey", "white")
#: Tissues that meet in a voxel, as indices into `PURE`.
PAIRS = ((0, 1), (0, 2), (1, 3), (2, 3), (0, 3))
#: Behind them: white matter with the intensity of grey matter (lesions, also of ageing), and anything else (vessels,
#: dura, bone that the mask of the intracranial space takes in).
LESION, OTHER = len(PURE) + len(PAIRS), len(PURE) + len(PAIRS) + 1
COMPONENTS = OTHER + 1

_BINS = 2048
_CLIPPED = (0.2, 99.8)  # percentiles
_ITERATIONS = 20
_SAMPLE = 300_000
_LEAST_SD = 0.015  # of intensities from 0 to 1
#: A tissue's Gaussian is at most this much wider than white matter's, which is the most even: what is beyond are mixed
#: voxels.
_WIDEST = 1.6
_LESION_WIDTH = 1.5  # of the Gaussian of lesions over the cortex'


@dataclass(frozen=True)
class Mixture:
    """The fitted mixture.

    Attributes
    ----------
    means, sds
        Of the pure tissues, in units of the clipped intensity range (0 to 1).
    low, high
        The intensities that are 0 and 1.
    """

    means: NDArray[np.float64]
    sds: NDArray[np.float64]
    low: float
    high: float

    def bins(self, values: NDArray[np.float32]) -> NDArray[np.intp]:
        """The bin of each intensity, an index into the tables below."""
        scaled = (values - np.float32(self.low)) * np.float32(_BINS / (self.high - self.low))
        return np.clip(scaled, 0, _BINS - 1).astype(np.intp)

    def likelihoods(self) -> NDArray[np.float64]:
        """Density of every component in every bin, (component, bin)."""
        from scipy.special import ndtr

        centres = _centres()
        rows = [_gaussian(centres, mean, sd) for mean, sd in zip(self.means, self.sds, strict=True)]
        for one, other in PAIRS:
            noise = np.sqrt((self.sds[one] ** 2 + self.sds[other] ** 2) / 2)
            low, high = sorted((self.means[one], self.means[other]))
            inside = ndtr((centres - low) / noise) - ndtr((centres - high) / noise)
            rows.append(inside / max(high - low, noise))
        rows.append(_gaussian(centres, self.means[1], _LESION_WIDTH * self.sds[1]))
        rows.append(np.ones(_BINS))
        return np.maximum(np.stack(rows), 1e-12)

    def shares(self) -> NDArray[np.float32]:
        """How much of each pure tissue a voxel of each component holds, (component, pure tissue, bin)."""
        result = np.zeros((COMPONENTS, len(PURE), _BINS), np.float32)
        for tissue in range(len(PURE)):
            result[tissue, tissue] = 1
        for number, (one, other) in enumerate(PAIRS, start=len(PURE)):
            distance = self.means[one] - self.means[other]
            share = np.clip((_centres() - self.means[other]) / distance, 0, 1) if distance else np.full(_BINS, 0.5)
            result[number, one], result[number, other] = share, 1 - share
        result[LESION, PURE.index("white")] = 1
        return result


def fit_mixture(
    values: NDArray[np.float32], priors: NDArray[np.float32], brain: NDArray[np.bool_], pure: NDArray[np.float32]
) -> Mixture:
    """Fit by expectation maximisation, started from the medians of where each tissue is most likely.

    Parameters
    ----------
    values
        Intensities of the voxels in the mask.
    priors
        Of every component at each of them, (component, voxel).
    brain
        Which of them are in the brain mask.
    pure
        Prior of the pure tissues alone, (tissue, voxel).
    """
    low, high = (float(each) for each in np.percentile(values, _CLIPPED))
    if not high > low:
        high = low + 1.0
    step = max(1, values.size // _SAMPLE)
    sample, weights = values[::step], priors[:, ::step]
    centres = _centres()
    mixture = Mixture(np.zeros(len(PURE)), np.full(len(PURE), 0.08), low, high)
    bins = mixture.bins(sample)
    x = centres[bins]
    means = np.array([_weighted_median(x, one**3 * brain[::step]) for one in pure[:, ::step]])
    mixture = Mixture(means, mixture.sds, low, high)
    for _ in range(_ITERATIONS):
        share = weights * mixture.likelihoods()[:, bins]
        share = share[: len(PURE)] / share.sum(axis=0)
        total = share.sum(axis=1) + 1e-9
        means = (share * x).sum(axis=1) / total
        sds = np.sqrt((share * (x - means[:, None]) ** 2).sum(axis=1) / total)
        widest = max(_WIDEST * sds[PURE.index("white")], 2 * _LEAST_SD)
        mixture = Mixture(means, np.clip(sds, _LEAST_SD, widest), low, high)
    return mixture


def _centres() -> NDArray[np.float64]:
    return (np.arange(_BINS) + 0.5) / _BINS


def _gaussian(x: NDArray[np.float64], mean: float, sd: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-((x - mean) ** 2) / (2 * sd**2)) / (sd * np.sqrt(2 * np.pi)))


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.floating]) -> float:
    order = np.argsort(values, kind="stable")
    sums = np.cumsum(weights[order], dtype=np.float64)
    return float(values[order][min(np.searchsorted(sums, sums[-1] / 2), values.size - 1)])
