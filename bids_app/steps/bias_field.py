"""Bias field: N4 (`n4`), estimated inside the brain on a coarse grid, evaluated once on the fine one.

The field's logarithm is a sum of cubic B-splines over the box around the brain. It is estimated on a subsampled copy of
that box and evaluated on the image's own grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_app.steps.box import box_of
from bids_app.steps.distance import grown
from bids_app.steps.images import Image, ImageError, array_of, like, mask_of, spacing_mm
from bids_app.steps.n4 import n4

VERSION = "3"

#: Voxels below this share of the brain's median are not used: air, and noise whose logarithm stretches the histogram.
_DARKEST = 0.05
_FEWEST = 500  # voxels that a field can be estimated from


@dataclass(frozen=True)
class N4Settings:
    """What N4 is run with; lengths in mm, `fwhm` in units of the logarithm of the intensity.

    The defaults of `fwhm` and `wiener_noise` are N4's own (Tustison et al. 2010); `spline_distance_mm`, the distance of
    the spline's knots at the first level, is its 200 mm for the head, halved at every further level. The others were
    chosen on synthetic heads of known smooth field (standard deviation of its logarithm 0.15): three levels to a
    convergence of 1e-3 follow the field better (correlation 0.97 to 0.99) than two (0.90 to 0.92) or four to 1e-4
    (0.85 to 0.96), which begin to take anatomy for field; a working spacing of 6 mm equals 4 mm at a third of the time.
    """

    shrink_mm: float = 6.0
    iterations: tuple[int, ...] = (30, 30, 30)
    convergence: float = 1e-3
    fwhm: float = 0.15
    spline_distance_mm: float = 200.0
    wiener_noise: float = 0.01
    dilation_mm: float = 2.0


def n4_settings(contrast: str, contrast_agent: bool = False) -> N4Settings:
    """N4's settings for a contrast, given as BIDS suffix.

    After contrast agent, the mask is not dilated: enhancing vessels, dura and mucosa lie just outside the brain. In
    FLAIR (whose grey and white matter differ little and whose lesions are bright) and in T2w neither, since the fluid
    around the brain is the darkest or brightest tissue there: correlation 0.987 against 0.974 and 0.972 against 0.967
    on the same heads, while T1w loses by it (0.972 against 0.981 in 5 mm slices). FLAIR is smoother: it stops earlier
    at the finest level, lest lesions are taken for field.
    """
    if contrast == "FLAIR":
        return N4Settings(iterations=(30, 30, 15), dilation_mm=0.0)
    if contrast_agent or contrast in ("T2w", "T2starw", "SWI"):
        return N4Settings(dilation_mm=0.0)
    return N4Settings()


def bias_field(image: Image, brain_mask: Image, settings: N4Settings) -> Image:
    """Estimate the bias field of an image.

    Parameters
    ----------
    image, brain_mask
        Conformed, on one grid. Voxels that are zero, negative or nearly dark are not used.

    Returns
    -------
    float32 field on the grid of `image`: image = field x corrected image. Its geometric mean in the brain is 1; outside
    the neighbourhood of the brain it is continued constant and never leaves the range that it has there.

    Raises
    ------
    ImageError
        The brain mask is empty, on another grid, or holds too few positive voxels.
    """
    brain = mask_of(brain_mask)
    array = array_of(image)
    if brain.shape != array.shape:
        raise ImageError(f"the brain mask's shape {brain.shape} is not the image's {array.shape}")
    spacing = np.asarray(spacing_mm(image))
    if not brain.any():
        raise ImageError("the brain mask is empty: no bias field can be estimated")
    region = grown(brain, spacing.tolist(), settings.dilation_mm)
    usable = region & (array > _DARKEST * np.median(array[brain])) & (array > 0)
    factors = [max(1, int(settings.shrink_mm / edge + 0.5)) for edge in spacing]  # thick slices: factor 1, kept
    box = box_of(region)
    while True:
        window = tuple(slice(part.start, part.stop, n) for part, n in zip(box, factors, strict=True))
        coarse_usable = np.ascontiguousarray(usable[window])
        if coarse_usable.sum() >= _FEWEST or max(factors) == 1:  # of a small brain, more than every so many
            break
        factors = [max(1, n - 1) for n in factors]
    coarse = np.ascontiguousarray(array[window])
    if coarse_usable.sum() < _FEWEST:
        raise ImageError(f"fewer than {_FEWEST} usable voxels in the brain mask: no bias field can be estimated")
    extent_mm = (np.array(coarse.shape) - 1) * spacing * factors
    log_coarse = np.log(np.where(coarse_usable, coarse, 1)).astype(np.float64)
    field = n4(
        log_coarse,
        coarse_usable,
        [max(1, int(extent / settings.spline_distance_mm + 0.5)) for extent in extent_mm],
        iterations=settings.iterations,
        convergence=settings.convergence,
        fwhm=settings.fwhm,
        wiener_noise=settings.wiener_noise,
    )
    # constant beyond the samples' box
    first = [part.start for part in box]
    ends = first + np.array(factors) * np.maximum(np.array(coarse.shape) - 1, 1)
    x, y, z = (
        np.clip((np.arange(n) - start) / (end - start), 0.0, 1.0)
        for n, start, end in zip(array.shape, first, ends, strict=True)
    )
    log_field = field.at(x, y, z)
    log_field -= log_field[brain].mean(dtype=np.float64)
    around = log_field[region]
    return like(np.exp(np.clip(log_field, around.min(), around.max())).astype(np.float32), image)


def correct(image: Image, field: Image) -> Image:
    """Divide an image by its bias field, everywhere: float32, on the image's grid."""
    return like(array_of(image) / array_of(field), image)
