"""Label maps of whole heads as the generator wants them: tissues, classes, distances to the borders of the masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from head_template import BELOW_CEREBELLUM_MM, BRAIN, CEREBELLUM, bounding_box, brain_mask
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from bids_app.steps import images
from bids_app.steps.brain_mask.synth_network import CLASSES

#: FreeSurfer's labels by class of the network (`CLASSES`): left ones, then right ones.
_CLASS_LABELS: dict[str, tuple[int, ...]] = {
    "left white matter": (2, 25, 30, 77, 78), "right white matter": (41, 57, 62, 79),
    "left cortex": (3,), "right cortex": (42,),
    "left deep grey matter": (10, 11, 12, 13, 17, 18, 26, 28),
    "right deep grey matter": (49, 50, 51, 52, 53, 54, 58, 60),
    "left lateral ventricle": (4, 5, 31, 136, 137), "right lateral ventricle": (43, 44, 63, 163, 164),
    "third and fourth ventricle": (14, 15, 72),
    "cerebrospinal fluid": (24,),
    "left cerebellum": (7, 8), "right cerebellum": (46, 47),
    "brain stem": (16, 85),
}  # fmt: skip
#: What shares an intensity: the two sides, and the parts that no contrast tells apart.
_TISSUES: dict[str, tuple[int, ...]] = {
    "air": (0,), "wm": (2, 41, 30, 62, 77, 78, 79), "gm": (3, 42), "csf": (24,),
    "ventricle": (4, 43, 5, 44, 14, 15, 72),
    "choroid": (31, 63, 136, 137, 163, 164), "lesion": (25, 57), "thalamus": (10, 49), "caudate": (11, 50, 26, 58),
    "putamen": (12, 51), "pallidum": (13, 52), "hippocampus": (17, 18, 53, 54), "ventral": (28, 60), "stem": (16, 85),
    "cerebellum gm": (8, 47), "cerebellum wm": (7, 46), "eye": (506,), "lens": (508,), "soft": (507,), "bone": (511,),
    "fat": (515,), "other": (516,), "502": (502,), "skin": (509,), "512": (512,), "vein": (514,), "530": (530,),
}  # fmt: skip
#: Index of a tissue in a label map.
TISSUES = tuple(_TISSUES)
HEAD_ONLY = tuple(TISSUES.index(name) for name in TISSUES[TISSUES.index("eye") :])
FAR_MM = 12.0  # signed distances are stored up to this


@dataclass(frozen=True)
class LabelMap:
    """A head at 1 mm, RAS+: tissue and class of every voxel, and signed distances (mm, positive inside) of both masks.

    Distances are int8 tenths of a millimetre.
    """

    name: str
    tissue: Tensor
    classes: Tensor
    brain: Tensor
    intracranial: Tensor
    centre: Tensor


def load_label_map(path: Path) -> LabelMap:
    """Read a label map with FreeSurfer's numbers in the brain and 5xx outside it, 1 mm."""
    image = images.conform(nib.load(path))
    labels = np.rint(images.array_of(image)).astype(np.int16)
    brain = brain_mask(labels)
    inside = intracranial_mask(labels, brain)
    classes = np.zeros(labels.shape, np.uint8)
    for name, members in _CLASS_LABELS.items():
        classes[np.isin(labels, members)] = CLASSES.index(name)
    classes[~inside] = 0
    tissue = np.full(labels.shape, TISSUES.index("other"), np.uint8)
    for index, members in enumerate(_TISSUES.values()):
        tissue[np.isin(labels, members)] = index
    centre = np.argwhere(brain).mean(axis=0)
    arrays = (tissue, classes, _signed_distance(brain), _signed_distance(inside))
    return LabelMap(path.name, *(torch.from_numpy(a) for a in arrays), torch.tensor(centre, dtype=torch.float32))


def intracranial_mask(labels: NDArray[np.int16], brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Brain and all the fluid around it, cut where the brain mask is, at 1 mm."""
    lowest = np.argwhere(np.isin(labels, CEREBELLUM))[:, 2].min() - int(BELOW_CEREBELLUM_MM)
    inside = brain | np.isin(labels, (*BRAIN, 24, 31, 63, 136, 137, 163, 164, 85))
    inside[:, :, : max(lowest, 0)] = False
    box = bounding_box(inside, margin=8)
    part = inside[box]
    part = ndimage.distance_transform_edt(~part) <= 3.0
    part = ndimage.binary_fill_holes(ndimage.distance_transform_edt(part) > 3.0) | inside[box]
    core = ndimage.distance_transform_edt(part) > 2.0
    parts, _ = ndimage.label(core)
    core = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    part &= ndimage.distance_transform_edt(~core) <= 2.9
    whole = np.zeros(labels.shape, bool)
    whole[box] = part | brain[box]
    whole[:, :, : max(lowest, 0)] = False
    return whole


def _signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Tenths of a millimetre, positive inside."""
    result = np.full(mask.shape, -FAR_MM * 10, np.float32)
    box = bounding_box(mask, margin=int(FAR_MM) + 1)
    part = mask[box]
    signed = ndimage.distance_transform_edt(part) - ndimage.distance_transform_edt(~part)
    result[box] = 10 * (signed - 0.5 * np.sign(signed))
    return np.clip(result, -FAR_MM * 10, FAR_MM * 10).astype(np.int8)
