"""Grey matter, white matter and fluid by ANTs' Atropos (Avants et al. 2011, doi:10.1007/s12021-011-9109-y).

A mixture of Gaussians with a Markov random field, started from and held by maps of an atlas.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.images import Image, array_of, like, mask_of
from bids_app.steps.registration.engine import load_ants

#: The classes in their order: the last axis of the stack, and, counted from 1, the labels.
TISSUES = ("GM", "WM", "CSF")

_LEAST_PRIOR = 0.02  # everywhere: an atlas is never right to the millimetre


@dataclass(frozen=True)
class TissueSegmentation:
    """Tissue of a head, on the grid of the image.

    Attributes
    ----------
    probabilities
        By the names of `TISSUES`, float32, 0 to 1; they sum to 1 inside the mask and are 0 outside.
    labels
        uint8, the most probable tissue: 1 GM, 2 WM, 3 CSF; 0 outside the mask.
    """

    probabilities: Mapping[str, Image]
    labels: Image


def segment_tissue(image: Image, mask: Image, priors: Mapping[str, Image]) -> TissueSegmentation:
    """Segment a T1-like image.

    Parameters
    ----------
    image
        Conformed, bias-corrected.
    mask
        Where the tissue is: the brain, or all that is inside the skull.
    priors
        "GM", "WM" and "CSF" on the grid of the image, any common scale.
    """
    inside = mask_of(mask)
    box = _box(inside)
    table = np.stack([np.maximum(array_of(priors[name])[box], 0) for name in TISSUES]) + np.float32(_LEAST_PRIOR)
    table /= table.sum(axis=0)
    found = _atropos(array_of(image)[box], inside[box], table, image)
    found *= inside[box]
    total = found.sum(axis=0)
    found = np.where(total > 0, found / np.where(total > 0, total, 1), table * inside[box]).astype(np.float32)
    whole = np.zeros((len(TISSUES), *image.shape), np.float32)
    whole[(slice(None), *box)] = found
    labels = np.where(inside, whole.argmax(axis=0) + 1, 0).astype(np.uint8)
    return TissueSegmentation(
        {name: like(part, image) for name, part in zip(TISSUES, whole, strict=True)}, like(labels, image)
    )


def _atropos(
    array: NDArray[np.float32], inside: NDArray[np.bool_], table: NDArray[np.float32], image: Image
) -> NDArray[np.float32]:
    """Posterior probabilities (tissue, x, y, z); its files live in a private folder that is gone afterwards."""
    load_ants()
    import ants
    import SimpleITK as sitk
    from ants.internal import get_lib_fn, process_arguments

    spacing = tuple(float(edge) for edge in np.sqrt((np.asarray(image.affine)[:3, :3] ** 2).sum(axis=0)))
    picture = ants.from_numpy(np.ascontiguousarray(array), spacing=spacing)
    where = ants.from_numpy(inside.astype(np.float32), spacing=spacing).clone("unsigned int")
    with tempfile.TemporaryDirectory(prefix="tissue-") as folder:
        for number, prior in enumerate(table, start=1):
            made = sitk.GetImageFromArray(prior.transpose(2, 1, 0))
            made.SetSpacing(spacing)
            sitk.WriteImage(made, f"{folder}/prior{number:02d}.nii")
        arguments = process_arguments([picture, where])
        status = get_lib_fn("Atropos")([
            "-d", "3", "-a", arguments[0], "-x", arguments[1],
            "-i", f"PriorProbabilityImages[{len(table)},{folder}/prior%02d.nii,0.25]",
            "-m", "[0.1,1x1x1]", "-c", "[5,0]", "-r", "0",
            "-o", f"[{folder}/labels.nii,{folder}/found%02d.nii]",
        ])  # fmt: skip
        if status != 0 or not Path(f"{folder}/found01.nii").is_file():
            raise RuntimeError(f"Atropos stopped with status {status}")
        found = [sitk.GetArrayFromImage(sitk.ReadImage(f"{folder}/found{n:02d}.nii")) for n in (1, 2, 3)]
    return np.stack([np.asarray(one, np.float32).transpose(2, 1, 0) for one in found])


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    where = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    x, y, z = (slice(int(index[0]), int(index[-1]) + 1) for index in where)
    return x, y, z
