"""Linear and SyN registration of two conformed images with ANTs.

The images are cropped to their brains, averaged to about 2 mm where they are finer, started from the masks' (else the
intensities') centres of mass and a coarse search over rotations, optimised by antsRegistration, and judged: a result
that cannot be true for the same head is tried once more with other settings and then refused.

Transforms follow ITK: they map points (LPS+ mm) of the fixed space to the moving space, which is what
`SimpleITK.Resample(moving, fixed_grid, transform)` takes.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.images import Image, array_of, from_itk, like, mask_of, spacing_mm, to_ants, to_itk, voxel_ml

if TYPE_CHECKING:
    import SimpleITK as sitk

VERSION = "1"
Kind = Literal["rigid", "affine", "syn"]

_MASK_MARGIN_MM = 5.0  # the brain's edge against CSF and skull guides too
_CROP_MARGIN_MM = 20.0  # room for the moving brain to fall outside the fixed mask
_BINS = 32
_SYN_ITERATIONS = (60, 30)  # at 4 and 2 mm
_SAMPLES = 50_000  # voxels that the linear metric looks at
_SEARCH_MM = 6.0
_BODY_AXIS_MM = (-60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0)
_MIN_OVERLAP = 0.85  # Dice of the brain masks after, in the shared field of view; right ones gave 0.97, wrong 0.3-0.8
_MAX_ROTATION_DEG = 60.0
_SCALE_RANGE = (0.7, 1.4)  # 18 heads against MNI152 gave 0.82 to 1.07


class RegistrationError(RuntimeError):
    """Two images could not be aligned; the message says what failed and why, for a user."""


@dataclass(frozen=True)
class Registration:
    """A transform from fixed to moving space, how well it fits and how it was found."""

    transform: sitk.Transform  # maps points (LPS+ mm) of the fixed space to the moving space
    inverse: sitk.Transform | None  # SyN only; a linear one has `transform.GetInverse()`
    similarity: float  # Mattes mutual information in the fixed mask, higher is better
    similarity_before: float
    rotation_deg: float
    translation_mm: float  # of the fixed centre of mass
    scale: tuple[float, float, float]  # singular values of the linear part, largest first
    attempts: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class _Plan:
    """One set of optimiser settings, coarse to fine; `work_mm` is the finest spacing that is looked at."""

    work_mm: float
    shrink: tuple[int, ...]
    smoothing_mm: tuple[float, ...]
    iterations: tuple[int, ...]
    gradient_step: float
    rotations_deg: tuple[float, ...]
    use_fixed_mask: bool = True


_FIRST = _Plan(2.0, (2, 1), (2.0, 1.0), (100, 40), 0.1, (-24.0, -12.0, 0.0, 12.0, 24.0))
_RETRY = _Plan(2.0, (3, 2, 1), (4.0, 2.0, 1.0), (200, 100, 40), 0.25, (-40.0, -20.0, 0.0, 20.0, 40.0), False)


def register(
    fixed: Image,
    moving: Image,
    *,
    kind: Kind,
    fixed_mask: Image | None = None,
    moving_mask: Image | None = None,
    margin_mm: float = _MASK_MARGIN_MM,
    syn_iterations: tuple[int, ...] = _SYN_ITERATIONS,
    seed: int = 0,
    threads: int = 1,  # noqa: ARG001 (see below)
) -> Registration:
    """Register `moving` to `fixed` by Mattes mutual information (Mattes et al. 2003), SyN after Avants et al. 2008.

    Parameters
    ----------
    fixed, moving
        Conformed images, bias-corrected where possible.
    fixed_mask, moving_mask
        Brain masks on the grids of their images. The fixed one, dilated, says where the metric is sampled.
    margin_mm
        How far the fixed mask is dilated for the metric.
    syn_iterations
        Of SyN at 4 mm and then at 2 mm; a single number stays at 4 mm.
    seed, threads
        Same images and seed give the same bits, whatever `threads` says: the metric is summed on one thread, because
        with more the order of the sums, and so the result, changes from run to run.

    Raises
    ------
    RegistrationError
        No credible alignment, after one retry with other settings.
    """
    _load_ants()
    problem = ""
    for attempt, plan in enumerate((_FIRST, _RETRY), start=1):
        pair = _prepare(fixed, moving, fixed_mask, moving_mask, margin_mm, plan)
        start = _initial(pair, plan)
        try:
            transform, inverse = _optimise(pair, start, kind, plan, syn_iterations, seed)
        except RegistrationError as error:
            problem = str(error)
            continue
        result = _judge(pair, transform, inverse, kind, attempt, plan, seed)
        problem = _problem(pair, result, kind)
        if not problem:
            return result
    raise RegistrationError(f"{kind} registration failed twice: {problem}")


def write_transform(transform: sitk.Transform, path: Path) -> None:
    """Write a linear transform as `.mat` (ITK's AffineTransform_double_3_3) or any other as `.h5` (ITK composite).

    Raises
    ------
    ValueError
        A `.mat` was asked for a transform that is not linear.
    """
    import SimpleITK as sitk

    if path.suffix == ".mat":
        transform = _as_affine(transform)
    sitk.WriteTransform(transform, str(path))


def read_transform(path: Path) -> sitk.Transform:
    """Read a transform that `write_transform` or ANTs wrote."""
    import SimpleITK as sitk

    transform = sitk.ReadTransform(str(path))
    return _as_affine(transform) if transform.IsLinear() else transform


# --- one registration -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """Both images as the optimiser sees them: cropped, at the working spacing, clipped to their useful range."""

    fixed: Image
    moving: Image
    fixed_mask: Image | None
    moving_mask: Image | None
    metric_mask: Image | None  # the fixed mask, dilated: where the metric is sampled


@functools.cache
def _load_ants() -> None:
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


def _prepare(
    fixed: Image, moving: Image, fixed_mask: Image | None, moving_mask: Image | None, margin_mm: float, plan: _Plan
) -> _Pair:
    fixed, fixed_mask = _work_image(fixed, fixed_mask, plan.work_mm)
    moving, moving_mask = _work_image(moving, moving_mask, plan.work_mm)
    metric_mask = None
    if fixed_mask is not None:
        metric_mask = like(_dilated(mask_of(fixed_mask), spacing_mm(fixed), margin_mm).astype(np.uint8), fixed)
    return _Pair(fixed, moving, fixed_mask, moving_mask, metric_mask)


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
        work_mask = like(inside.astype(np.uint8), work)
        inside = _dilated(inside, itk.GetSpacing(), _MASK_MARGIN_MM)
    array = array_of(work)
    low_value, high_value = np.percentile(array[inside], (0.1, 99.8))
    if high_value <= low_value:
        raise RegistrationError("an image is constant where it should be registered")
    return like(np.clip(array, low_value, high_value), work), work_mask


def _dilated(mask: NDArray[np.bool_], spacing: Any, margin_mm: float) -> NDArray[np.bool_]:
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing) <= margin_mm)


def _shrunk(image: Image, mm: float) -> sitk.Image:
    """A float image at about `mm`, block-averaged."""
    import SimpleITK as sitk

    itk = sitk.Cast(to_itk(image), sitk.sitkFloat32)
    factors = [max(1, min(round(mm / s), n // 4)) for s, n in zip(itk.GetSpacing(), itk.GetSize(), strict=True)]
    return sitk.BinShrink(itk, factors)


def _method(pair: _Pair, mm: float) -> tuple[Any, sitk.Image, sitk.Image]:
    """A SimpleITK registration that only measures (or searches) at `mm`, with every voxel of the fixed mask."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetNumberOfThreads(1)  # as for ANTs: the same sums in the same order
    if pair.metric_mask is not None:
        method.SetMetricFixedMask(sitk.Cast(_shrunk(pair.metric_mask, mm) >= 0.5, sitk.sitkUInt8))
    return method, _shrunk(pair.fixed, mm), _shrunk(pair.moving, mm)


def _similarity(measure: tuple[Any, sitk.Image, sitk.Image], transform: sitk.Transform) -> float:
    """Mattes mutual information (nats), 0 when the images hardly overlap."""
    import SimpleITK as sitk

    method, fixed, moving = measure
    if not transform.IsLinear():  # ITK's metric takes no composite with a field: warp first
        moving = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0)
        transform = sitk.Transform(3, sitk.sitkIdentity)
    method.SetInitialTransform(transform, inPlace=False)
    try:
        return -float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # ITK: too few samples map into the moving image
        return 0.0


def _centre(image: Image, mask: Image | None) -> NDArray[np.float64]:
    """Centre of mass of the mask, else of the intensities, in LPS+ mm."""
    from scipy import ndimage

    weight = mask_of(mask).astype(np.float32) if mask is not None else array_of(image) - array_of(image).min()
    index = np.array(ndimage.center_of_mass(weight))
    return np.array([-1.0, -1.0, 1.0]) * (np.asarray(image.affine) @ [*index, 1.0])[:3]


def _initial(pair: _Pair, plan: _Plan) -> sitk.Transform:
    """The best of several rigid starts: centres of mass times coarse rotations, and the headers as they are.

    Without a moving mask the centre of mass depends on how much neck and empty space the image shows, and in a slab on
    which part of the brain it shows: then starts further up and down the body axis are tried too.
    """
    import SimpleITK as sitk

    centre = _centre(pair.fixed, pair.fixed_mask)
    shift = _centre(pair.moving, pair.moving_mask) - centre
    measure, masks = _method(pair, _SEARCH_MM), _small_masks(pair, _SEARCH_MM)

    def score(transform: sitk.Transform) -> float:  # few samples look alike by chance: the masks must agree too
        return _similarity(measure, transform) * (_overlap(masks, transform) ** 2 if masks else 1.0)

    still = (0.0, 0.0, 0.0)
    steps = (0.0,) if _same_coverage(pair) else _BODY_AXIS_MM
    shifts = [shift + np.array((0.0, 0.0, step)) for step in steps]
    along = [score(_euler(centre, still, one)) for one in shifts]
    shifts = [shifts[number] for number in np.argsort(along, kind="stable")[::-1][:3]]
    angles = np.deg2rad(plan.rotations_deg)
    starts = [_euler(centre, (x, y, z), one) for one in shifts for x in angles for y in angles for z in angles]
    starts.append(_euler(centre, still, np.zeros(3)))
    scores = [score(start) for start in starts]
    method, fixed, moving = measure
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.05, numberOfIterations=60, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    found = []
    for number in np.argsort(scores, kind="stable")[::-1][:3]:
        result = sitk.Euler3DTransform(starts[number])
        method.SetInitialTransform(result, inPlace=True)
        try:
            method.Execute(fixed, moving)
        except RuntimeError:  # walked out of the moving image
            result = starts[number]
        found.append(result)
    scores = [score(transform) for transform in found]
    return found[int(np.argmax(scores))]


def _same_coverage(pair: _Pair) -> bool:
    """Whether both masks show about the same amount of brain, so that their centres of mass are the same place."""
    if pair.fixed_mask is None or pair.moving_mask is None:
        return False
    volumes = [float(mask_of(mask).sum()) * voxel_ml(mask) for mask in (pair.fixed_mask, pair.moving_mask)]
    return min(volumes) > 0.8 * max(volumes)


def _euler(centre: NDArray[np.float64], angles: tuple[float, float, float], shift: NDArray[np.float64]) -> Any:
    import SimpleITK as sitk

    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetRotation(*(float(angle) for angle in angles))
    transform.SetTranslation(shift.tolist())
    return transform


def _optimise(
    pair: _Pair, start: sitk.Transform, kind: Kind, plan: _Plan, syn_iterations: tuple[int, ...], seed: int
) -> tuple[sitk.Transform, sitk.Transform | None]:
    """Run antsRegistration from `start`; its files live in a private folder that is gone afterwards."""
    import ants
    import SimpleITK as sitk
    from ants.internal import get_lib_fn, process_arguments

    fixed, moving = to_ants(pair.fixed), to_ants(pair.moving)
    mask = pair.metric_mask if plan.use_fixed_mask else None
    ants_mask = to_ants(mask).clone("unsigned char") if mask is not None else None
    with tempfile.TemporaryDirectory(prefix="registration-") as folder:
        prefix, initial = f"{folder}/out", f"{folder}/start.mat"
        write_transform(start, Path(initial))
        arguments = [
            "-d",
            "3",
            "--float",
            "1",
            "-r",
            initial,
            "--random-seed",
            str(seed + 1),
            "-u",
            "0",
            "-z",
            "1",
            "-o",
            prefix,
        ]
        for stage in _stages(kind, plan, _sampling(pair, plan), syn_iterations):
            arguments += stage
            arguments += ["-x", "[MASK,NA]" if ants_mask is not None else "[NA,NA]"]
        names = {"FIXED": fixed, "MOVING": moving, "MASK": ants_mask}
        for name, image in names.items():
            if image is not None:
                pointer = process_arguments([image])[0]
                arguments = [word.replace(name, pointer) for word in arguments]
        status = get_lib_fn("antsRegistration")(arguments)
        if status != 0 or not Path(f"{prefix}0GenericAffine.mat").is_file():
            raise RegistrationError(f"antsRegistration stopped with status {status}")
        affine = _as_affine(sitk.ReadTransform(f"{prefix}0GenericAffine.mat"))
        if kind != "syn":
            return affine, None
        warps = [sitk.ReadImage(f"{prefix}1{name}.nii.gz", sitk.sitkVectorFloat64) for name in ("Warp", "InverseWarp")]
    del ants
    forward, backward = (sitk.DisplacementFieldTransform(warp) for warp in warps)
    transform = sitk.CompositeTransform([affine, forward])  # the last of a composite acts first
    inverse = sitk.CompositeTransform([backward, affine.GetInverse()])
    return transform, inverse


def _sampling(pair: _Pair, plan: _Plan) -> float:
    """The share of the fixed voxels that the linear metric looks at."""
    whole = pair.metric_mask is None or not plan.use_fixed_mask
    voxels = (
        pair.fixed.shape[0] * pair.fixed.shape[1] * pair.fixed.shape[2] if whole else mask_of(pair.metric_mask).sum()
    )
    return round(float(np.clip(_SAMPLES / voxels, 0.05, 0.5)), 3)


def _stages(kind: Kind, plan: _Plan, sampling: float, syn_iterations: tuple[int, ...]) -> list[list[str]]:
    """antsRegistration's words for every stage of `kind`."""

    def stage(transform: str, metric: str, iterations: tuple[int, ...]) -> list[str]:
        first = 0 if len(iterations) == len(plan.shrink) else len(plan.shrink) - 2
        levels = slice(first, first + len(iterations))
        return [
            *("-m", metric, "-t", transform),
            *("-c", f"[{'x'.join(map(str, iterations))},1e-4,6]"),
            *("-s", "x".join(f"{s:g}" for s in plan.smoothing_mm[levels]) + "mm"),
            *("-f", "x".join(map(str, plan.shrink[levels]))),
        ]

    mattes = f"mattes[FIXED,MOVING,1,{_BINS},Regular,{sampling}]"
    stages = [stage(f"Rigid[{plan.gradient_step}]", mattes, plan.iterations)]
    if kind != "rigid":
        stages.append(stage(f"Affine[{plan.gradient_step}]", mattes, plan.iterations))
    if kind == "syn":
        stages.append(stage("SyN[0.15,3,0]", f"mattes[FIXED,MOVING,1,{_BINS},None]", syn_iterations))
    return stages


def _as_affine(transform: sitk.Transform) -> sitk.AffineTransform:
    """Any linear transform as one AffineTransform with the same centre where it has one."""
    import SimpleITK as sitk

    if not transform.IsLinear():
        raise ValueError("the transform is not linear: write it as .h5")
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.array([transform.TransformPoint(tuple(row)) for row in np.eye(3)]).T - origin[:, None]
    centre = np.zeros(3)
    if transform.GetName() in ("AffineTransform", "Euler3DTransform", "MatrixOffsetTransformBase"):
        centre = np.array(transform.GetFixedParameters()[:3])
    result = sitk.AffineTransform(3)
    result.SetMatrix(matrix.ravel().tolist())
    result.SetCenter(centre.tolist())
    result.SetTranslation((origin - centre + matrix @ centre).tolist())
    return result


# --- is it credible? --------------------------------------------------------------------------------------------------


def _judge(
    pair: _Pair,
    transform: sitk.Transform,
    inverse: sitk.Transform | None,
    kind: Kind,
    attempt: int,
    plan: _Plan,
    seed: int,
) -> Registration:
    """The registration with its numbers; rotation, scale and translation are those of the linear part."""
    import SimpleITK as sitk

    linear = transform if kind != "syn" else sitk.CompositeTransform(transform).GetNthTransform(0)
    affine = _as_affine(linear)
    left, scale, right = np.linalg.svd(np.reshape(affine.GetMatrix(), (3, 3)))
    rotation = left @ right
    angle = np.rad2deg(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    centre = _centre(pair.fixed, pair.fixed_mask)
    shift = np.linalg.norm(np.array(affine.TransformPoint(centre.tolist())) - centre)
    measure = _method(pair, 3.0)
    return Registration(
        transform=transform,
        inverse=inverse,
        similarity=_similarity(measure, transform),
        similarity_before=_similarity(measure, sitk.Transform(3, sitk.sitkIdentity)),
        rotation_deg=float(angle),
        translation_mm=float(shift),
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        attempts=attempt,
        settings={
            "metric": "Mattes mutual information",
            "bins": _BINS,
            "iterations": list(plan.iterations),
            "shrink": list(plan.shrink),
            "smoothing_mm": list(plan.smoothing_mm),
            "sampling": _sampling(pair, plan),
            "gradient_step": plan.gradient_step,
            "working_spacing_mm": plan.work_mm,
            "seed": seed,
        },
    )


def _problem(pair: _Pair, result: Registration, kind: Kind) -> str:
    """Why the result cannot be true for one head, or nothing."""
    if not np.isfinite([result.similarity, result.rotation_deg, *result.scale]).all():
        return "the transform is not finite"
    if result.rotation_deg > _MAX_ROTATION_DEG:
        return f"the heads would be turned by {result.rotation_deg:.0f} degrees against each other"
    if kind != "rigid" and not (_SCALE_RANGE[0] <= result.scale[2] and result.scale[0] <= _SCALE_RANGE[1]):
        return f"the brain would be scaled by {result.scale[2]:.2f} to {result.scale[0]:.2f}"
    if result.similarity < 0.98 * result.similarity_before or result.similarity <= 0:
        return "the images are less alike after than before"
    masks = _small_masks(pair, 3.0)
    overlap = _overlap(masks, result.transform) if masks else 1.0
    if overlap < _MIN_OVERLAP:
        return f"the brain masks overlap too little afterwards (Dice {overlap:.2f})"
    return ""


def _small_masks(pair: _Pair, mm: float) -> tuple[sitk.Image, sitk.Image] | None:
    """Both brain masks at `mm`, or nothing where one is missing."""
    if pair.fixed_mask is None or pair.moving_mask is None:
        return None
    return _shrunk(pair.fixed_mask, mm), _shrunk(pair.moving_mask, mm)


def _overlap(masks: tuple[sitk.Image, sitk.Image], transform: sitk.Transform) -> float:
    """Dice of the brain masks where both fields of view are, 0 if they share less than a tenth of the fixed brain."""
    import SimpleITK as sitk

    fixed, moving = masks
    seen = sitk.Resample(moving * 0 + 1, fixed, transform, sitk.sitkNearestNeighbor, 0.0)
    warped = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0)
    one, other, both_seen = (sitk.GetArrayViewFromImage(i) >= 0.5 for i in (fixed, warped, seen))
    if (one & both_seen).sum() < 0.1 * one.sum():
        return 0.0
    one = one & both_seen
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))
