"""The optimiser: antsRegistration, on one thread."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_app.steps.ants import mask_to_ants, run_ants, to_ants
from bids_app.steps.images import mask_of
from bids_app.steps.registration.files import as_affine, write_transform
from bids_app.steps.registration.pair import Pair
from bids_app.steps.registration.plan import BINS, SYN_ITERATIONS, SYN_SMOOTHING_MM, Kind, Plan
from bids_app.steps.registration.result import RegistrationError

if TYPE_CHECKING:
    import SimpleITK as sitk

_SAMPLES = 100_000  # voxels that the linear metric looks at


def optimise(
    pair: Pair, start: sitk.Transform, kind: Kind, plan: Plan, seed: int
) -> tuple[sitk.Transform, sitk.Transform | None]:
    """Run antsRegistration from `start`; its files live in a private folder that is gone afterwards."""
    import SimpleITK as sitk

    fixed, moving = to_ants(pair.fixed), to_ants(pair.moving)
    of_fixed = pair.metric_mask if plan.use_fixed_mask or pair.fixed_lesion else None
    masks = [mask_to_ants(mask) if mask is not None else None for mask in (of_fixed, pair.moving_metric_mask)]
    where, moving_where = (mask.word if mask is not None else "NA" for mask in masks)
    with tempfile.TemporaryDirectory(prefix="registration-") as folder:
        prefix, initial = f"{folder}/out", f"{folder}/start.mat"
        write_transform(start, Path(initial))
        arguments = [
            *("-d", "3", "--float", "1"),
            *("-r", initial),
            *("--random-seed", str(seed + 1)),
            *("-u", "0"),  # no histogram matching: contrasts differ
            *("-z", "1"),  # one linear transform, whatever the number of linear stages
            *("-o", prefix),
        ]
        for stage in _stages(kind, plan, f"{fixed.word},{moving.word}", sampling(pair, plan)):
            arguments += [*stage, "-x", f"[{where},{moving_where}]"]
        status = run_ants("antsRegistration", arguments)
        if status != 0 or not Path(f"{prefix}0GenericAffine.mat").is_file():
            raise RegistrationError(f"antsRegistration stopped with status {status}")
        affine = as_affine(sitk.ReadTransform(f"{prefix}0GenericAffine.mat"))
        if kind != "syn":
            return affine, None
        warps = [sitk.ReadImage(f"{prefix}1{name}.nii.gz", sitk.sitkVectorFloat64) for name in ("Warp", "InverseWarp")]
    forward, backward = (sitk.DisplacementFieldTransform(warp) for warp in warps)
    transform = sitk.CompositeTransform([affine, forward])  # the last of a composite acts first
    inverse = sitk.CompositeTransform([backward, affine.GetInverse()])
    return transform, inverse


def _stages(kind: Kind, plan: Plan, images: str, share: float) -> list[list[str]]:
    """antsRegistration's words for every stage of `kind`; `images` is 'fixed,moving' as it takes them."""

    def stage(
        transform: str, metric: str, iterations: tuple[int, ...], smoothing_mm: tuple[float, ...] = plan.smoothing_mm
    ) -> list[str]:
        return [
            *("-m", metric, "-t", transform),
            *("-c", f"[{'x'.join(map(str, iterations))},1e-4,6]"),
            *("-s", "x".join(f"{s:g}" for s in smoothing_mm) + "mm"),
            *("-f", "x".join(map(str, plan.shrink[-len(iterations) :]))),
        ]

    mattes = f"mattes[{images},1,{BINS},Regular,{share}]"
    stages = [stage(f"Rigid[{plan.gradient_step}]", mattes, plan.iterations)]
    if kind != "rigid":
        stages.append(stage(f"Affine[{plan.gradient_step}]", mattes, plan.iterations))
    if kind == "syn":
        stages.append(stage("SyN[0.15,3,0]", f"mattes[{images},1,{BINS},None]", SYN_ITERATIONS, SYN_SMOOTHING_MM))
    return stages


def sampling(pair: Pair, plan: Plan) -> float:
    """The share of the fixed voxels that the linear metric looks at."""
    whole = pair.metric_mask is None or not (plan.use_fixed_mask or pair.fixed_lesion)
    voxels = (
        pair.fixed.shape[0] * pair.fixed.shape[1] * pair.fixed.shape[2] if whole else mask_of(pair.metric_mask).sum()
    )
    return round(float(np.clip(_SAMPLES / voxels, 0.05, 0.5)), 3)
