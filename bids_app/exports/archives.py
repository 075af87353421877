"""Zip and tar files whose bytes depend on their content alone: fixed times, owners, permissions and order.

What goes into them is compressed already, so it is stored as it is: a level of compression would tie the bytes to one
version of zlib.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Iterator

#: The first moment that a zip file can say (PKWARE APPNOTE 4.4.6: MS-DOS times begin in 1980).
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644
_BLOCK = 512


class _Window(io.BytesIO):
    """The end of a file that is being written: what was taken from it cannot be returned to."""

    def __init__(self) -> None:
        super().__init__()
        self._start = 0

    def tell(self) -> int:
        return self._start + super().tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._start + super().seek(offset - self._start if whence == io.SEEK_SET else offset, whence)

    def take(self) -> bytes:
        """What was written since the last time."""
        content = self.getvalue()
        self._start += len(content)
        super().seek(0)
        self.truncate()
        return content


def zip_pieces(members: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """The pieces of a zip file of (name, content), in the given order; one member is in memory at a time."""
    window = _Window()
    with zipfile.ZipFile(window, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, _ZIP_EPOCH)
            info.create_system = 3  # Unix, whatever machine writes it
            info.external_attr = (0o100000 | _MODE) << 16
            archive.writestr(info, content)
            yield window.take()
    yield window.take()


def tar_pieces(members: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """The pieces of a tar file (POSIX ustar) of (name, content); one member is in memory at a time."""
    for name, content in members:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(content), _MODE, 0
        yield info.tobuf(tarfile.USTAR_FORMAT)
        yield content
        yield b"\0" * (-len(content) % _BLOCK)
    yield b"\0" * (2 * _BLOCK)


def tar_size(size: int) -> int:
    """Bytes that a member of a size takes in a tar file."""
    return _BLOCK + size + -size % _BLOCK
