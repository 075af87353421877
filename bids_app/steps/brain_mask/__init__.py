"""Brain extraction: one module a method, and what every method's mask goes through afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.box import box_of
from bids_app.steps.images import Image, ImageError, like, mask_of, voxel_ml

Mask = NDArray[np.bool_]
#: A mask of whole numbers with more values than this is a probability in 0..255.
_MOST_LABELS = 150
#: With fewer it is one in per cent or 0..255 where its largest value lies in this range, at least so many values are
#: there, and this share of what is not 0 is nearly certain: the largest tenth of a segmentation's labels is a few
#: structures (below 1 % of SynthSeg's), that of a probability is the brain (66 % of the mean of many, the template's).
_CERTAIN_FROM_TO, _FEWEST_SHADES, _CERTAIN, _CERTAIN_SHARE = (50, 255), 6, 0.9, 0.4


def given_brain(array: NDArray[Any]) -> Mask:
    """What of a mask from elsewhere is brain: every label, or half and more of a probability (to 1, 100 or 255).

    Raises
    ------
    ImageError
        It has values below 0 or that are no numbers.
    """
    if not np.isfinite(array).all() or array.min() < 0:
        raise ImageError("the given mask has values below 0 or that are no numbers: a mask is 0 outside of the brain")
    values = np.unique(array[array > 0])
    if not values.size or _are_labels(array, values):
        return np.asarray(array > 0)
    return np.asarray(array >= 0.5 * float(values[-1]))


def _are_labels(array: NDArray[Any], values: NDArray[Any]) -> bool:
    """Whether a mask is made of labels, not of shades; `values` are those above 0, sorted."""
    if values.size > _MOST_LABELS or not bool((values == np.rint(values)).all()):
        return False
    low, high = _CERTAIN_FROM_TO
    if values.size < _FEWEST_SHADES or not low < values[-1] <= high:
        return True
    return bool((array >= _CERTAIN * float(values[-1])).sum() < _CERTAIN_SHARE * (array > 0).sum())


def largest_component(mask: NDArray[Any]) -> Mask:
    """The largest face-connected part of a mask; an empty mask stays empty. Of two equal ones the first is taken."""
    from scipy import ndimage

    whole = np.asarray(mask, bool)
    box = box_of(whole)
    parts, count = ndimage.label(whole[box])
    if count <= 1:
        return whole
    result = np.zeros_like(whole)
    result[box] = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    return result


def fill_holes(mask: NDArray[Any]) -> Mask:
    """A mask without cavities: background that is not face-connected to the outside becomes mask.

    The first and last slices count as background's outside too: a ventricle cut by the field of view stays open.
    """
    from scipy import ndimage

    result = np.array(mask, bool)
    if not result.any():
        return result
    box = box_of(result, 1)
    parts, count = ndimage.label(~result[box])
    open_ = np.zeros(count + 1, bool)
    for axis in range(parts.ndim):
        for side in (0, -1):
            open_[np.take(parts, side, axis=axis)] = True
    open_[0] = True  # the mask itself
    result[box] |= ~open_[parts]
    return result


def clean_mask(image: Image) -> Image:
    """The largest component of a mask image with its holes filled (uint8 0 and 1, the same grid)."""
    return like(fill_holes(largest_component(mask_of(image))).astype(np.uint8), image)


def volume_ml(mask_image: Any) -> float:
    """Volume of a mask in millilitres."""
    return float(mask_of(mask_image).sum()) * voxel_ml(mask_image)


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Torch's threads set for a while: they are one setting for the whole process, and others use torch too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
