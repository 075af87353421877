"""Folders whose entries come in another order each time, as on another file system."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock


@contextmanager
def shuffled_listings(seed: int) -> Iterator[None]:
    """While it holds, every listing of a folder comes in an order of its own."""
    order, scandir = random.Random(seed), os.scandir

    class Listing:
        def __init__(self, path: Any = ".") -> None:
            with scandir(path) as entries:
                self._entries = list(entries)
            order.shuffle(self._entries)

        def __enter__(self) -> Listing:
            return self

        def __iter__(self) -> Listing:
            return self

        def __next__(self) -> os.DirEntry[str]:
            if not self._entries:
                raise StopIteration
            return self._entries.pop()

        def __exit__(self, *_: object) -> None:
            pass

        close = __exit__

    with mock.patch.object(os, "scandir", Listing):
        yield
