"""Reading the header of a NIfTI file, and finding what is wrong with it, without reading a voxel."""

from __future__ import annotations

import gzip
import math
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from bids_app.inputs.errors import HeaderError
from bids_app.inputs.geometry import read_geometry
from bids_app.inputs.series import Header

_GZIP_MAGIC = b"\x1f\x8b"
_HEADER_BYTES = (348, 540)  # NIfTI-1 and NIfTI-2: sizeof_hdr is the first number of either
#: Deflate cannot shrink by more than 1032 (zlib technical details); what a header promises beyond that is not there.
_MAX_DEFLATE_RATIO = 1032
#: No head image has more voxels along an axis, or in all (8 GiB as float32).
_MAX_AXIS = 4096
_MAX_VOXELS = 2**31
#: The last code that the NIfTI standard gives a meaning to (5: a template other than Talairach's and MNI's).
_LAST_FORM_CODE = 5


def read_header(path: Path) -> Header:
    """The header of a NIfTI-1 or NIfTI-2 file (`.nii` or `.nii.gz`); a few hundred bytes are read.

    Raises
    ------
    HeaderError
        The file is not there (an annexed file not fetched), unreadable, empty, not gzip, not NIfTI, shorter than its
        header promises, of absurd dimensions, not of three real dimensions, complex or RGB, without a usable scaling
        or affine, or with two affines that disagree about left and right.
    """
    size = _file_size(path)
    header = _parse(_first_bytes(path, compressed=path.name.endswith(".gz")))
    shape = _checked_shape(header)
    dtype = header.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "iuf":
        raise HeaderError(f"its voxels are {_dtype_name(header)}, not one real number each; convert it to grey values")
    warnings = _scaling_warnings(header)
    _check_promised_size(header, shape, size, compressed=path.name.endswith(".gz"))
    geometry = read_geometry(header, shape)
    return Header(
        shape=shape,
        spacing_mm=geometry.spacing_mm,
        orientation=geometry.orientation,
        plane=geometry.plane,
        fov_mm=geometry.fov_mm,
        dtype=dtype.name,
        warnings=(*warnings, *geometry.warnings),
        affine=geometry.affine,
    )


def _file_size(path: Path) -> int:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
            raise HeaderError("it is not a file (a folder, a pipe or a device)")
        return found.st_size
    except FileNotFoundError:
        if path.is_symlink():
            raise HeaderError(
                "the file is a link to content that is not here; fetch it in its folder with "
                f"datalad get {path.name} (or git annex get {path.name})"
            ) from None
        raise HeaderError("the file is not there any more") from None
    except OSError as error:
        raise HeaderError(unreadable(error)) from None


def unreadable(error: OSError) -> str:
    """Why a file cannot be read, and what to do where that is known."""
    todo = "; let the user of this process read it" if isinstance(error, PermissionError) else ""
    return f"the file cannot be read: {error.strerror or error}{todo}"


def _first_bytes(path: Path, compressed: bool) -> bytes:
    """The first 540 uncompressed bytes, or all there are."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
            if not start:
                raise HeaderError("the file is empty (0 bytes)")
            if not compressed:
                if start.startswith(_GZIP_MAGIC):
                    raise HeaderError("it is gzip-compressed, yet its name ends in .nii; rename it to .nii.gz")
                return start[:540]
            if not start.startswith(_GZIP_MAGIC):
                raise HeaderError(_not_gzip(start))
            if len(first := _inflated(start)) == 540:
                return first
            file.seek(0)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read_some(stream)
    except HeaderError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise HeaderError("its gzip stream ends early or is corrupt within the header; copy the file again") from None
    except OSError as error:
        raise HeaderError(unreadable(error)) from None


def _inflated(start: bytes) -> bytes:
    """The first 540 bytes of a gzip stream from its first block; fewer where that does not tell."""
    try:
        return zlib.decompressobj(wbits=31).decompress(start, 540)  # 31: a gzip header, the largest window
    except zlib.error:
        return b""


def _read_some(stream: gzip.GzipFile) -> bytes:
    """Up to 540 bytes; what comes before an early end is still a header that can be judged."""
    chunks = b""
    try:
        while len(chunks) < 540 and (chunk := stream.read1(540 - len(chunks))):
            chunks += chunk
    except EOFError:
        if len(chunks) < 348:
            raise
    return chunks


def _not_gzip(start: bytes) -> str:
    if _sizeof_header(start):
        return "it is not compressed, yet its name ends in .nii.gz; rename it to .nii"
    if start.startswith(b"/annex/objects/") or b"annex/objects/" in start[:200]:
        return "it is a pointer to content that is not here; fetch it with datalad get (or git annex get)"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the content with git lfs pull"
    return "it is not a gzip file, although its name ends in .nii.gz"


def _sizeof_header(start: bytes) -> tuple[int, str] | None:
    """The size of the header and its byte order, when it is one of NIfTI's."""
    if len(start) < 4:
        return None
    for order in "<>":
        size = int(struct.unpack(order + "i", start[:4])[0])
        if size in _HEADER_BYTES:
            return size, order
    return None


def _parse(start: bytes) -> Any:
    found = _sizeof_header(start)
    if found is None:
        raise HeaderError("it is not a NIfTI file (no NIfTI header)")
    size, order = found
    if len(start) < size:
        raise HeaderError(f"it ends early: only {len(start)} bytes of a header of {size}")
    kind = nib.Nifti1Header if size == 348 else nib.Nifti2Header
    try:
        header = kind(start[:size], endianness=order, check=False)
        header.get_data_dtype()
    except (HeaderDataError, ValueError, KeyError) as error:
        raise HeaderError(f"its NIfTI header is invalid: {error}") from None
    magic = bytes(header["magic"].tobytes())[:3]
    if magic not in (b"n+1", b"n+2"):
        raise HeaderError("it is not a single-file NIfTI image (wrong magic string); convert it to .nii.gz")
    for code in ("sform_code", "qform_code"):  # repaired as nibabel repairs them when it loads the image
        if not 0 <= int(header[code]) <= _LAST_FORM_CODE:
            header[code] = 0
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    return header


def _checked_shape(header: Any) -> tuple[int, ...]:
    """The shape with trailing axes of length one dropped down to three; absurd ones raise."""
    dim = [int(value) for value in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise HeaderError(f"its header says {dim[0]} dimensions; it is damaged: copy or convert the file again")
    shape = dim[1 : dim[0] + 1]
    if min(shape) < 1 or max(shape) > _MAX_AXIS or math.prod(shape) > _MAX_VOXELS:
        raise HeaderError(
            f"its header says an absurd shape: {'x'.join(map(str, shape))}; copy or convert the file again"
        )
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) < 3:
        raise HeaderError(f"it has {len(shape)} dimensions ({'x'.join(map(str, shape))}); three are needed")
    if len(shape) > 4:
        raise HeaderError(f"it has {len(shape)} dimensions ({'x'.join(map(str, shape))}); one volume is needed")
    return tuple(shape)


def _check_promised_size(header: Any, shape: tuple[int, ...], size: int, compressed: bool) -> None:
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset < 0:
        raise HeaderError("its header says a meaningless place of the voxels (vox_offset)")
    promised = int(offset) + math.prod(shape) * header.get_data_dtype().itemsize
    if size * (_MAX_DEFLATE_RATIO if compressed else 1) < promised:
        raise HeaderError(f"it ends early: its header promises {promised} bytes and the file has {size}; copy it again")


def _scaling_warnings(header: Any) -> tuple[str, ...]:
    """What is odd about slope and intercept; nibabel, too, takes a slope of 0 or NaN for none (NIfTI-1 standard)."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or (not math.isfinite(slope) and not math.isfinite(inter)):  # nibabel's NaN means unset
        return ()
    if not math.isfinite(slope):
        return (f"its scaling has no meaning (scl_slope {slope:g}); its voxels are taken as stored",)
    if not math.isfinite(inter):
        raise HeaderError(f"its scaling has no meaning (scl_slope {slope:g}, scl_inter {inter:g}); convert it again")
    return ()


def _dtype_name(header: Any) -> str:
    dtype = header.get_data_dtype()
    return "complex" if dtype.kind == "c" else "RGB" if dtype.fields is not None else dtype.name
