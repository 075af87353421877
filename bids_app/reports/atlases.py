"""The edges of an atlas' brain, to be drawn over images that were brought to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.assets import AssetError, Space, load_space
from bids_app.reports.drawing import Mask
from bids_app.steps.images import array_of, mask_of


@dataclass(frozen=True)
class AtlasEdges:
    """Masks on the atlas' output grid whose borders are its edges: the brain, and its brightest tissue.

    The latter is white matter in a T1-weighted template and fluid in a T2-weighted one.
    """

    brain: Mask
    bright: Mask


def atlas_edges(spaces: Iterable[tuple[str, Space]]) -> Mapping[str, AtlasEdges]:
    """The edges of the atlases at hand, by the names of their spaces (`MNI152NLin2009aSym_res-1`)."""
    found = {name: _edges(space) for name, space in spaces}
    return {name: edges for name, edges in found.items() if edges is not None}


@cache
def _edges(space: Space) -> AtlasEdges | None:
    try:
        image, mask = load_space(space)
    except AssetError:  # the atlas went away since the run began: the pages do without
        return None
    every = (slice(None, None, space.step),) * 3
    brain, array = mask_of(mask)[every], array_of(image)[every]
    return AtlasEdges(brain, brain & (array > brightest_from(array[brain])))


def brightest_from(values: NDArray[Any]) -> float:
    """Where the brightest of three classes begins: Otsu's criterion with two thresholds (IEEE Trans SMC 1979;9:62)."""
    count, edges = np.histogram(values, bins=96)
    share = count / max(1, count.sum())
    middle = (edges[:-1] + edges[1:]) / 2
    weight, moment = np.concatenate([[0], share.cumsum()]), np.concatenate([[0], (share * middle).cumsum()])

    def between(low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
        mass, mean = weight[high] - weight[low], moment[high] - moment[low]
        return np.divide(mean**2, mass, out=np.zeros_like(mean), where=mass > 1e-9)

    first, second = np.meshgrid(np.arange(1, 95), np.arange(2, 96), indexing="ij")
    zero, last = np.zeros_like(first), np.full_like(first, 96)
    score = np.where(first < second, between(zero, first) + between(first, second) + between(second, last), -1)
    return float(edges[second.ravel()[score.argmax()]])
