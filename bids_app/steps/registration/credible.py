"""Whether a registration can be true for one head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bids_app.steps.registration.engine import sampling
from bids_app.steps.registration.files import as_affine
from bids_app.steps.registration.pair import Pair, centre_of_mass
from bids_app.steps.registration.plan import BINS, Kind, Plan
from bids_app.steps.registration.result import Registration
from bids_app.steps.registration.similarity import mask_overlap, masks_at, measure_at, similarity

if TYPE_CHECKING:
    import SimpleITK as sitk

_MIN_OVERLAP = 0.85  # of the smaller brain mask, in the shared field of view; right ones gave 0.97, wrong 0.3-0.8
_MAX_ROTATION_DEG = 60.0
_SCALE_RANGE = (0.7, 1.4)  # 18 heads against MNI152 gave 0.82 to 1.07


def judge(
    pair: Pair,
    transform: sitk.Transform,
    inverse: sitk.Transform | None,
    kind: Kind,
    attempt: int,
    plan: Plan,
    seed: int,
) -> Registration:
    """The registration with its numbers; rotation, scale and translation are those of the linear part."""
    import SimpleITK as sitk

    linear = transform if kind != "syn" else sitk.CompositeTransform(transform).GetNthTransform(0)
    affine = as_affine(linear)
    left, scale, right = np.linalg.svd(np.reshape(affine.GetMatrix(), (3, 3)))
    rotation = left @ right
    angle = np.rad2deg(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    centre = centre_of_mass(pair.fixed, pair.fixed_mask)
    shift = np.linalg.norm(np.array(affine.TransformPoint(centre.tolist())) - centre)
    measure = measure_at(pair, 3.0)
    return Registration(
        transform=transform,
        inverse=inverse,
        similarity=similarity(measure, transform),
        similarity_before=similarity(measure, sitk.Transform(3, sitk.sitkIdentity)),
        rotation_deg=float(angle),
        translation_mm=float(shift),
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        attempts=attempt,
        settings={
            "metric": "Mattes mutual information",
            "bins": BINS,
            "iterations": list(plan.iterations),
            "shrink": list(plan.shrink),
            "smoothing_mm": list(plan.smoothing_mm),
            "sampling": sampling(pair, plan),
            "gradient_step": plan.gradient_step,
            "working_spacing_mm": plan.work_mm,
            "seed": seed,
        },
    )


def problem_of(pair: Pair, result: Registration, kind: Kind) -> str:
    """Why the result cannot be true for one head, or an empty string."""
    if not np.isfinite([result.similarity, result.rotation_deg, *result.scale]).all():
        return "the transform is not finite"
    if result.rotation_deg > _MAX_ROTATION_DEG:
        return f"the heads would be turned by {result.rotation_deg:.0f} degrees against each other"
    if kind != "rigid" and not (_SCALE_RANGE[0] <= result.scale[2] and result.scale[0] <= _SCALE_RANGE[1]):
        return f"the brain would be scaled by {result.scale[2]:.2f} to {result.scale[0]:.2f}"
    if result.similarity < 0.98 * result.similarity_before or result.similarity <= 0:
        return "the images are less alike after than before"
    masks = masks_at(pair, 3.0)
    overlap = mask_overlap(masks, result.transform) if masks else 1.0
    if overlap < _MIN_OVERLAP:
        return f"only {overlap:.0%} of the smaller brain mask lie in the other afterwards"
    return ""
