"""Reading an accepted image in full: is it usable, and which bytes are it."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.inputs.diffusion_images import load_series
from bids_app.inputs.errors import HeaderError
from bids_app.inputs.headers import read_header, unreadable
from bids_app.inputs.series import Header, Series
from bids_app.steps.images import ImageError, array_of, conform

_BLOCK = 2**20
#: Room for header extensions between the header and the voxels.
_MAX_EXTENSIONS = 64 * 2**20
#: Air and bone in Hounsfield units, and the share of a head CT that is air, at least.
_AIR_HU, _BONE_HU, _AIR_SHARE = (-1100.0, -900.0), 300.0, 0.05
#: An image as acquired has hundreds of values; one with fewer than this is a mask or a label map.
_MIN_VALUES = 16


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes as 64 hexadecimal digits, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def check_content(series: Series) -> tuple[Any | None, str | None]:
    """Read every voxel of a series: the image (raw grid, data type and scaling) and None, or None and the reason.

    An image that is returned is one that `bids_app.steps.images.conform` accepts.
    """
    try:
        if series.diffusion and (series.diffusion.volumes or series.diffusion.made_of):
            for part in series.diffusion.made_of or (series,):  # all volumes of a file, whichever make this image
                read_image(part.path, volumes=bool(part.diffusion and part.diffusion.volumes))
            return load_series(series), None
        return read_image(series.path), None
    except (HeaderError, ImageError) as error:
        return None, str(error)


def read_image(path: Path, volumes: bool = False) -> Any:
    """The image in a NIfTI file, every voxel of it read, and its gzip checksum compared.

    Parameters
    ----------
    volumes
        Whether it may hold several volumes.

    Raises
    ------
    HeaderError, ImageError
        The file or its voxels cannot be used; the message says why, for a user.
    """
    header = read_header(path)  # before anything allocates what the header promises
    try:
        image: Any = _uncompressed(path, header) if path.name.endswith(".gz") else nib.load(path)
        with np.errstate(all="ignore"):
            voxels = np.asanyarray(image.dataobj)
    except EOFError:
        raise ImageError("it ends early: the file is truncated; copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ImageError(f"its gzip stream is corrupt ({error}); copy the file again") from None
    except ImageError:
        raise
    except OSError as error:
        if error.errno is None:  # nibabel found fewer bytes than the header promises
            raise ImageError("it ends early: fewer voxels than its header promises; copy it again") from None
        raise ImageError(unreadable(error)) from None
    except MemoryError:
        raise ImageError("it does not fit into the memory; give the run more") from None
    except Exception as error:  # whatever nibabel raises for a file that it cannot make sense of
        raise ImageError(f"it is not a usable NIfTI image ({error}); convert it again") from None
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).any():
        raise ImageError("no voxel has a finite value: the image is empty; convert it again")
    with np.errstate(all="ignore"):
        conformed = conform(_one_volume(image) if volumes and len(header.shape) > 3 else image)
    _check_values(array_of(conformed))
    return image


def read_to_the_end(path: Path) -> None:
    """Read a gzip file to where its checksum stands.

    Raises
    ------
    EOFError, gzip.BadGzipFile, zlib.error
        It is not what was once written.
    """
    with gzip.open(path) as stream:
        while stream.read(_BLOCK):
            pass


def _one_volume(image: Any) -> Any:
    """The volumes of a 4-D image as one: their mean, with whatever is not finite in any of them."""
    return image.__class__(np.asanyarray(image.dataobj).mean(axis=3, dtype=np.float32), image.affine, image.header)


def _check_values(array: NDArray[np.float32]) -> None:
    """Refuse what is no image as an MR scanner makes it, by its values."""
    if array.max() <= 0:
        raise ImageError("no voxel is above 0: it is inverted, or its scaling (scl_slope) is wrong; convert it again")
    if np.unique(array.ravel()[:: max(1, array.size // 100_000)]).size < _MIN_VALUES:
        count = np.unique(array).size
        if count < _MIN_VALUES:
            raise ImageError(
                f"it has {count} different values only: a mask or label map, or an image cut to a few grey values; "
                "name it _mask or _dseg, or convert it again"
            )
    air = (array > _AIR_HU[0]) & (array < _AIR_HU[1])
    if array.max() > _BONE_HU and air.mean() > _AIR_SHARE:
        raise ImageError("it looks like CT, with air at -1000; only MR images are processed: name it _ct")


def _uncompressed(path: Path, header: Header) -> Any:
    """The image in a gzip file, read once to its very end, where the checksum stands; no more is kept than promised."""
    most = math.prod(header.shape) * np.dtype(header.dtype).itemsize + _MAX_EXTENSIONS
    content = bytearray()
    with gzip.open(path) as stream:
        while block := stream.read(_BLOCK):
            if len(content) >= most:  # a stream can grow a thousandfold: it is not read to an end that may not come
                raise ImageError("it holds far more bytes than its header promises; convert it again")
            content += block
    sizes = {int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big")}
    kind = nib.Nifti2Image if 540 in sizes else nib.Nifti1Image
    return kind.from_bytes(bytes(content))
