"""One run at a time in a session: locks that end with their holder, also where it was killed or its machine is gone.

A lock is a file `logs/.locks/<session>` that is there while the lock is held. Three things say that it is held:

1. a kernel lock on it (flock), which ends with its process, however that ends. It reaches the other processes and
   containers of a machine, and those of other machines on NFS 4, on Lustre mounted with `flock`, on GPFS and CephFS;
2. where the file system has none, or keeps it from other machines: a *beat*, a count in the file that its holder
   writes every ten seconds. A lock of another machine whose beat stood still for a minute, by our own clock, has no
   holder any more;
3. nothing else: no process number is asked for (containers have their own), no clocks of two machines are compared.

What the file says of its holder is a hash of its machine and a process number; a killed run leaves it in the output.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

#: Seconds from beat to beat, and after which a lock of another machine that did not beat is nobody's.
BEAT_S = 10.0
STALE_S = 60.0
#: Without kernel locks: seconds after which the last one of two that wrote at the same time has the lock.
_SETTLE_S = 1.0
_NO_KERNEL_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_RECORD_BYTES = 96


@dataclass(frozen=True)
class Holder:
    """Who has a lock, as far as its file tells."""

    machine: str = ""
    process: int = 0

    def __str__(self) -> str:
        if not self.machine:
            return "another run"
        where = "this machine" if self.machine == _machine() else "another machine"
        return f"another run (process {self.process} of {where})"


class Locks:
    """The locks that this run holds in an output; a thread of it beats for all of them.

    Use it as a context manager: at the end every lock is released.
    """

    def __init__(self, output: Path) -> None:
        self._folder = output / "logs" / ".locks"
        self._held: dict[str, int] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}  # of others: their last beat, and when it was first seen
        self._beats = 0
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, name: str) -> Holder | None:
        """Take a lock without waiting; the holder, when another run has it. Ask again later, by the same object.

        Raises
        ------
        OSError
            The output cannot be written to.
        """
        for _ in range(10):  # its holder can remove the file between our opening and locking it
            self._folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o666)
                break
        try:
            taken, holder = self._taken(name, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if not taken:
            os.close(descriptor)
            return holder
        with self._guard:
            self._held[name] = descriptor
            self._seen.pop(name, None)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="locks", daemon=True)
                self._thread.start()
        return None

    def wait(self, name: str, seconds: float) -> Holder | None:
        """Take a lock, and wait for it so long; the holder, when it has it still."""
        end = time.monotonic() + seconds
        while (holder := self.take(name)) is not None and time.monotonic() < end:
            time.sleep(0.2)
        return holder

    def release(self, name: str) -> None:
        """Release a lock; nothing, when it is not held."""
        with self._guard:
            descriptor = self._held.pop(name, None)
        if descriptor is None:
            return
        with contextlib.suppress(OSError):
            if self._is_at(descriptor, name):
                (self._folder / name).unlink()
        os.close(descriptor)

    def close(self) -> None:
        """Release all locks."""
        self._ended.set()
        for name in list(self._held):
            self.release(name)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def left(self) -> Iterator[str]:
        """The names of all locks that are held or were never released, because their run was killed."""
        with contextlib.suppress(OSError):
            yield from sorted(os.listdir(self._folder))  # noqa: PTH208 (names alone)

    def _taken(self, name: str, descriptor: int) -> tuple[bool, Holder]:
        kernel = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False, _holder(os.pread(descriptor, _RECORD_BYTES, 0))
        except OSError as error:
            if error.errno not in _NO_KERNEL_LOCKS:
                raise
            kernel = False
        if not self._is_at(descriptor, name):  # released and perhaps taken anew since we opened it
            return False, Holder()
        content = os.pread(descriptor, _RECORD_BYTES, 0)
        dead_here = kernel and _holder(content).machine == _machine()
        if content and not dead_here and not self._stands_still(name, content):
            return False, _holder(content)
        ours = _record(0)
        try:
            os.pwrite(descriptor, ours, 0)
        except OSError:  # a full disk: the kernel's lock is enough for this machine
            if not kernel:
                raise
        if not kernel:
            time.sleep(_SETTLE_S)
            with contextlib.suppress(FileNotFoundError):
                content = (self._folder / name).read_bytes()
            if content != ours:
                return False, _holder(content)
        return True, Holder()

    def _is_at(self, descriptor: int, name: str) -> bool:
        """Whether an open file is still the one under its name."""
        try:
            now, opened = (self._folder / name).stat(), os.fstat(descriptor)
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)

    def _stands_still(self, name: str, content: bytes) -> bool:
        """Whether a lock of another machine did not beat for so long that its holder is gone."""
        known, since = self._seen.get(name, (b"", 0.0))
        if known != content:
            self._seen[name] = (content, time.monotonic())
            return False
        return time.monotonic() - since > STALE_S

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            self._beats += 1
            with self._guard:
                for descriptor in self._held.values():
                    with contextlib.suppress(OSError):
                        os.pwrite(descriptor, _record(self._beats), 0)
                        os.fsync(descriptor)  # so that other clients of a file server see it


def _machine() -> str:
    """This machine since it started, as a hash: other containers on it are the same machine, as for the kernel."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = platform.node()
    return hashlib.sha256(boot.encode()).hexdigest()[:16]


def _record(beats: int) -> bytes:
    content = json.dumps({"machine": _machine(), "process": os.getpid(), "beats": beats})
    return content.ljust(_RECORD_BYTES - 1).encode() + b"\n"


def _holder(content: bytes) -> Holder:
    try:
        entry = json.loads(content)
        return Holder(str(entry["machine"]), int(entry["process"]))
    except (ValueError, KeyError, TypeError):
        return Holder()
