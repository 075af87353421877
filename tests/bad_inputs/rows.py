"""What a row of the tables of bad input is, and how its files come into a dataset."""

from __future__ import annotations

import gzip
import os
import re
import struct
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from trees import Nifti, write_tree

#: What becomes of an image: it is processed (exit code 0), set aside with a reason (0), reported as broken (1), or not
#: looked at because it was said to be none of the dataset's (0).
Fate = Literal["processed", "rejected", "failed", "ignored"]
CODES: Mapping[Fate, int] = {"processed": 0, "rejected": 0, "failed": 1, "ignored": 0}

GOOD = Nifti()
#: The other series of every row's participant. It must come through whatever its neighbour is.
REST = {"anat/T2w.nii.gz": GOOD}


@dataclass(frozen=True)
class Row:
    """One bad or odd input: the files of one participant.

    Attributes
    ----------
    files
        By their place. `anat/T1w.nii.gz` stands for `sub-X/anat/sub-X_T1w.nii.gz`; a leading `=` keeps the name as it
        is, a leading `/` is the root of the dataset. The first image is the one that the row is about.
    says
        What the reason holds, or, of an image that is processed, a warning.
    """

    what: str
    files: Mapping[str, Any]
    fate: Fate
    says: str = ""
    rest: Mapping[str, Any] = field(default_factory=lambda: REST)
    folder: str = ""

    @property
    def code(self) -> int:
        """Exit code of a run on this participant and a good one."""
        return CODES[self.fate]

    @property
    def subject(self) -> str:
        """Label of the participant."""
        if self.folder:
            return self.folder.removeprefix("sub-")
        plain = unicodedata.normalize("NFKD", self.what).encode("ascii", "ignore").decode()
        return re.sub(r"[^a-zA-Z0-9]", "", plain.title())

    def place(self, key: str) -> str:
        """The path of a file in the dataset."""
        if key.startswith("/"):
            return key[1:]
        if key.startswith("="):
            return f"sub-{self.subject}/{key[1:]}"
        *folders, name = key.split("/")
        labels = [f"sub-{self.subject}", *(one for one in folders if one.startswith("ses-"))]
        return "/".join([f"sub-{self.subject}", *folders, f"{'_'.join(labels)}_{name}"])

    @property
    def image(self) -> str:
        """The path of the image that the row is about."""
        return self.place(next(iter(self.files)))

    def write(self, root: Path) -> None:
        """Write the participant into a dataset."""
        content = {self.place(key): value for key, value in {**self.files, **self.rest}.items()}
        write_tree(root, {path: value for path, value in content.items() if not callable(value)}, described=False)
        for path, value in content.items():
            if callable(value):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                value(root / path)


def processed(what: str, files: Any, says: str = "", **more: Any) -> Row:
    """A row whose image is odd and processed."""
    return Row(what, _files(files), "processed", says, **more)


def rejected(what: str, files: Any, says: str, **more: Any) -> Row:
    """A row whose image is set aside for a reason."""
    return Row(what, _files(files), "rejected", says, **more)


def failed(what: str, files: Any, says: str, **more: Any) -> Row:
    """A row whose image is broken."""
    return Row(what, _files(files), "failed", says, **more)


def ignored(what: str, files: Any, **more: Any) -> Row:
    """A row whose image is none of the dataset's."""
    return Row(what, _files(files), "ignored", "", **more)


def said_by(*sidecars: tuple[str, Any], name: str = "T1w") -> dict[str, Any]:
    """A good image with sidecars."""
    return {f"anat/{name}.nii.gz": GOOD, **dict(sidecars)}


def _files(files: Any) -> Mapping[str, Any]:
    """A name is that of a good image; an image or bytes alone is a T1w."""
    if isinstance(files, str):
        return {files: GOOD}
    return files if isinstance(files, Mapping) else {"anat/T1w.nii.gz": files}


# -- contents ----------------------------------------------------------------------------------------------------------

WHOLE = GOOD.image().to_bytes()
PACKED = gzip.compress(WHOLE, mtime=0)


def header(offset: int, layout: str, *values: Any, base: bytes = WHOLE) -> bytes:
    """A gzipped NIfTI-1 file with some bytes of its header overwritten."""
    return gzip.compress(patched(base, offset, layout, *values), mtime=0)


def patched(base: bytes, offset: int, layout: str, *values: Any) -> bytes:
    """A file with some bytes overwritten."""
    raw = bytearray(base)
    raw[offset : offset + struct.calcsize(layout)] = struct.pack(layout, *values)
    return bytes(raw)


def dim(*values: int) -> bytes:
    """A file whose header says another shape; the first number is that of the dimensions."""
    return header(40, "<8h", *values, *[1] * (8 - len(values)))


def flipped(content: bytes, at: int) -> bytes:
    """A file with one byte inverted."""
    return patched(content, at % len(content), "B", content[at] ^ 0xFF)


def voxels(array: Any, endianness: str = "<") -> bytes:
    """An image of given voxels, its data type theirs."""
    head = nib.Nifti1Header(endianness=endianness)
    image = nib.Nifti1Image(array.astype(array.dtype.newbyteorder(endianness)), np.diag([8.0, 8, 8, 1]), head)
    image.set_data_dtype(array.dtype)
    return gzip.compress(image.to_bytes(), mtime=0)


def inside(radius: float) -> Any:
    """A ball in the middle of the grid; the radius is a share of the grid's edges."""
    index = np.indices(GOOD.shape)
    return sum((index[axis] / (size - 1) - 0.5) ** 2 for axis, size in enumerate(GOOD.shape)) < radius**2


def lower_front() -> Any:
    """Where the face is."""
    index = np.indices(GOOD.shape)
    return (index[1] > 0.7 * GOOD.shape[1]) & (index[2] < 0.4 * GOOD.shape[2])


def noise(dtype: str = "float32", low: float = 0.0, high: float = 200.0) -> Any:
    """Seeded noise on a head's field of view."""
    return np.random.default_rng(0).uniform(low, high, GOOD.shape).astype(dtype)


def forms(sform: Any = None, qform: Any = None, pixdim: tuple[float, ...] = (8.0, 8.0, 8.0)) -> bytes:
    """An image with these affines set and no other; a matrix with shears goes into the header as it is."""
    image = GOOD.image()
    image.header.set_sform(None, code=0)
    image.header.set_qform(None, code=0)
    image.header["pixdim"][1:4] = pixdim
    if qform is not None:
        image.header.set_qform(qform, code=1, strip_shears=True)
    if sform is not None:
        image.header.set_sform(sform, code=1)
    return gzip.compress(_raw(image), mtime=0)


def _raw(image: Any) -> bytes:
    """The bytes of an image without nibabel's own repairs of its affine."""
    return image.header.binaryblock + bytes(4) + np.asarray(image.dataobj).tobytes(order="F")


def turned(degrees: float, spacing: tuple[float, float, float] = (8.0, 8.0, 8.0)) -> Any:
    """An affine turned about the left-right axis."""
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine @ np.diag([*spacing, 1])


def pipe(path: Path) -> None:
    """A named pipe: whoever opens it waits for ever."""
    os.mkfifo(path)


def link(target: str) -> Callable[[Path], None]:
    """A symbolic link."""
    return lambda path: path.symlink_to(target)


def unpacked(nifti: Nifti) -> bytes:
    """The bytes of an uncompressed file."""
    return nifti.image().to_bytes()


def with_shape(*shape: int, spacing: tuple[float, float, float] = (8.0, 8.0, 8.0), **more: Any) -> Nifti:
    """A good image of another shape and voxel size."""
    return replace(GOOD, shape=shape, spacing=spacing, **more)
