"""Brain extraction by registration: the shipped head template is brought to the head and its brain mask with it.

It needs no network weights and knows any contrast, because mutual information does. The template is an average T1-like
head with skull, scalp and face in MNI space (`data/head_template`); one without a skull pulls the skull into the mask.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.steps.brain_mask import fill_holes, largest_component, volume_ml
from bids_app.steps.images import Image, array_of, conform, like, to_itk
from bids_app.steps.registration import RegistrationError, register

VERSION = "1"
_DATA = Path(__file__).parents[2] / "data" / "head_template"
#: Skull and scalp guide the alignment, the neck and the lower face, which move and are often cut off, do not.
_MARGIN_MM = 15.0
#: Mutual information (nats) below which head and template have nothing in common; heads give 0.3-0.8, noise 0.02.
_MIN_SIMILARITY = 0.1
#: Only at 4 mm: takes the shape of the head, not of its folds; 2 mm took eight times longer for the same Dice.
_SYN_ITERATIONS = (30,)
_MIN_VOLUME_ML = 100.0  # a few thick slices of a brain are still a brain


@cache
def _template() -> tuple[Image, Image]:
    """Head and brain probability (0..1), 2 mm, MNI152NLin2009aSym space."""
    head, brain = (nib.load(_DATA / f"{name}.nii.gz") for name in ("head", "brain_probability"))
    brain = conform(brain)
    return conform(head), like(array_of(brain) / 255, brain)


def template_mask(image: Image, *, seed: int = 0, threads: int = 1) -> Image:
    """Brain mask of a conformed head image of any contrast, uint8 on its grid.

    Affine, then low-resolution SyN registration to the head template (Avants et al. 2008), whose mean brain mask comes
    back through the inverse transform and is cut at one half.

    Raises
    ------
    RegistrationError
        The head cannot be aligned with the template, or the result is not a brain.
    """
    import SimpleITK as sitk

    head, brain = _template()
    core = like((array_of(brain) > 0.5).astype(np.uint8), brain)
    fit = register(
        head,
        image,
        kind="syn",
        fixed_mask=core,
        margin_mm=_MARGIN_MM,
        syn_iterations=_SYN_ITERATIONS,
        seed=seed,
        threads=threads,
    )
    if fit.similarity < _MIN_SIMILARITY or fit.inverse is None:
        raise RegistrationError(
            f"no head was recognised: its mutual information with the head template is {fit.similarity:.2f}, "
            f"at least {_MIN_SIMILARITY} is needed"
        )
    warped = sitk.Resample(to_itk(brain), to_itk(image), fit.inverse, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    inside = sitk.GetArrayFromImage(warped).transpose(2, 1, 0) >= 0.5
    mask = like(fill_holes(largest_component(inside)).astype(np.uint8), image)
    volume = volume_ml(mask)
    if volume < _MIN_VOLUME_ML:
        raise RegistrationError(f"only {volume:.0f} ml of brain were found in the field of view: is this a head?")
    return mask
