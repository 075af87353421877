"""ITK's HDF5 transforms without what the machine and the time put into them.

ITK writes four times into each object's header, and its own version, that of HDF5, and the name and version of the
operating system as data. The numbers are copied as they are, all of that is left out, and the same transform gives
the same bytes on every machine. ITK, and with it ANTs and SimpleITK, reads the group `TransformGroup` alone.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

_GROUP = "TransformGroup"


def timeless_transform(path: Path) -> bytes:
    """The bytes of an ITK transform file (`.h5`), the same for the same transform."""
    import h5py

    content = io.BytesIO()
    with h5py.File(path, "r") as source, h5py.File(content, "w", libver=("v108", "v108"), track_order=False) as copy:
        group = copy.create_group(_GROUP, track_order=False)
        for number in sorted(source[_GROUP], key=int):
            part = group.create_group(number, track_order=False)
            for name in sorted(source[_GROUP][number]):
                _copy(source[_GROUP][number][name], part, name)
    return content.getvalue()


def _copy(dataset: Any, group: Any, name: str) -> None:
    group.create_dataset(
        name, data=dataset[()], dtype=dataset.dtype, chunks=dataset.chunks, compression=dataset.compression,
        compression_opts=dataset.compression_opts, track_times=False,
    )  # fmt: skip
