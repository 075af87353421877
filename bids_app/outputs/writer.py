"""Writing so that a file is whole or not there: beside its place, read back, renamed.

A file under its final name was complete on disk and read back equal when it got that name (a run can be killed at any
moment, a disk can be full). The bytes depend on the content alone: no time, no host, no file name inside.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_app.inputs.content import file_sha256
from bids_app.outputs.hdf5 import timeless_transform

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Prefix of a file that is not whole yet; what a killed run left is recognised by it and removed.
PARTIAL = ".partial-"


#: The fields of a NIfTI header that an output has: grid, data type and scaling (NIfTI-1 standard). The others are
#: free text (descrip, aux_file, intent_name, db_name, data_type), or numbers that an image of ours does not need.
_HEADER_FIELDS = (
    "dim", "pixdim", "datatype", "bitpix", "scl_slope", "scl_inter", "xyzt_units", "qform_code", "sform_code",
    "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


class OutputError(OSError):
    """An output that could not be written; the message names the file and the reason."""


def write_bytes(path: Path, content: bytes) -> str:
    """Write a file atomically and return its sha256.

    Raises
    ------
    OutputError
        No space, no permission, or the content read back differs.
    """
    return write_pieces(path, [content])


def write_pieces(path: Path, pieces: Iterable[bytes]) -> str:
    """`write_bytes` of content that comes piece by piece and is never in memory as a whole."""
    draft = draft_of(path, pieces)
    try:
        draft.place()
    finally:
        draft.discard()
    return draft.sha256


@dataclass(frozen=True)
class Draft:
    """A file that is whole on disk, beside its place and under another name."""

    path: Path
    beside: Path
    sha256: str

    def place(self) -> None:
        """Give it its name; a file that had it is gone.

        Raises
        ------
        OutputError
            The folder does not allow it.
        """
        with _told(self.path):
            self.beside.replace(self.path)

    def discard(self) -> None:
        """Remove it where it did not get its name."""
        self.beside.unlink(missing_ok=True)


def draft_of(path: Path, pieces: Iterable[bytes]) -> Draft:
    """Write a file's content beside its place and read it back.

    Raises
    ------
    OutputError
        No space, no permission, or the content read back differs.
    """
    digest = hashlib.sha256()
    whole = False
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=PARTIAL, suffix=f"-{path.name}"[-64:], dir=path.parent)
        beside = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                for piece in pieces:
                    digest.update(piece)
                    stream.write(piece)
                stream.flush()
                os.fsync(stream.fileno())
            if file_sha256(beside) != digest.hexdigest():
                raise OutputError(f"{path.name}: what was read back differs from what was written; check the disk")
            umask = os.umask(0)
            os.umask(umask)
            beside.chmod(0o666 & ~umask)  # mkstemp's 0600 would hide the results from the user's group
            whole = True
        finally:
            if not whole:
                beside.unlink(missing_ok=True)
    return Draft(path, beside, digest.hexdigest())


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the file that could not be written."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path.name} cannot be written: {error.strerror or error}") from error


def write_if_changed(path: Path, content: bytes) -> None:
    """Write a file that several jobs share, only when its content is another."""
    try:
        if path.read_bytes() == content:
            return
    except OSError:
        pass
    write_bytes(path, content)


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """A JSON file's bytes: keys in their given order, two spaces, a last newline."""
    return (json.dumps(content, indent=2, ensure_ascii=False, default=plain) + "\n").encode()


def image_bytes(image: Any, dtype: str | None = None) -> bytes:
    """A gzipped NIfTI file's bytes; `dtype` converts without scaling, `None` keeps the image as it is."""
    if dtype is not None:
        array = np.asanyarray(image.dataobj)
        if array.dtype != np.dtype(dtype):
            if np.issubdtype(np.dtype(dtype), np.integer):
                array = np.rint(array)
            array = array.astype(dtype)
        header = image.header.copy()
        header.set_data_dtype(dtype)
        header.set_slope_inter(1, 0)
        image = nib.Nifti1Image(array, image.affine, header)
    return _gzipped(_anonymous(image).to_bytes())


def _gzipped(content: bytes) -> bytes:
    """Gzip without name and time. Nothing but runs is looked for: MRI in floating point holds little else that repeats.

    Measured beside zlib's usual strategy at level 1: a third to a half of the time. 1 to 3 % smaller in an atlas'
    space, a third of the size for masks, 14 % larger for a native image of integers times a bias field.
    """
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return compressor.compress(content) + compressor.flush()


def _anonymous(image: Any) -> Any:
    """An image whose header holds what `_HEADER_FIELDS` names and no extension; everything else is as in a new one."""
    header = type(image.header)()  # little-endian, as all that we write
    for name in _HEADER_FIELDS:
        header[name] = image.header[name]
    result = type(image)(image.dataobj, None, header)
    for name in ("scl_slope", "scl_inter"):  # a new image begins without
        result.header[name] = image.header[name]
    return result


def transform_bytes(transform: sitk.Transform, extension: str) -> bytes:
    """An ITK transform file's bytes (`.mat` for linear ones, `.h5` for composites)."""
    from bids_app.steps.registration import write_transform

    with tempfile.TemporaryDirectory(prefix="bids_app-") as folder:
        path = Path(folder) / f"transform{extension}"
        write_transform(transform, path)
        return timeless_transform(path) if extension == ".h5" else path.read_bytes()


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed run left half-written in a folder (not below: that may be another session's)."""
    for path in sorted(folder.glob(f"{PARTIAL}*")):
        path.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Numpy's numbers and arrays, tuples and mappings as JSON knows them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
