"""Grey matter, white matter and fluid in a T1-like head: priors, a mixture with partial volume, a smoothness prior.

Bayesian segmentation after Ashburner and Friston 2005 (doi:10.1016/j.neuroimage.2005.02.018) with a Markov random field
by mean-field iteration (Zhang et al. 2001, doi:10.1109/42.906424). ANTs' Atropos was measured beside it
(`benchmarks/tissue.py --peer`): it takes the same priors, many times as long, and knows no mixed voxels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.box import box_of
from bids_app.steps.images import Image, array_of, like, mask_of, spacing_mm
from bids_app.steps.tissue.mixture import LESION, PAIRS, PURE, Mixture, fit_mixture
from bids_app.steps.tissue.priors import component_priors, pure_priors
from bids_app.steps.tissue.ventricles import VENTRICLES, find_ventricles

#: The classes in their order: the last axis of the stack, and, counted from 1, the labels.
TISSUES = ("GM", "WM", "CSF")
_OF_TISSUE = {"GM": ("cortex", "deep grey"), "WM": ("white",), "CSF": ("fluid",)}

_SMOOTHNESS = 0.15  # log odds for each of six neighbours (1 mm); the noise of an ordinary scan needs no more
_ROUNDS = 2
_CHUNK = 1_000_000  # voxels at a time: memory


@dataclass(frozen=True)
class TissueSegmentation:
    """Tissue of a head, on the grid of the image.

    Attributes
    ----------
    probabilities
        By the names of `TISSUES`: how much of each voxel is of the tissue, float32, 0 to 1. Their sum is at most 1;
        what is missing is vessels, dura or bone; 0 outside the skull.
    labels
        uint8: 1 GM, 2 WM, 3 CSF, 0 where none of them fills half of the voxel.
    ventricles
        uint8: 1 left, 2 right, 3 third and fourth (`VENTRICLES`).
    ventricle_ml
        Their volumes by name, partial volume counted.
    mixture
        Intensities of the pure tissues.
    """

    probabilities: Mapping[str, Image]
    labels: Image
    ventricles: Image
    ventricle_ml: Mapping[str, float]
    mixture: Mixture


def segment_tissue(
    image: Image,
    brain_mask: Image,
    intracranial_mask: Image,
    regions: Image,
    names: list[str],
    atlas: Mapping[str, Image],
) -> TissueSegmentation:
    """Segment a T1-like image.

    Parameters
    ----------
    image
        Conformed, bias-corrected.
    brain_mask, intracranial_mask
        On its grid; the tissues are looked for in both together.
    regions, names
        The segmentation by `synth` on the same grid, and the names of its classes.
    atlas
        "GM", "WM" and "CSF" carried to the same grid, any common scale.
    """
    inside = mask_of(brain_mask) | mask_of(intracranial_mask)
    box = box_of(inside)
    part, brain = inside[box], mask_of(brain_mask)[box]
    labels = np.asarray(regions.dataobj)[box].astype(np.uint8)
    maps = {name: np.maximum(array_of(one)[box], 0) for name, one in atlas.items()}
    spacing = spacing_mm(image)
    pure = pure_priors(labels, names, brain, maps, spacing)[:, part]
    values, in_brain = np.ascontiguousarray(array_of(image)[box][part]), brain[part]
    mixture = fit_mixture(values, component_priors(pure, in_brain), in_brain, pure)
    shares = _shares(values, pure, in_brain, part, mixture, spacing)
    found = np.zeros((len(TISSUES), *part.shape), np.float32)
    for row, tissue in enumerate(TISSUES):
        found[row, part] = shares[[PURE.index(name) for name in _OF_TISSUE[tissue]]].sum(axis=0)
    np.clip(found, 0, 1, out=found)
    best = np.where(found.sum(axis=0) > 0.5, found.argmax(axis=0) + 1, 0).astype(np.uint8)
    ventricles, share = find_ventricles(labels, names, found[TISSUES.index("CSF")], spacing)
    voxel_ml = float(np.prod(spacing)) / 1000
    side = _side(ventricles, share)
    volumes = {name: float(share[side == n].sum(dtype=np.float64)) * voxel_ml for n, name in enumerate(VENTRICLES, 1)}

    def whole(array: NDArray[np.generic]) -> Image:
        result = np.zeros(image.shape, array.dtype)
        result[box] = array
        return like(result, image)

    probabilities = {tissue: whole(one) for tissue, one in zip(TISSUES, found, strict=True)}
    return TissueSegmentation(probabilities, whole(best), whole(ventricles), volumes, mixture)


def _shares(
    values: NDArray[np.float32],
    pure: NDArray[np.float32],
    in_brain: NDArray[np.bool_],
    part: NDArray[np.bool_],
    mixture: Mixture,
    spacing: tuple[float, ...],
) -> NDArray[np.float32]:
    """How much of each voxel of the mask is of each pure tissue, (tissue, voxel); near neighbours count more."""
    likelihood = np.log(mixture.likelihoods()).astype(np.float32)
    of_component = mixture.shares()
    shares = np.zeros_like(pure)
    around: NDArray[np.float32] | None = None
    for _ in range(1 + _ROUNDS):
        for first in range(0, values.size, _CHUNK):
            chunk = slice(first, first + _CHUNK)
            bins = mixture.bins(values[chunk])
            score = np.log(component_priors(pure[:, chunk], in_brain[chunk])) + likelihood[:, bins]
            if around is not None:
                near = around[:, chunk]
                score[: len(PURE)] += near
                for number, (one, other) in enumerate(PAIRS, start=len(PURE)):
                    score[number] += (near[one] + near[other]) / 2
                score[LESION] += near[PURE.index("white")]
            score -= score.max(axis=0)
            np.exp(score, out=score)
            score /= score.sum(axis=0)
            for tissue in range(len(PURE)):
                shares[tissue, chunk] = (score * of_component[:, tissue][:, bins]).sum(axis=0)
        around = _around(shares, part, spacing)
    return shares


def _around(shares: NDArray[np.float32], part: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.float32]:
    """What the six neighbours of each voxel speak for; both kinds of grey matter speak for each other."""
    result = np.empty_like(shares)
    for tissue in _OF_TISSUE.values():
        rows = [PURE.index(name) for name in tissue]
        padded = np.zeros(tuple(n + 2 for n in part.shape), np.float32)
        padded[1:-1, 1:-1, 1:-1][part] = shares[rows].sum(axis=0)
        total = np.zeros(part.shape, np.float32)
        for axis, edge in enumerate(spacing):
            for start in (0, 2):
                where = [slice(1, -1)] * 3
                where[axis] = slice(start, start + part.shape[axis])
                total += padded[tuple(where)] * np.float32(_SMOOTHNESS / max(edge, 0.5))
        result[rows] = total[part]
    return result


def _side(ventricles: NDArray[np.uint8], share: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Which ventricle each share of a voxel belongs to: its own label, else that of the nearest labelled voxel."""
    from scipy.ndimage import distance_transform_edt

    if not ventricles.any() or not (share > 0).any():
        return ventricles
    nearest = distance_transform_edt(ventricles == 0, return_distances=False, return_indices=True)
    return np.asarray(np.where(share > 0, ventricles[tuple(nearest)], 0), np.uint8)
