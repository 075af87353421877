"""Derivatives in the data types that loaders expect, and as arrays in RAS+ orientation."""

from __future__ import annotations

import gzip
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from bids_app.outputs.writer import image_bytes

_UINT16 = np.iinfo(np.uint16)


def image_of(content: bytes) -> Any:
    """The image in the bytes of a gzipped NIfTI-1 or NIfTI-2 file."""
    raw = gzip.decompress(content)
    kind = (
        nib.Nifti2Image
        if 540 in (int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big"))
        else nib.Nifti1Image
    )
    return kind.from_bytes(raw)


def compact(content: bytes) -> bytes:
    """An image's file as uint16 where that loses nothing, else as float32: the rule of MR-RATE.

    A file that is so already is returned as it is. Values that float32 cannot hold (of 64-bit files) are rounded to it.
    """
    image = image_of(content)
    array = np.asanyarray(image.dataobj)
    whole = bool((array >= 0).all() and (array <= _UINT16.max).all() and (np.rint(array) == array).all())
    dtype = np.dtype(np.uint16 if whole else np.float32)
    on_disk = image.header.get_data_dtype()
    if on_disk == dtype and on_disk.isnative and (image.dataobj.slope, image.dataobj.inter) == (1, 0):
        return content
    return image_bytes(image, dtype.name)


def label_dtype(largest: int) -> str:
    """The smallest data type of a label's numbers, of 8 or 16 bits.

    Raises
    ------
    ValueError
        Neither holds them.
    """
    if largest > _UINT16.max:
        raise ValueError(f"its label has the number {largest}; none over {_UINT16.max} can be written")
    return "uint8" if largest <= np.iinfo(np.uint8).max else "uint16"


def canonical(image: Any) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The voxels with the axes turned towards right, front and top (no interpolation), and the affine of that."""
    array, affine = np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=float)
    change = ornt_transform(io_orientation(affine), axcodes2ornt("RAS"))
    return apply_orientation(array, change), affine @ inv_ornt_aff(change, array.shape)
