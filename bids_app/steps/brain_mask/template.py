"""Brain extraction by registration: the shipped head template is brought to the head and its brain mask with it.

It needs no network weights and knows any contrast, because mutual information does. The template is an average T1-like
head with skull, scalp and face in MNI space (`data/head_template`); one without a skull pulls the skull into the mask.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.steps.brain_mask import Mask, fill_holes, largest_component, volume_ml
from bids_app.steps.distance import shrunk
from bids_app.steps.images import Image, array_of, conform, from_itk, like, spacing_mm, to_itk
from bids_app.steps.registration import RegistrationError, register

if TYPE_CHECKING:
    import SimpleITK as sitk

VERSION = "4"
_DATA = Path(__file__).parents[2] / "data" / "head_template"
#: Skull and scalp guide the alignment, the neck and the lower face, which move and are often cut off, do not.
_MARGIN_MM = 15.0
#: Mutual information (nats) below which head and template have nothing in common: 15 real heads gave 0.20 to 0.28, maps
#: of diffusion 0.15 to 0.22, a head that its header has the wrong way round 0.12, noise, legs and boxes 0.00 to 0.06.
_MIN_SIMILARITY = 0.14
#: A ball of water (0.148) and a head upside down (0.150) are shaped like a head; but deep inside the brain, where no
#: edge of a skull helps, they gave 0.00 and 0.02, real heads 0.05 to 0.21. Asked where the whole is not well alike.
_CLEARLY_ALIKE = 0.19
_MIN_INNER_SIMILARITY = 0.03
_DEEP_MM = 6.0
#: Intensity refinement, on five real heads of three contrasts Dice rose by 0.007 to 0.021.
_REACH_MM = 8.0
_EVIDENCE = 2.0  # weight of the intensities against the prior: 1 leaves more neck under the cerebellum, 3 cuts cortex
_LOCAL_MM = 15.0
_SMOOTH_MM = 1.5
_HISTOGRAM = 42
_DECIDE_MM = 1.2  # finer images are averaged to about this first
_MIN_VOLUME_ML = 100.0  # a few thick slices of a brain are still a brain


@cache
def _template() -> tuple[Image, Image]:
    """Head and brain probability (0..1), 2 mm, MNI152NLin2009aSym space."""
    head, brain = (nib.load(_DATA / f"{name}.nii.gz") for name in ("head", "brain_probability"))
    brain = conform(brain)
    return conform(head), like(array_of(brain) / 255, brain)


def template_mask(image: Image, *, seed: int = 0, threads: int = 1) -> Image:
    """Brain mask of a conformed head image of any contrast, uint8 on its grid.

    Affine registration of the head template, whose mean brain mask comes back through the inverse transform as the
    prior of a two-class decision on the intensities along the boundary. (A SyN stage at 4 mm in between took 7 s more
    and gave no better a Dice: a mean of 0.959 with and without, on four real and three demo heads.)

    Raises
    ------
    RegistrationError
        The head cannot be aligned with the template, or the result is not a brain.
    """
    import SimpleITK as sitk

    head, brain = _template()
    core = like((array_of(brain) > 0.5).astype(np.uint8), brain)
    fit = register(head, image, kind="affine", fixed_mask=core, margin_mm=_MARGIN_MM, seed=seed, threads=threads)
    if fit.similarity < _MIN_SIMILARITY:
        raise RegistrationError(
            f"no head was recognised: its mutual information with the head template is {fit.similarity:.2f}, "
            f"at least {_MIN_SIMILARITY} is needed; if it is one, give its brain mask with --masks"
        )
    if fit.similarity < _CLEARLY_ALIKE and (inner := _inner_similarity(image, fit.transform)) < _MIN_INNER_SIMILARITY:
        raise RegistrationError(
            "something with the shape of a head was found, and no brain in it (mutual information with the template's "
            f"{inner:.3f}, at least {_MIN_INNER_SIMILARITY} is needed); if it is one, give its brain mask with --masks"
        )
    edges = spacing_mm(image)
    factors = [max(1, min(round(_DECIDE_MM / e), n // 4)) for e, n in zip(edges, image.shape, strict=True)]
    coarse = sitk.BinShrink(to_itk(like(array_of(image), image)), factors)
    warped = sitk.Resample(to_itk(brain), coarse, fit.transform.GetInverse(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    prior = sitk.GetArrayFromImage(warped).transpose(2, 1, 0)
    decided = np.zeros(prior.shape, np.float32)
    where = np.argwhere(prior > 0.01)
    if len(where):
        box = tuple(slice(max(a - 3, 0), b + 4) for a, b in zip(where.min(axis=0), where.max(axis=0), strict=True))
        intensity = sitk.GetArrayFromImage(coarse).transpose(2, 1, 0)
        decided[box] = _refined(intensity[box], prior[box], np.array(coarse.GetSpacing()))
    back = sitk.Resample(to_itk(like(decided, from_itk(coarse))), to_itk(image), sitk.Transform(), sitk.sitkLinear, 0.0)
    fine = sitk.GetArrayFromImage(back).transpose(2, 1, 0)
    mask = like((fine > 0.5).astype(np.uint8), image)
    volume = volume_ml(mask)
    if volume < _MIN_VOLUME_ML:
        raise RegistrationError(f"only {volume:.0f} ml of brain were found in the field of view: is this a head?")
    return mask


@cache
def _deep_brain() -> NDArray[np.bool_]:
    """The template's voxels that lie deep inside its brain."""
    brain = _template()[1]
    return shrunk(array_of(brain) > 0.5, spacing_mm(brain), _DEEP_MM)


def _inner_similarity(image: Image, transform: sitk.Transform) -> float:
    """Mutual information (nats) of template and image deep inside the brain, of 16 classes of equal size each."""
    import SimpleITK as sitk

    head, _ = _template()
    moved = sitk.Resample(to_itk(like(array_of(image), image)), to_itk(head), transform, sitk.sitkLinear, float("nan"))
    there = sitk.GetArrayFromImage(moved).transpose(2, 1, 0)[_deep_brain()]
    here = array_of(head)[_deep_brain()][np.isfinite(there)]
    there = there[np.isfinite(there)]
    if len(there) < 1000:
        return 0.0
    rows, columns = (np.searchsorted(np.quantile(one, np.arange(1, 16) / 16), one) for one in (here, there))
    joint = np.bincount(rows * 16 + columns, minlength=256).reshape(16, 16) / len(there)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float((joint[joint > 0] * np.log(joint[joint > 0] / apart[joint > 0])).sum())


def _refined(intensity: NDArray[np.float32], prior: NDArray[np.float32], spacing: NDArray[np.float64]) -> Mask:
    """Move the boundary by at most `_REACH_MM` to where the intensities change from brain to what surrounds it.

    Bayes: the warped probability is the prior, the histograms of the inner and the outer neighbourhood the likelihood.
    Intensities are taken relative to the brain's local mean, so that a bias field does not blur the histograms.
    """
    from scipy import ndimage

    mask = prior > 0.5
    if not mask.any() or mask.all():
        return mask
    signed = ndimage.distance_transform_edt(mask, sampling=spacing)
    signed -= ndimage.distance_transform_edt(~mask, sampling=spacing)
    wide = _LOCAL_MM / spacing
    weight = mask.astype(np.float32)
    near = np.maximum(ndimage.gaussian_filter(weight, wide), 1e-3)
    local = ndimage.gaussian_filter(intensity * weight, wide) / near
    relative = intensity / np.maximum(local, 1e-3 * (float(np.abs(intensity).max()) or 1.0))
    bins = np.digitize(relative, np.linspace(0, 2.5, _HISTOGRAM - 1))
    clipped = np.clip(prior, 0.02, 0.98)
    log_prior = np.log(clipped / (1 - clipped))
    for _ in range(2):
        depth = ndimage.distance_transform_edt(mask, sampling=spacing)
        height = ndimage.distance_transform_edt(~mask, sampling=spacing)
        brain = _histogram(bins[(depth > 3) & (depth < 20)])
        around = _histogram(bins[(height > 2) & (height < 10)])
        evidence = np.clip(np.log(brain / around), -3, 3)[bins]
        posterior = log_prior + _EVIDENCE * ndimage.gaussian_filter(evidence, _SMOOTH_MM / spacing)
        decided = ((posterior > 0) & (signed > -_REACH_MM)) | (signed > _REACH_MM)
        smooth = ndimage.gaussian_filter(decided.astype(np.float32), _SMOOTH_MM / spacing) > 0.5
        mask = largest_component(fill_holes(smooth))
    return mask


def _histogram(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Smoothed relative frequencies; one count everywhere keeps an unseen intensity undecided."""
    from scipy import ndimage

    counts = np.bincount(bins, minlength=_HISTOGRAM) + 1.0
    return np.asarray(ndimage.gaussian_filter1d(counts / counts.sum(), 1))
