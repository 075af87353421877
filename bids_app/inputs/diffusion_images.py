"""Reading the images of a diffusion group: gradient tables, volumes of a 4-D file, an ADC from b0 and trace."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.inputs.places import is_file, is_there
from bids_app.inputs.series import Diffusion, Series
from bids_app.steps.diffusion import apparent_diffusion, mean_b0, trace_image
from bids_app.steps.images import ImageError, grid_affine, new_image, same_grid

#: No gradient table is larger.
_MAX_BYTES = 2**20


class GradientError(ValueError):
    """A gradient table that cannot be used; the message says why, for a user."""


def b_values_of(path: Path, extension: str, root: Path, inherited: bool = True) -> tuple[float, ...] | None:
    """The b-values (s/mm^2) of an image from the `.bval` file that holds for it; None where there is none.

    Parameters
    ----------
    inherited
        Whether a file that may hold for other images, too, is looked at.

    Raises
    ------
    GradientError
        The file cannot be read, or holds something else than numbers from 0 on.
    """
    file = _table_of(path, extension, root, ".bval", inherited)
    if file is None:
        return None
    values = _numbers(file).ravel()
    if values.size == 0 or (values < 0).any():
        raise GradientError(f"{file.name} does not hold b-values (numbers from 0 on)")
    return tuple(float(value) for value in values)


def directions_of(path: Path, extension: str, root: Path, count: int) -> NDArray[np.float64] | None:
    """The gradient directions (3 x count) from the `.bvec` file; None where there is none.

    Raises
    ------
    GradientError
        The file cannot be read, or does not hold three numbers for each volume.
    """
    file = _table_of(path, extension, root, ".bvec")
    if file is None:
        return None
    values = _numbers(file)
    if values.shape == (count, 3) and count != 3:  # written as columns
        values = values.T
    if values.shape != (3, count):
        raise GradientError(f"{file.name} does not hold a direction (three numbers) for each of the {count} volumes")
    return values


def load_series(series: Series) -> Any:
    """The image of a series on its raw grid: as the scanner wrote it, or, of a diffusion group, what it is computed to.

    Raises
    ------
    ImageError
        b0 and trace of a computed ADC are on different grids.
    """
    part = series.diffusion
    if part is None or not (part.volumes or part.made_of):
        return nib.load(series.path)
    if part.volumes:
        return _of_volumes(series.path, part)
    if part.b_value is None:
        raise ImageError("its b-value is not known; give --b-value")
    b0, trace = (load_series(one) for one in part.made_of)
    of_b0 = next((one.diffusion.b_value or 0.0 for one in part.made_of if one.diffusion), 0.0)
    affine = grid_affine(b0)
    if not same_grid(new_image(_array(b0), affine), new_image(_array(trace), grid_affine(trace)), tolerance_mm=0.01):
        raise ImageError("its b0 image and its trace are on different grids; no ADC can be computed from them")
    return new_image(apparent_diffusion(_array(b0), _array(trace), part.b_value, of_b0), affine)


def _of_volumes(path: Path, part: Diffusion) -> Any:
    image: Any = nib.load(path)
    volumes = _volumes(image, part.volumes)
    array = mean_b0(volumes) if part.role == "b0" else trace_image(volumes, part.weights)
    return new_image(array, grid_affine(image))


def _volumes(image: Any, chosen: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    """Some volumes of a 4-D file, one at a time: scaled all together they would take eight bytes a voxel."""
    proxy = image.dataobj
    stored = proxy.get_unscaled()
    for index in chosen:
        volume = stored[..., index].astype(np.float64) * proxy.slope + proxy.inter
        yield np.nan_to_num(volume.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _array(image: Any) -> NDArray[np.float32]:
    array = np.asarray(image.dataobj, dtype=np.float32)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)


def _table_of(path: Path, extension: str, root: Path, wanted: str, inherited: bool = True) -> Path | None:
    """The gradient table that holds for an image, as BIDS has it inherit: the nearest, of one folder the most specific.

    One that holds for several images has fewer entities than they (`sub-01_dwi.bval` for `sub-01_part-mag_dwi.nii.gz`).
    The possible names are tried: to list the root, with all its participants, would take long for each image.
    """
    *entities, suffix = path.name.removesuffix(extension).split("_")
    for folder in path.parents:
        at_root = folder == root
        owner, others = ([], entities[1:]) if at_root else (entities[:1], entities[1:])
        for count in range(len(others), -1 if inherited else len(others) - 1, -1):
            for kept in itertools.combinations(others, count):
                file = folder / ("_".join((*owner, *kept, suffix)) + wanted)
                if not os.path.lexists(file):
                    continue
                if is_file(file):
                    return file
                if not is_there(file):
                    raise GradientError(f"{file.name} is a link to content that is not here; fetch it with datalad get")
        if at_root or not inherited:
            break
    return None


def _numbers(file: Path) -> NDArray[np.float64]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise GradientError(f"{file.name} is far larger than a gradient table can be")
        rows = [line.replace(",", " ").split() for line in file.read_text(encoding="utf-8-sig").splitlines()]
        values = np.array([[float(word) for word in row] for row in rows if row], dtype=float)
    except (OSError, UnicodeDecodeError) as error:
        raise GradientError(f"{file.name} cannot be read: {getattr(error, 'strerror', None) or 'no text'}") from None
    except ValueError as error:
        if isinstance(error, GradientError):
            raise
        raise GradientError(f"{file.name} does not hold rows of numbers of one length") from None
    if not np.isfinite(values).all():
        raise GradientError(f"{file.name} holds a number that is not finite")
    return values
