"""The two images as the optimiser sees them: cropped to their brains, averaged, clipped."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.distance import grown
from bids_app.steps.images import Image, array_of, from_itk, like, mask_of, spacing_mm, to_itk
from bids_app.steps.lesions import MARGIN_MM
from bids_app.steps.registration.plan import Plan
from bids_app.steps.registration.result import RegistrationError
from bids_app.steps.resampling import Grid, resample

MASK_MARGIN_MM = 5.0  # the brain's edge against CSF and skull guides too
_CROP_MARGIN_MM = 20.0  # room for the moving brain to fall outside the fixed mask
_LEAST_LEFT = 0.01  # of the fixed brain, beside lesions


@dataclass(frozen=True)
class Pair:
    """Both images as the optimiser sees them: cropped, at the working spacing, clipped to their useful range."""

    fixed: Image
    moving: Image
    fixed_mask: Image | None
    moving_mask: Image | None
    metric_mask: Image | None  # the fixed mask, dilated, without a lesion: where the metric is sampled
    moving_metric_mask: Image | None = None  # all of the moving image but its lesion; None where it has none
    fixed_lesion: bool = False  # whether a lesion was taken out of `metric_mask`


def prepare(
    fixed: Image, moving: Image, fixed_mask: Image | None, moving_mask: Image | None, margin_mm: float, plan: Plan
) -> Pair:
    """Both images at the plan's working spacing, and the fixed mask dilated by `margin_mm` for the metric.

    Raises
    ------
    RegistrationError
        A mask is empty, or an image is constant.
    """
    fixed, fixed_mask = _work_image(fixed, fixed_mask, plan.work_mm)
    moving, moving_mask = _work_image(moving, moving_mask, plan.work_mm)
    metric_mask = None
    if fixed_mask is not None:
        metric_mask = like(grown(mask_of(fixed_mask), spacing_mm(fixed), margin_mm).astype(np.uint8), fixed)
    return Pair(fixed, moving, fixed_mask, moving_mask, metric_mask)


def without_lesion(image: Image, lesion: Image | None) -> tuple[Image, Image | None]:
    """An image whose lesion shows what borders on it, and where that is, with a margin, on the image's grid.

    Only then does nothing depend on what the lesion shows: the range of the intensities, and what smoothing carries
    over its border. `lesion` is in the world of the image, on any grid; None and the image as it is where it is empty.
    """
    from scipy import ndimage

    if lesion is None or not mask_of(lesion).any():
        return image, None
    share = array_of(resample(like(mask_of(lesion).astype(np.float32), lesion), Grid.of(image)))
    where = np.argwhere(share > 0)
    if not len(where):
        return image, None
    margin = np.ceil(4 * MARGIN_MM / np.array(spacing_mm(image))).astype(int)
    low, high = np.maximum(where.min(axis=0) - margin, 0), np.minimum(where.max(axis=0) + margin + 1, image.shape)
    box = tuple(slice(start, end) for start, end in zip(low, high, strict=True))
    left_out = grown(share[box] > 0, spacing_mm(image), MARGIN_MM)
    array = array_of(image).copy()
    if not left_out.all():
        nearest = ndimage.distance_transform_edt(
            left_out, sampling=spacing_mm(image), return_distances=False, return_indices=True
        )
        array[box] = array[box][tuple(nearest)]
    mask = np.zeros(image.shape, np.uint8)
    mask[box] = left_out
    return like(array, image), like(mask, image)


def leave_out(pair: Pair, fixed_lesion: Image | None, moving_lesion: Image | None, plan: Plan) -> Pair:
    """The pair with the lesions taken out of where the metric looks.

    Raises
    ------
    RegistrationError
        Nothing is left of the fixed image to be registered by.
    """
    if fixed_lesion is not None and _shows(fixed_lesion):
        where = mask_of(pair.metric_mask) if pair.metric_mask is not None and plan.use_fixed_mask else None
        where = np.ones(pair.fixed.shape, bool) if where is None else where
        left = where & ~_on(fixed_lesion, pair.fixed)
        if left.sum() < _LEAST_LEFT * where.sum():
            raise RegistrationError("the lesion mask covers all of the brain: nothing is left to align it by")
        pair = replace(pair, metric_mask=like(left.astype(np.uint8), pair.fixed), fixed_lesion=True)
    if moving_lesion is not None and _shows(moving_lesion):
        left = ~_on(moving_lesion, pair.moving)
        pair = replace(pair, moving_metric_mask=like(left.astype(np.uint8), pair.moving))
    return pair


def _shows(lesion: Image) -> bool:
    return bool(mask_of(lesion).any())


def _on(lesion: Image, image: Image) -> NDArray[np.bool_]:
    """A lesion on the grid of a work image, where it takes at least half of a voxel."""
    share = resample(like(mask_of(lesion).astype(np.float32), lesion), Grid.of(image))
    return array_of(share) >= 0.5


def _work_image(image: Image, mask: Image | None, work_mm: float) -> tuple[Image, Image | None]:
    """Crop to the mask's box plus a margin, average voxels in whole blocks up to `work_mm`, clip bright outliers."""
    import SimpleITK as sitk

    if mask is not None and not mask_of(mask).any():
        raise RegistrationError("a brain mask is empty")
    itk, itk_mask = to_itk(like(array_of(image), image)), None
    spacing = np.array(itk.GetSpacing())
    if mask is not None:
        itk_mask = to_itk(like(mask_of(mask).astype(np.float32), mask))
        where = np.argwhere(mask_of(mask))
        margin = np.ceil(_CROP_MARGIN_MM / spacing).astype(int)
        low = np.maximum(where.min(axis=0) - margin, 0)
        high = np.minimum(where.max(axis=0) + margin + 1, image.shape)
        itk, itk_mask = (sitk.RegionOfInterest(i, (high - low).tolist(), low.tolist()) for i in (itk, itk_mask))
    factors = np.clip(np.floor(work_mm / spacing * 1.2 + 1e-6), 1, np.array(itk.GetSize()) // 4 + 1).astype(int)
    if (factors > 1).any():
        itk = sitk.BinShrink(itk, factors.tolist())
        itk_mask = sitk.BinShrink(itk_mask, factors.tolist()) if itk_mask is not None else None
    work = from_itk(itk)
    work_mask = None
    inside = np.ones(work.shape, bool)
    if itk_mask is not None:
        inside = np.asarray(sitk.GetArrayViewFromImage(itk_mask)).transpose(2, 1, 0) >= 0.5
        if not inside.any():
            raise RegistrationError("a brain mask is too small to align anything by")
        work_mask = like(inside.astype(np.uint8), work)
        inside = grown(inside, itk.GetSpacing(), MASK_MARGIN_MM)
    array = array_of(work)
    low_value, high_value = np.percentile(array[inside], (0.1, 99.8))
    if high_value <= low_value:
        raise RegistrationError("an image is constant where it should be registered")
    return like(np.clip(array, low_value, high_value), work), work_mask


def centre_of_mass(image: Image, mask: Image | None) -> NDArray[np.float64]:
    """Centre of mass of the mask, else of the intensities, in LPS+ mm."""
    from scipy import ndimage

    weight = mask_of(mask).astype(np.float32) if mask is not None else array_of(image) - array_of(image).min()
    index = np.array(ndimage.center_of_mass(weight))
    return np.array([-1.0, -1.0, 1.0]) * (np.asarray(image.affine) @ [*index, 1.0])[:3]
