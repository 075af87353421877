"""The numbers of one series: which images each of them is computed on, and what it needs to be there.

`Head` is the series; every function here adds a group of numbers to a `Measured`, under the names of the data
dictionary. What a number needs and is not there makes it None, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.box import box_of
from bids_app.steps.images import Image, array_of, like, mask_of, spacing_mm
from bids_app.steps.resampling import Grid, resample

from . import air, contrast, shapes, sharpness
from .collect import CannotMeasureError, Measured, Once
from .grids import blocks, shrunk
from .tissue import TISSUES, Tissues, find_tissues

if TYPE_CHECKING:
    import SimpleITK as sitk

_PRIORS_MM = 3.0  # blurred maps need no finer grid
_PERCENTS_BEFORE = (5, 50, 95)
_PERCENTS_AFTER = (1, 5, 25, 50, 75, 95, 99)

#: A tissue map for each tissue on any grid, and the transforms from the head's voxels to it, in the order in which a
#: point goes through them.
Atlas = tuple[Mapping[str, Image], Sequence["sitk.Transform"]]


class Head:
    """A series in its native space.

    Parameters
    ----------
    raw, brain_mask
        Conformed, on one grid; the image as the scanner wrote it, not defaced.
    field
        Its bias field, same grid; where there is None, intensities are taken as they are.
    priors
        Makes the tissue maps at the voxels of the brain (see `find_tissues`), or raises CannotMeasureError.
    """

    def __init__(
        self,
        raw: Image,
        brain_mask: Image,
        field: Image | None,
        priors: Callable[[], Mapping[str, NDArray[Any]]],
    ) -> None:
        self.image = raw
        self.mask = brain_mask
        self.spacing = spacing_mm(raw)
        self.raw = array_of(raw)
        self.brain = mask_of(brain_mask)
        self.field = None if field is None else array_of(field)
        self.corrected = self.raw if self.field is None else self.raw / self.field
        self.tissues: Callable[[], Tissues] = Once(lambda: find_tissues(self.corrected, self.brain, priors()))
        self.around: Callable[[], air.Surroundings] = Once(lambda: air.surroundings(self.image, self.mask))
        #: Intensities of the air, bias-corrected as the tissues are.
        self.noise: Callable[[], NDArray[Any]] = Once(lambda: air.sample(self.corrected[self.around().air]))

    def tissue(self, name: str) -> NDArray[Any]:
        """Intensities of a tissue, bias-corrected."""
        return self.tissues().values(self.corrected, name)


def carried_priors(atlas: Atlas, brain_mask: Image) -> dict[str, NDArray[np.float32]]:
    """Tissue maps carried to the voxels of a brain: the value of the block of about 3 mm that each lies in."""
    maps, transforms = atlas
    grid = Grid.of(shrunk(brain_mask, _PRIORS_MM))
    factors = blocks(spacing_mm(brain_mask), brain_mask.shape, _PRIORS_MM)
    voxels = np.nonzero(mask_of(brain_mask))
    of_block = tuple(
        np.minimum(index // factor, size - 1) for index, factor, size in zip(voxels, factors, grid.shape, strict=True)
    )
    return {tissue: array_of(resample(maps[tissue], grid, transforms))[of_block] for tissue in TISSUES}


def measure_image(measured: Measured, head: Head) -> None:
    """Signal, noise, contrast, artefacts, sharpness."""
    kinds: dict[str, Callable[[NDArray[Any]], float]] = {
        "snr": contrast.snr,
        "snrd": lambda values: contrast.snr_dietrich(values, head.noise()),
    }
    for kind, number in kinds.items():
        for tissue in TISSUES:
            measured.add_one(f"{kind}_{tissue}", partial(_over_tissues, head, number, [tissue]))
        measured.add_one(f"{kind}_total", partial(_over_tissues, head, number, TISSUES))
    texture = Once(lambda: _texture(head))
    functions: dict[str, Callable[[], float]] = {
        "snr_brain_air": lambda: contrast.snr_brain_over_air(head.corrected[head.brain], head.noise()),
        "cnr": lambda: contrast.cnr(head.tissue("wm"), head.tissue("gm"), _noise_or_none(head)),
        "cnr_gm_sd": lambda: contrast.cnr_over_grey_sd(head.tissue("wm"), head.tissue("gm")),
        "cjv": lambda: contrast.cjv(head.tissue("wm"), head.tissue("gm")),
        "cv_gm": lambda: contrast.coefficient_of_variation(head.tissue("gm")),
        "cv_wm": lambda: contrast.coefficient_of_variation(head.tissue("wm")),
        "wm2max": lambda: contrast.wm2max(head.tissue("wm"), air.sample(head.corrected.ravel())),
        "efc": lambda: air.efc(head.raw),
        "fber": lambda: air.fber(head.raw, head.around().air, head.around().head),
        "artefact_share": lambda: air.artefact_share(head.raw, head.around().air),
        "fwhm_mm": lambda: sharpness.fwhm_mm(texture()),
        "sharpness": lambda: sharpness.sharpness(texture()),
    }
    for name, function in functions.items():
        measured.add_one(name, function)


def measure_shape(measured: Measured, head: Head) -> None:
    """Voxels, field of view, and the mask by itself."""
    cuts = [f"fov_cut_{face}_cm2" for face in shapes.FACES]
    measured.add_one("slice_thickness_mm", lambda: max(head.spacing))
    measured.add_one("anisotropy_ratio", lambda: shapes.anisotropy_ratio(head.spacing))
    areas = Once(lambda: shapes.cut_areas_cm2(head.brain, head.spacing))
    measured.add(cuts, lambda: dict(zip(cuts, areas().values(), strict=True)))
    measured.add_one("mask_edge_share", lambda: shapes.edge_share(head.brain))
    measured.add_one("mask_smoothness", lambda: shapes.smoothness(head.brain, head.spacing))


def measure_bias(measured: Measured, head: Head) -> None:
    """The bias field's range, and the brain's evenness before and after it was removed."""
    field = head.field

    def variation(array: NDArray[Any]) -> float:
        return contrast.coefficient_of_variation(array[head.brain])

    def ratio(array: NDArray[Any]) -> float:
        return float(np.mean([contrast.snr(head.tissues().values(array, tissue)) for tissue in TISSUES]))

    def of(array: NDArray[Any] | None, number: Callable[[NDArray[Any]], float]) -> float:
        if field is None or array is None:
            raise CannotMeasureError("there is no bias field")
        return number(array)

    measured.add_one("bias_range", lambda: of(field, lambda array: _range(array[head.brain])))
    for when, array in (("before", head.raw), ("after", head.corrected)):
        measured.add_one(f"bias_cv_{when}", partial(of, array, variation))
        measured.add_one(f"bias_snr_{when}", partial(of, array, ratio))


def measure_intensities(
    measured: Measured, head: Head, normalize: Callable[[Image, Image], Callable[[NDArray[Any]], NDArray[Any]]] | None
) -> None:
    """Intensities in the brain before and after a normalisation.

    Parameters
    ----------
    normalize
        Fits to an image and its mask and returns the mapping of intensities; None where nothing is normalised.
    """
    values = head.corrected[head.brain].astype(np.float64)
    before = [f"brain_{name}" for name in ("mean", "sd", *(f"p{p:02}" for p in _PERCENTS_BEFORE))]
    after = [f"normalized_{name}" for name in ("mean", "sd", *(f"p{p:02}" for p in _PERCENTS_AFTER))]

    def normalized() -> dict[str, float]:
        if normalize is None:
            raise CannotMeasureError("no normalisation was asked for")
        mapped = normalize(like(head.corrected, head.image), head.mask)(values)
        return dict(zip(after, _summary(mapped, _PERCENTS_AFTER), strict=True))

    measured.add(before, lambda: dict(zip(before, _summary(values, _PERCENTS_BEFORE), strict=True)))
    measured.add(after, normalized)


def _summary(values: NDArray[Any], percents: tuple[int, ...]) -> list[float]:
    """Mean, standard deviation and percentiles."""
    mean, sd = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return [mean, sd, *(float(each) for each in np.percentile(values, percents))]


def _range(field: NDArray[Any]) -> float:
    low, high = np.percentile(field, (1, 99))
    return float(high / low)


def _over_tissues(head: Head, number: Callable[[NDArray[Any]], float], tissues: Sequence[str]) -> float:
    """Mean of a number over some tissues; all of them must have it."""
    return float(np.mean([number(head.tissue(tissue)) for tissue in tissues]))


def _noise_or_none(head: Head) -> NDArray[Any]:
    """The air's intensities; a background that was set to 0 has no noise to add, and no air at all neither."""
    try:
        return head.noise()
    except CannotMeasureError:
        return np.zeros(2)


def _texture(head: Head) -> sharpness.Texture:
    if not head.brain.any():
        raise CannotMeasureError("the mask is empty")
    box = box_of(head.brain)
    return sharpness.Texture.of(head.corrected[box], head.brain[box], head.spacing)
