"""Where grey matter, white matter, fluid and lateral ventricles are in MNI space, from maps that nilearn carries."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.assets.fetching import AssetError
from bids_app.assets.spaces import Space
from bids_app.exit_codes import NO_INPUT
from bids_app.steps.images import Image, array_of, conform, like
from bids_app.steps.quality.grids import shrunk

_FILE = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_WORKING_MM = 2.0
#: Standard deviation of the blur of the maps: heads that are aligned rigidly differ from the atlas by some millimetres.
_BLUR_MM = 3.0
#: Of what is neither grey nor white matter, the lateral ventricles are the largest connected part in this box (RAS+ mm)
#: and this deep in the brain. They hold 90 % of those that FreeSurfer finds on average in MNI152NLin6Asym (Dice 0.79).
_VENTRICLES_BOX_MM = ((-40.0, 40.0), (-62.0, 36.0), (-6.0, 34.0))
_VENTRICLES_DEPTH_MM = 12


@dataclass(frozen=True, eq=False)
class TissueMaps:
    """Maps in the world of MNI152 (any version: they differ by less than the blur).

    Attributes
    ----------
    priors
        "csf", "gm" and "wm": blurred probabilities, 0 to 1, about 2 mm.
    ventricles
        Mask of the lateral ventricles, 1 mm.
    """

    priors: Mapping[str, Image]
    ventricles: Image


def tissue_maps(space: Space) -> TissueMaps | None:
    """The maps that hold for an atlas; None for one that is not in MNI152's world."""
    return _embedded() if space.standard and space.name.startswith("MNI152") else None


def tissue_priors(space: Space, *, blurred: bool) -> Mapping[str, Image] | None:
    """Probabilities of "GM", "WM" and "CSF" at 1 mm; None for an atlas that is not in MNI152's world.

    `blurred`: for heads that are aligned with the atlas linearly, and so differ from it by some millimetres.
    """
    if tissue_maps(space) is None:
        return None
    from scipy.ndimage import gaussian_filter

    maps, _, brain = _unblurred()
    result = {}
    for name, array in maps.items():
        result[name.upper()] = like(gaussian_filter(array, _BLUR_MM) if blurred else array, brain)
    return result


def _unblurred() -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_], Image]:
    """Probabilities of the tissues at 1 mm, the brain mask, and the image whose grid they are on."""
    brain, grey, white = (_load(kind) for kind in ("t1", "gm", "wm"))
    inside = array_of(brain) > 0
    maps = {"gm": array_of(grey) / np.float32(255), "wm": array_of(white) / np.float32(255)}
    maps["csf"] = np.clip(inside.astype(np.float32) - maps["gm"] - maps["wm"], 0, 1)
    return maps, inside, brain


@cache
def _embedded() -> TissueMaps:
    from scipy.ndimage import gaussian_filter

    maps, inside, brain = _unblurred()
    priors = {}
    for name, array in maps.items():
        coarse = shrunk(like(array, brain), _WORKING_MM)
        priors[name] = like(gaussian_filter(array_of(coarse), _BLUR_MM / _WORKING_MM), coarse)
    return TissueMaps(priors, like(_ventricles(maps["csf"], inside, brain).astype(np.uint8), brain))


def _ventricles(fluid: NDArray[np.float32], inside: NDArray[np.bool_], brain: Image) -> NDArray[np.bool_]:
    """The lateral ventricles among what is fluid; the maps have voxels of 1 mm along the axes of the world."""
    from scipy.ndimage import binary_erosion, label

    box = []
    for (low, high), edge, first in zip(_VENTRICLES_BOX_MM, brain.affine.diagonal(), brain.affine[:3, 3], strict=False):
        box.append(slice(round((low - first) / edge), round((high - first) / edge) + 1))
    depth = _VENTRICLES_DEPTH_MM
    around = tuple(slice(part.start - depth, part.stop + depth) for part in box)  # the brain is larger than that
    deep = binary_erosion(inside[around], iterations=depth)[depth:-depth, depth:-depth, depth:-depth]
    parts, _ = label((fluid[tuple(box)] > 0.5) & deep)
    result = np.zeros_like(inside)
    result[tuple(box)] = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return result


def _load(kind: str) -> Image:
    package = importlib.util.find_spec("nilearn")  # importing it costs a second
    folder = package.submodule_search_locations[0] if package and package.submodule_search_locations else None
    path = Path(folder or "", _FILE.format(kind))
    if not path.is_file():
        raise AssetError(f"{path.name}: nilearn, which carries it, is not installed", NO_INPUT)
    return conform(nib.load(path))
