"""A network applied to a volume patch by patch: overlapping tiles, Gaussian weights, mirrored views, in batches.

The tiles and weights are those of nnU-Net (Isensee et al. 2021, Nature Methods 18:203), added up in float32. The
Gaussian is a product of one factor an axis and the tiles are a grid, so the sum of all weights at a voxel is such a
product too: it is divided out axis by axis, and no second volume is needed for it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

#: Scores (n, z, y, x) of a batch of patches (n, 1, z, y, x), float32; positive is foreground.
Network = Callable[["torch.Tensor"], "torch.Tensor"]
Shape = tuple[int, int, int]

#: Standard deviation of the Gaussian as a share of the patch (nnU-Net's).
_SIGMA = 1 / 8


@dataclass(frozen=True)
class Window:
    """How a volume is cut into patches.

    Attributes
    ----------
    patch
        Edge lengths of a patch in voxels.
    step
        Distance between neighbouring patches as a share of a patch, at most; the last one ends with the volume.
    mirror_axes
        Axes of the volume (0, 1, 2) along which patches are mirrored; every combination of them is a view, and the
        views' scores are averaged.
    """

    patch: Shape
    step: float = 0.5
    mirror_axes: tuple[int, ...] = ()

    def views(self) -> list[tuple[int, ...]]:
        """Axes along which each view is mirrored, the view as it is first."""
        counts = range(len(self.mirror_axes) + 1)
        return [axes for count in counts for axes in itertools.combinations(self.mirror_axes, count)]


class Batch:
    """How many patches go through a network at once; halved, for good, whenever they do not fit into the memory."""

    def __init__(self, size: int = 1) -> None:
        self.size = max(1, size)

    def halve(self) -> bool:
        """Take half as many from now on; False where one patch alone was too much already."""
        possible = self.size > 1
        self.size = max(1, self.size // 2)
        return possible


def predict(
    volume: NDArray[np.float32], network: Network, window: Window, *, device: str = "cpu", batch: Batch | None = None
) -> NDArray[np.float32]:
    """The scores of a network at every voxel of a volume.

    Parameters
    ----------
    volume
        (z, y, x); padded with 0 on both sides where it is smaller than a patch.
    device
        Where the network wants its patches; the scores are added up there.
    batch
        How many patches at once, one by default; it is made smaller where they do not fit.

    Raises
    ------
    torch.OutOfMemoryError
        One patch alone does not fit into the memory of the device.
    """
    import torch

    batch = batch or Batch()
    padding = [max(0, edge - size) for edge, size in zip(window.patch, volume.shape, strict=True)]
    padded = np.pad(volume, [(more // 2, more - more // 2) for more in padding])
    starts = [tile_starts(*sizes, window.step) for sizes in zip(padded.shape, window.patch, strict=True)]
    factors = [gaussian(edge) for edge in window.patch]
    views = window.views()
    jobs = [(tile, view) for tile in _tiles(starts, window.patch) for view in views]
    with torch.inference_mode():
        data = torch.from_numpy(padded).to(device)
        weight = torch.from_numpy(_outer(factors)).to(device)
        total = torch.zeros(padded.shape, dtype=torch.float32, device=device)
        done = 0
        while done < len(jobs):
            chosen = jobs[done : done + batch.size]
            scores = _attempt(network, torch.stack([data[tile].flip(view)[None] for tile, view in chosen]), batch)
            if scores is None:
                continue
            for (tile, view), score in zip(chosen, scores, strict=True):
                total[tile] += score.float().flip(view) * weight
            done += len(chosen)
        result = total.cpu().numpy()
    for axis, (size, some, factor) in enumerate(zip(padded.shape, starts, factors, strict=True)):
        covered = np.zeros(size)
        for start in some:
            covered[start : start + len(factor)] += factor
        shape = [-1 if axis == other else 1 for other in range(3)]
        result /= covered.reshape(shape).astype(np.float32)
    result /= np.float32(len(views))
    inside = tuple(slice(more // 2, more // 2 + size) for more, size in zip(padding, volume.shape, strict=True))
    return np.ascontiguousarray(result[inside])


def _attempt(network: Network, patches: torch.Tensor, batch: Batch) -> torch.Tensor | None:
    """The scores of some patches, or None where they did not fit and fewer will be tried."""
    import torch

    try:
        return network(patches)
    except RuntimeError as error:
        # cuDNN and cuBLAS say it in their own words
        if not isinstance(error, torch.OutOfMemoryError) and "ALLOC_FAILED" not in str(error):
            raise
        if not batch.halve():
            raise torch.OutOfMemoryError(str(error)) from error
    # after the handler: the error would keep the tensors of the failed attempt alive
    if patches.is_cuda:
        torch.cuda.empty_cache()
    return None


def tile_starts(size: int, edge: int, step: float) -> list[int]:
    """Where tiles of `edge` voxels begin along an axis of `size`: as few as the step allows, evenly spread."""
    last = size - edge
    count = math.ceil(last / (edge * step)) + 1
    return [round(last / (count - 1) * index) for index in range(count)] if count > 1 else [0]


def gaussian(edge: int) -> NDArray[np.float64]:
    """The weight of a patch along one axis, 1 in its middle; above 3e-4 everywhere (float64)."""
    return np.asarray(np.exp(-0.5 * ((np.arange(edge) - edge // 2) / (edge * _SIGMA)) ** 2))


def _outer(factors: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    z, y, x = factors
    return np.asarray(z[:, None, None] * y[None, :, None] * x, dtype=np.float32)


def _tiles(starts: Sequence[Sequence[int]], patch: Shape) -> list[tuple[slice, slice, slice]]:
    return [
        (slice(z, z + patch[0]), slice(y, y + patch[1]), slice(x, x + patch[2]))
        for z, y, x in itertools.product(*starts)
    ]
