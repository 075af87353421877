"""ANTs' compiled functions, without the Python package around them.

`import ants` loads pandas, scikit-learn, statsmodels and matplotlib: 3.5 s of a processor and 180 MB more in every
process that registers, none of it used here. The library beneath takes 0.05 s and the words of ANTs' own programs.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.images import Image, array_of, itk_grid

#: The name that antspyx gives it: a process that imports `ants` later takes the library that is loaded already.
_NAME = "ants.lib"


class AntsImage:
    """Voxels as ANTs sees them; they live as long as this object.

    Attributes
    ----------
    word
        Names the image among the words of a program.
    """

    def __init__(self, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
        library = load_ants()
        kind = {"float32": "F", "uint8": "UC"}[array.dtype.name]
        origin, spacing, direction = itk_grid(affine)
        self._voxels = array.T.copy(order="C")  # ANTs reads these very bytes
        self._shape = array.shape
        self._pointer = getattr(library, f"fromNumpy{kind}3")(self._voxels, self._shape)
        library.setSpacing(self._pointer, tuple(spacing.tolist()))
        library.setOrigin(self._pointer, tuple(origin.tolist()))
        library.setDirection(self._pointer, direction)
        self.word: str = library.ptrstr(self._pointer)

    def array(self) -> NDArray[Any]:
        """What the voxels are now; a copy."""
        seen = np.asarray(load_ants().toNumpy(self._pointer)).view(self._voxels.dtype)
        return np.array(seen.reshape(self._shape[::-1]).T, order="C")


def to_ants(image: Image) -> AntsImage:
    """An image as float32."""
    return AntsImage(array_of(image), image.affine)


def mask_to_ants(mask: Image) -> AntsImage:
    """A mask as uint8."""
    return AntsImage(array_of(mask).astype(np.uint8), mask.affine)


def run_ants(program: str, words: Sequence[str]) -> int:
    """Run one of ANTs' programs, `antsRegistration` for instance, with the words of its command line; its status."""
    return int(getattr(load_ants(), program)(list(words)) or 0)


@functools.cache
def load_ants() -> Any:
    """The library, with its one thread pool at one thread: at more, Mattes' sums run in another order each time.

    Measured with two threads: four runs of one registration gave four transforms (affine: 0.003 mm apart). ITK reads
    the number at the first filter that it runs, so one is run here, and the environment is left as it was.

    Raises
    ------
    ImportError
        antspyx is not installed, or its library is not where it was in the versions that this package asks for.
    """
    name = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        library = sys.modules.get(_NAME) or _loaded()
        first = library.fromNumpyF3(np.zeros((4, 4, 4), np.float32), (4, 4, 4))
        library.SmoothImage(first, [1.0], True, 32)
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
    return library


def _loaded() -> Any:
    package = importlib.util.find_spec("ants")
    folders = list(package.submodule_search_locations or ()) if package is not None else []
    paths = [Path(folder) / f"lib{suffix}" for folder in folders for suffix in EXTENSION_SUFFIXES]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ImportError(f"ANTs' library was not found in {folders or 'any package'}: install antspyx again")
    spec = importlib.util.spec_from_file_location(_NAME, path)
    assert spec is not None
    assert spec.loader is not None
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    sys.modules[_NAME] = library
    return library
