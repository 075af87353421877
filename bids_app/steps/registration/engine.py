"""The optimiser: antsRegistration, on one thread."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_app.steps.images import mask_of, to_ants
from bids_app.steps.registration.files import as_affine, write_transform
from bids_app.steps.registration.pair import Pair
from bids_app.steps.registration.plan import BINS, SYN_ITERATIONS, SYN_SMOOTHING_MM, Kind, Plan
from bids_app.steps.registration.result import RegistrationError

if TYPE_CHECKING:
    import SimpleITK as sitk

_SAMPLES = 100_000  # voxels that the linear metric looks at


@functools.cache
def load_ants() -> None:
    """Import ANTs with its one thread pool at one thread: at more, Mattes' sums run in another order each time.

    Measured with two threads: four runs of one registration gave four transforms (affine: 0.003 mm apart). ITK reads
    the number at the first filter that it runs, so one is run here, and the environment is left as it was.
    """
    name = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        import ants

        ants.smooth_image(ants.from_numpy(np.zeros((4, 4, 4), np.float32)), 1.0)
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def optimise(
    pair: Pair, start: sitk.Transform, kind: Kind, plan: Plan, seed: int
) -> tuple[sitk.Transform, sitk.Transform | None]:
    """Run antsRegistration from `start`; its files live in a private folder that is gone afterwards."""
    import SimpleITK as sitk
    from ants.internal import get_lib_fn, process_arguments

    images = to_ants(pair.fixed), to_ants(pair.moving)  # named here because ANTs gets their addresses only
    masks = (pair.metric_mask if plan.use_fixed_mask or pair.fixed_lesion else None, pair.moving_metric_mask)
    ants_masks = [to_ants(mask).clone("unsigned char") if mask is not None else None for mask in masks]
    fixed, moving = process_arguments(list(images))
    where, moving_where = (process_arguments([mask])[0] if mask is not None else "NA" for mask in ants_masks)
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
        for stage in _stages(kind, plan, f"{fixed},{moving}", sampling(pair, plan)):
            arguments += [*stage, "-x", f"[{where},{moving_where}]"]
        status = get_lib_fn("antsRegistration")(arguments)
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
