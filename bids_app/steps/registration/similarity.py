"""How alike two images are under a transform: mutual information, and the overlap of the brain masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bids_app.steps.images import Image, to_itk
from bids_app.steps.registration.pair import Pair
from bids_app.steps.registration.plan import BINS

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclass(frozen=True)
class Measure:
    """A SimpleITK registration that only measures (or searches), and what it compares.

    `moving_mask` is float, 1 where the moving image counts; None where all of it does.
    """

    method: Any
    fixed: sitk.Image
    moving: sitk.Image
    moving_mask: sitk.Image | None


def measure_at(pair: Pair, mm: float) -> Measure:
    """The images at `mm`, to be compared at every voxel of the fixed mask."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetNumberOfThreads(1)  # as for ANTs: the same sums in the same order
    if pair.metric_mask is not None:
        method.SetMetricFixedMask(sitk.Cast(shrunk(pair.metric_mask, mm) >= 0.5, sitk.sitkUInt8))
    moving_mask = None if pair.moving_metric_mask is None else shrunk(pair.moving_metric_mask, mm)
    if moving_mask is not None:
        method.SetMetricMovingMask(sitk.Cast(moving_mask >= 0.5, sitk.sitkUInt8))
    return Measure(method, shrunk(pair.fixed, mm), shrunk(pair.moving, mm), moving_mask)


def similarity(measure: Measure, transform: sitk.Transform) -> float:
    """Mattes mutual information (nats), 0 when the images hardly overlap."""
    import SimpleITK as sitk

    method, fixed, moving, mask = measure.method, measure.fixed, measure.moving, measure.moving_mask
    if not transform.IsLinear():  # ITK's metric takes no composite with a field: warp first
        moving = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0)
        if mask is not None:
            mask = sitk.Resample(mask, fixed, transform, sitk.sitkLinear, 1.0)
        transform = sitk.Transform(3, sitk.sitkIdentity)
    if mask is not None:
        method.SetMetricMovingMask(sitk.Cast(mask >= 0.5, sitk.sitkUInt8))
    method.SetInitialTransform(transform, inPlace=False)
    try:
        return -float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # ITK: too few samples map into the moving image
        return 0.0


def masks_at(pair: Pair, mm: float) -> tuple[sitk.Image, sitk.Image] | None:
    """Both brain masks at `mm`, or nothing where one is missing."""
    if pair.fixed_mask is None or pair.moving_mask is None:
        return None
    return shrunk(pair.fixed_mask, mm), shrunk(pair.moving_mask, mm)


def mask_overlap(masks: tuple[sitk.Image, sitk.Image], transform: sitk.Transform) -> float:
    """Share of the smaller brain mask that lies in the other, where both fields of view are (0 to 1).

    Not Dice: a child's brain that lies rigidly in the middle of an adult atlas fits as well as it can. 0 if the fields
    of view share less than a tenth of the fixed brain.
    """
    import SimpleITK as sitk

    fixed, moving = masks
    seen = sitk.Resample(moving * 0 + 1, fixed, transform, sitk.sitkNearestNeighbor, 0.0)
    warped = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0)
    one, other, both_seen = (sitk.GetArrayViewFromImage(i) >= 0.5 for i in (fixed, warped, seen))
    if (one & both_seen).sum() < 0.1 * one.sum():
        return 0.0
    one = one & both_seen
    return float((one & other).sum() / max(min(one.sum(), other.sum()), 1))


def shrunk(image: Image, mm: float) -> sitk.Image:
    """A float image at about `mm`, block-averaged."""
    import SimpleITK as sitk

    itk = sitk.Cast(to_itk(image), sitk.sitkFloat32)
    factors = [max(1, min(round(mm / s), n // 4)) for s, n in zip(itk.GetSpacing(), itk.GetSize(), strict=True)]
    return sitk.BinShrink(itk, factors)
