"""Brain extraction and segmentation by a network that learned shapes from synthetic heads of random contrast.

Its weights ship with the package (`data/synth`, with their model card; `training/synth.py` made them), it runs in
seconds on a CPU and takes any contrast and resolution. After SynthSeg (Billot et al. 2023,
doi:10.1016/j.media.2023.102789) and SynthStrip (Hoopes et al. 2022, doi:10.1016/j.neuroimage.2022.119474).
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.box import Box, box_of
from bids_app.steps.brain_mask import fill_holes, largest_component, torch_threads
from bids_app.steps.brain_mask.border import Belief, sharpened
from bids_app.steps.images import Image, ImageError, array_of, from_itk, like, new_image, spacing_mm, to_itk, voxel_ml

if TYPE_CHECKING:
    from bids_app.steps.brain_mask.synth_network import SynthNetwork

VERSION = "7"
_DATA = Path(__file__).parents[2] / "data" / "synth"
#: The image is scaled to 0..1 between these percentiles, as the training heads were.
_PERCENTILES = (1.0, 99.5)
_CENTRED_MM = 16.0  # training heads lay about so well centred in their box
_LOOKS = 3
#: What the network says of something that is no head: little, or nothing with certainty.
_MIN_VOLUME_ML = 30.0  # a few thick slices of a brain are still a brain
_MIN_CERTAINTY = 0.8  # 0.95 to 0.97 on 19 real heads and maps of diffusion, at most 0.67 on nine phantoms
#: Spread (5th to 95th percentile, over the median) of the smoothed image deep in the brain: 0.45 to 1.5 on real heads
#: of any contrast, 0.02 in balls and tubes of one substance.
_MIN_STRUCTURE = 0.1
#: Probability from which a voxel counts, by 24 heads of the label maps that were held back from its training: the
#: brain's Dice is the same from 0.3 to 0.4 (0.966, before its border is moved, from where 0.5 decides), and the lower
#: one cuts less; 0.35 gives the intracranial mask its true volume (mean 1.000, SD 0.021 of it; 12 of the heads).
_BRAIN_AT, _INTRACRANIAL_AT = 0.3, 0.35
_MARGIN_MM = 10.0  # a border moves by 3 mm at most, sulci are closed over 3 mm, and a voxel of the network is 2 mm
#: 280 mm, the usual field of view in voxels of 2 mm: whatever the brain's place in it, the box in the middle sees some.
_USUAL_VOXELS = 140
#: Sides of a first look at a larger one: 400 mm; more than a head coil sees.
_FIRST_LOOK_VOXELS = 208


class NoBrainError(ImageError):
    """Nothing in the image looks like a brain."""


@dataclass(frozen=True)
class Synth:
    """What the network sees in a head, on the grid of the image.

    Attributes
    ----------
    brain
        Tissue and ventricles, closed over the sulci, cut 5 mm below the cerebellum; uint8.
    intracranial
        The same with all of the fluid around the brain; uint8.
    certainty
        Dice of the voxels that are brain with a probability over 3/4 and over 1/4: 0.95 to 0.97 on real heads.
    """

    brain: Image
    intracranial: Image
    certainty: float


@dataclass(frozen=True)
class _Seen:
    """The network's answer in its box, on a 2 mm grid: probabilities of (mask, x, y, z) and (class, x, y, z).

    `structure` is the spread of intensities deep in what it takes for the brain, see `_MIN_STRUCTURE`.
    """

    masks: NDArray[np.float32]
    classes: NDArray[np.float32]
    box: Image
    structure: float


def weights_sha256() -> str:
    """Hash of the weights that ship."""
    return str(json.loads((_DATA / "synth.json").read_text())["sha256"])


def synth_mask(image: Image, *, threads: int = 1) -> Synth:
    """Brain and intracranial mask of a conformed image of any contrast.

    The network's brain mask is moved to where the image has the border (`border`).

    Raises
    ------
    NoBrainError
        Nothing in the image looks like a brain.
    """
    seen = _look(image, threads, classes=False)
    region = _region(seen, image)
    brain, inside = _recognised(seen, region), _intracranial(seen, region)
    mask = sharpened(array_of(region.image), spacing_mm(image), brain, inside)
    return Synth(region.whole(mask.astype(np.uint8)), region.whole((inside.mask | mask).astype(np.uint8)),
                 _certainty(seen.masks[0]))  # fmt: skip


@dataclass(frozen=True)
class SynthSegmentation:
    """What a head is made of, on the grid of the image.

    Attributes
    ----------
    labels
        uint8, see `classes_table`; 0 outside the skull.
    intracranial
        Brain and all fluid around it; uint8.
    """

    labels: Image
    intracranial: Image


def synth_segmentation(image: Image, *, threads: int = 1) -> SynthSegmentation:
    """Tissue classes of a conformed image of any contrast.

    Raises
    ------
    NoBrainError
        Nothing in the image looks like a brain.
    """
    seen = _look(image, threads, classes=True)
    region = _region(seen, image)
    _recognised(seen, region)
    best = np.full(region.image.shape, 0.0, np.float32)
    labels = np.zeros(region.image.shape, np.uint8)
    for index, probability in enumerate(seen.classes):
        fine = _upsampled(probability, seen.box, region.image)
        more = fine > best
        best[more], labels[more] = fine[more], index
    inside = _intracranial(seen, region).mask
    labels[~inside] = 0
    return SynthSegmentation(region.whole(labels), region.whole(inside.astype(np.uint8)))


@dataclass(frozen=True)
class _Region:
    """The part of an image that the brain lies in: what concerns the brain is computed there alone."""

    image: Image
    box: Box
    of: Image

    def whole(self, part: NDArray[np.uint8]) -> Image:
        """An array of the part as an image of the whole grid, 0 elsewhere."""
        result = np.zeros(self.of.shape, np.uint8)
        result[self.box] = part
        return like(result, self.of)


def _region(seen: _Seen, image: Image) -> _Region:
    """Where one of the two masks can be, and as far around it as a border may move, within the image."""
    box = _box_in(image, box_of(seen.masks.max(axis=0) > min(_BRAIN_AT, _INTRACRANIAL_AT) / 2), seen.box)
    affine = np.asarray(image.affine).copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return _Region(new_image(array_of(image)[box], affine), box, image)


def _box_in(image: Image, box: Box, of: Image) -> Box:
    """The voxels of the image that a box of another grid with the same axes covers, `_MARGIN_MM` wider."""
    to_image = np.linalg.inv(np.asarray(image.affine)) @ np.asarray(of.affine)
    corners = np.array([[part.start, part.stop - 1] for part in box], dtype=float)
    low, high = (to_image @ np.append(corner, 1) for corner in corners.T)
    parts = []
    for axis, edge in enumerate(spacing_mm(image)):
        more, size = _MARGIN_MM / edge, image.shape[axis]
        start = int(np.clip(np.floor(low[axis] - more), 0, size - 1))
        parts.append(slice(start, max(int(np.clip(np.ceil(high[axis] + more) + 1, 0, size)), start + 1)))
    return parts[0], parts[1], parts[2]


def _recognised(seen: _Seen, region: _Region) -> Belief:
    """The brain.

    Raises
    ------
    NoBrainError
        The network sees little, or nothing with certainty.
    """
    probability = _upsampled(seen.masks[0], seen.box, region.image)
    mask = fill_holes(largest_component(probability > _BRAIN_AT))
    volume, certainty = float(mask.sum()) * voxel_ml(region.image), _certainty(seen.masks[0])
    if volume < _MIN_VOLUME_ML or certainty < _MIN_CERTAINTY or seen.structure < _MIN_STRUCTURE:
        why = "of one substance" if seen.structure < _MIN_STRUCTURE else f"certainty {certainty:.2f}"
        raise NoBrainError(
            f"no brain was recognised in it ({volume:.0f} ml, {why}): is this a head? "
            "If it is, give its mask with --masks"
        )
    return Belief(probability, mask)


def _intracranial(seen: _Seen, region: _Region) -> Belief:
    probability = _upsampled(seen.masks[1], seen.box, region.image)
    return Belief(probability, fill_holes(largest_component(probability > _INTRACRANIAL_AT)))


def _look(image: Image, threads: int, *, classes: bool) -> _Seen:
    """Look at the box in the middle, then at the box around the brain until it is well centred.

    Of an image larger than a head needs, the first look takes in everything. The last look is averaged with one at the
    mirror image.
    """
    from bids_app.steps.brain_mask.synth_network import BOX_VOXELS, MASKS

    coarse = _coarse(image)
    array = array_of(coarse)
    centre = (np.array(array.shape) - 1) / 2
    if max(array.shape) > _USUAL_VOXELS:
        box = tuple(min(-(-size // 16) * 16, _FIRST_LOOK_VOXELS) for size in array.shape)
        centre = _middle(_predicted(_cut(array, centre, box), threads)[0], centre, box)
    for look in range(_LOOKS):
        cut = _cut(array, centre, BOX_VOXELS)
        seen = _predicted(cut, threads, classes=classes)
        found = _middle(seen[0], centre, BOX_VOXELS)
        if np.abs(found - centre).max() * 2 < _CENTRED_MM or look == _LOOKS - 1:
            break
        centre = found
    mirrored = _predicted(cut, threads, classes=classes, mirrored=True)
    probabilities = np.asarray((seen + mirrored) / 2, dtype=np.float32)
    corner = np.round(centre - (np.array(BOX_VOXELS) - 1) / 2)
    affine = np.asarray(coarse.affine).copy()
    affine[:3, 3] += affine[:3, :3] @ corner
    masks = probabilities[: len(MASKS)]
    box_image = new_image(np.zeros(BOX_VOXELS, np.uint8), affine)
    return _Seen(masks, probabilities[len(MASKS) :], box_image, _structure(cut, masks[0]))


def _coarse(image: Image) -> Image:
    """The image at 2 mm along its own axes, averaged over the voxels that fall together."""
    import SimpleITK as sitk
    from scipy import ndimage

    from bids_app.steps.brain_mask.synth_network import SPACING_MM

    edges = spacing_mm(image)
    factors = [max(1, int(SPACING_MM / edge + 0.01)) for edge in edges]
    factors = [min(factor, size) for factor, size in zip(factors, image.shape, strict=True)]
    shrunk = from_itk(sitk.BinShrink(to_itk(like(array_of(image), image)), factors))
    widths = [SPACING_MM**2 / 12 - edge**2 / 12 for edge in spacing_mm(shrunk)]  # variances of the two averages
    sigma = [np.sqrt(max(width, 0)) / edge for width, edge in zip(widths, spacing_mm(shrunk), strict=True)]
    smooth = like(ndimage.gaussian_filter(array_of(shrunk), sigma, mode="nearest", truncate=3), shrunk)
    extent = np.array(shrunk.shape) * spacing_mm(shrunk)
    shape = np.maximum(np.ceil(extent / SPACING_MM - 0.01), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(shrunk.affine)[:3, :3] / spacing_mm(shrunk) * SPACING_MM
    middle = np.asarray(shrunk.affine) @ [*((np.array(shrunk.shape) - 1) / 2), 1]
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ ((shape - 1) / 2)
    index = np.linalg.inv(np.asarray(shrunk.affine)) @ affine
    with warnings.catch_warnings():  # scipy warns of a diagonal matrix, which is what is meant
        warnings.simplefilter("ignore", UserWarning)
        fine = ndimage.affine_transform(
            array_of(smooth), np.diag(index)[:3], index[:3, 3], tuple(shape), np.float32, order=1, mode="nearest"
        )
    return new_image(fine, affine)


def _cut(array: NDArray[np.float32], centre: NDArray[np.float64], box: tuple[int, ...]) -> NDArray[np.float32]:
    """The box around a centre, scaled to 0..1 by what of the image lies in it; NaN where the image ends."""
    result = np.full(box, np.nan, np.float32)
    corner = np.round(centre - (np.array(box) - 1) / 2).astype(int)
    low, high = np.maximum(corner, 0), np.minimum(corner + box, array.shape)
    if (high <= low).any():
        return result
    values = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    bottom, top = np.percentile(values, _PERCENTILES)
    scaled = np.clip((values - bottom) / ((top - bottom) or 1.0), 0, 1)
    result[tuple(slice(a, b) for a, b in zip(low - corner, high - corner, strict=True))] = scaled
    return result


def _predicted(
    cut: NDArray[np.float32], threads: int, *, classes: bool = False, mirrored: bool = False
) -> NDArray[np.float32]:
    """Probabilities of the masks and, where they are asked for, of the classes, (mask or class, x, y, z).

    They are 0 outside the image; `mirrored` shows the network the mirror image.
    """
    import torch

    from bids_app.steps.brain_mask.synth_network import MASKS

    inside = np.isfinite(cut)
    with torch_threads(threads), torch.inference_mode():
        image = torch.from_numpy(np.nan_to_num(cut))[None, None]
        shown = image.flip(2) if mirrored else image
        logits = _network()(shown, classes=classes)[0]
        logits = logits.flip(1) if mirrored else logits
        found = logits[: len(MASKS)].sigmoid()
        if classes:
            kinds = logits[len(MASKS) :].softmax(0)
            found = torch.cat([found, kinds[_other_side()] if mirrored else kinds])
    return np.asarray(found.numpy() * inside)


def _middle(brain: NDArray[np.float32], centre: NDArray[np.float64], box: tuple[int, ...]) -> NDArray[np.float64]:
    """The brain's centre in voxels of the 2 mm image; the old centre where no brain is seen."""
    mask = largest_component(brain > 0.5)
    if mask.sum() < 500:
        return centre
    corner = np.round(centre - (np.array(box) - 1) / 2)
    return np.asarray(corner + np.argwhere(mask).mean(axis=0))


def _structure(cut: NDArray[np.float32], brain: NDArray[np.float32]) -> float:
    """Spread of the smoothed intensities at least 6 mm deep in the brain; 1 where so deep is nothing."""
    from scipy import ndimage

    deep = ndimage.binary_erosion(brain > 0.5, iterations=3)
    if deep.sum() < 100:
        return 1.0
    values = ndimage.gaussian_filter(np.nan_to_num(cut), 1.0)[deep]
    low, middle, high = np.percentile(values, (5, 50, 95))
    return float((high - low) / max(middle, 1e-6))


def _certainty(brain: NDArray[np.float32]) -> float:
    sure, likely = int((brain > 0.75).sum()), int((brain > 0.25).sum())
    return round(2 * sure / max(sure + likely, 1), 3)


def _upsampled(probability: NDArray[np.float32], box: Image, image: Image) -> NDArray[np.float32]:
    """A probability of the box on the grid of the image, linear; a voxel at the edge of the box reaches beyond it."""
    import SimpleITK as sitk

    padded = np.pad(probability, 1, mode="edge")
    affine = np.asarray(box.affine).copy()
    affine[:3, 3] -= affine[:3, :3].sum(axis=1)
    fine = sitk.Resample(to_itk(new_image(padded, affine)), to_itk(like(np.zeros(image.shape, np.uint8), image)),
                         sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)  # fmt: skip
    return np.asarray(sitk.GetArrayFromImage(fine).transpose(2, 1, 0))


@cache
def _network() -> SynthNetwork:
    """The network with the weights that ship, once for the process."""
    import torch

    from bids_app.steps.brain_mask.synth_network import SynthNetwork

    path = _DATA / "synth.pt"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != weights_sha256():
        raise RuntimeError(f"{path} is damaged: its hash is not the one in synth.json; install the package again")
    network = SynthNetwork().eval()
    network.load_state_dict({k: v.float() for k, v in torch.load(path, weights_only=True).items()})
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # a third faster in float32


@cache
def _other_side() -> list[int]:
    """For each class the index of its mirror image."""
    from bids_app.steps.brain_mask.synth_network import CLASSES

    swapped = {"left": "right", "right": "left"}
    names = [" ".join(swapped.get(word, word) for word in name.split()) for name in CLASSES]
    return [CLASSES.index(name) for name in names]


def classes_table() -> list[tuple[int, str]]:
    """Label and name of every class of the segmentation."""
    from bids_app.steps.brain_mask.synth_network import CLASSES

    return list(enumerate(CLASSES))
