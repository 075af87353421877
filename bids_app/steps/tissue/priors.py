"""Where each tissue is to be expected: by the labels of `synth` in the head itself, by the atlas within the cerebellum.

`synth` sees the head's own cortex, ventricles and deep grey matter, which no atlas that is aligned rigidly can; but it
does not tell the cerebellum's two matters apart, and works at 2 mm. So its labels are blurred and the intensities are
left to decide within a few millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.tissue.mixture import COMPONENTS, LESION, OTHER, PAIRS, PURE

#: Words in the names of the network's classes by what is expected there.
_WORDS = {"white matter": "white", "brain stem": "white", "cortex": "cortex", "deep grey": "deep grey",
          "ventricle": "fluid", "fluid": "fluid", "background": "fluid", "cerebellum": "cerebellum"}  # fmt: skip
_BLUR_MM = 1.5  # Dice and volumes are the same from 1 to 2 mm
#: What every tissue has at least: chosen with the others below on heads of three label maps (04, 11 and 17).
_LEAST = {"fluid": 0.003, "cortex": 0.003, "deep grey": 0.001, "white": 0.003}
_LESIONS = 0.1  # of the white matter
#: Of anything else: often just inside the skull, hardly ever in the brain.
_OTHER_OUTSIDE, _OTHER_INSIDE = 0.4, 0.001


def classes_by_kind(names: list[str]) -> dict[str, list[int]]:
    """Indices of the network's classes by what is expected there: the pure tissues, and "cerebellum"."""
    result: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        kind = next(kind for words, kind in _WORDS.items() if words in name)
        result.setdefault(kind, []).append(index)
    return result


def pure_priors(
    labels: NDArray[np.uint8],
    names: list[str],
    brain: NDArray[np.bool_],
    atlas: Mapping[str, NDArray[np.float32]],
    spacing_mm: tuple[float, ...],
) -> NDArray[np.float32]:
    """Prior of each pure tissue, (tissue, x, y, z).

    Parameters
    ----------
    labels, names
        The segmentation by `synth`, and the names of its classes.
    brain
        The brain mask: outside it, only fluid is expected.
    atlas
        "GM", "WM" and "CSF" on the same grid, any common scale.
    """
    kinds = classes_by_kind(names)
    maps = {kind: blurred(np.isin(labels, indices), spacing_mm, _BLUR_MM) for kind, indices in kinds.items()}
    total = atlas["GM"] + atlas["WM"] + atlas["CSF"] + np.float32(1e-3)
    grey, white = atlas["GM"] / total, atlas["WM"] / total
    cerebellum = maps["cerebellum"]
    result = np.stack([maps[name] for name in PURE])
    result[PURE.index("fluid")] += cerebellum * (1 - grey - white) + ~brain
    result[PURE.index("cortex")] += cerebellum * grey
    result[PURE.index("white")] += cerebellum * white
    result += np.array([_LEAST[name] for name in PURE], np.float32)[:, None, None, None]
    result /= result.sum(axis=0)
    return result


def component_priors(pure: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Prior of every component of the mixture at some voxels, (component, voxel); they sum to 1.

    Two tissues share a voxel where both are likely: the geometric mean of their priors.
    """
    result = np.empty((COMPONENTS, pure.shape[1]), np.float32)
    result[: len(PURE)] = pure
    for number, (one, other) in enumerate(PAIRS, start=len(PURE)):
        result[number] = np.sqrt(pure[one] * pure[other])
    result[LESION] = np.float32(_LESIONS) * pure[PURE.index("white")]
    result[OTHER] = np.where(brain, np.float32(_OTHER_INSIDE), np.float32(_OTHER_OUTSIDE))
    result /= result.sum(axis=0)
    return result


def blurred(mask: NDArray[np.bool_], spacing_mm: tuple[float, ...], sd_mm: float) -> NDArray[np.float32]:
    """A mask after a Gaussian of a standard deviation in mm."""
    from scipy.ndimage import gaussian_filter

    sigma = [sd_mm / edge for edge in spacing_mm]
    return np.asarray(gaussian_filter(mask.astype(np.float32), sigma, mode="nearest", truncate=3.0))
