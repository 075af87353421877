"""The peers that are called through ANTs' own Python package."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from bids_app.steps.images import Image, array_of, itk_grid

if TYPE_CHECKING:
    import ants

_THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"


def to_ants(image: Image) -> ants.ANTsImage:
    """The same voxels, as float32, on the same grid."""
    import ants

    origin, spacing, direction = itk_grid(image.affine)
    return ants.from_numpy(array_of(image), origin.tolist(), spacing.tolist(), direction)


def apart(threads: int) -> ProcessPoolExecutor:
    """A process for the peer, with ANTs loaded: ours brings that library's one thread pool to one thread."""
    context = multiprocessing.get_context("spawn")
    process = ProcessPoolExecutor(1, context, _prepare, (threads,))
    process.submit(os.getpid).result()
    return process


def _prepare(threads: int) -> None:
    os.environ[_THREADS] = str(threads)
    import ants

    ants.smooth_image(ants.make_image((4, 4, 4), 1.0), 1.0)  # ITK reads the number at its first filter
