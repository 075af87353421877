"""Where the optimiser starts: the best of a coarse search over rotations and shifts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.images import mask_of, voxel_ml
from bids_app.steps.registration.coarse import Look
from bids_app.steps.registration.pair import Pair, centre_of_mass
from bids_app.steps.registration.plan import Plan
from bids_app.steps.registration.similarity import Measure, mask_overlap, masks_at, measure_at, similarity

if TYPE_CHECKING:
    import SimpleITK as sitk

_SEARCH_MM = 6.0
_BODY_AXIS_MM = (-60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0)


def find_start(pair: Pair, plan: Plan) -> sitk.Transform:
    """The best of several rigid starts: centres of mass times coarse rotations, and the headers as they are.

    Without a moving mask the centre of mass depends on how much neck and empty space the image shows, and in a slab on
    which part of the brain it shows: then starts further up and down the body axis are tried too.
    """
    centre = centre_of_mass(pair.fixed, pair.fixed_mask)
    shift = centre_of_mass(pair.moving, pair.moving_mask) - centre
    look = Look(pair)
    still = (0.0, 0.0, 0.0)
    steps = (0.0,) if _same_coverage(pair) else _BODY_AXIS_MM
    shifts = [shift + np.array((0.0, 0.0, step)) for step in steps]
    along = [look.score(_euler(centre, still, one)) for one in shifts]
    shifts = [shifts[number] for number in np.argsort(along, kind="stable")[::-1][:3]]
    angles = np.deg2rad(plan.rotations_deg)
    starts = [_euler(centre, (x, y, z), one) for one in shifts for x in angles for y in angles for z in angles]
    starts.append(_euler(centre, still, np.zeros(3)))
    scores = [look.score(start) for start in starts]
    best = [starts[number] for number in np.argsort(scores, kind="stable")[::-1][:3]]
    measure, masks = measure_at(pair, _SEARCH_MM), masks_at(pair, _SEARCH_MM)
    found = _climbed(measure, best)
    scores = [similarity(measure, one) * (mask_overlap(masks, one) ** 2 if masks else 1.0) for one in found]
    return found[int(np.argmax(scores))]


def _climbed(measure: Measure, starts: list[Any]) -> list[Any]:
    """Where a short rigid descent leads from each of `starts`."""
    import SimpleITK as sitk

    method, fixed, moving = measure.method, measure.fixed, measure.moving
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.05, numberOfIterations=60, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    found = []
    for start in starts:
        result = sitk.Euler3DTransform(start)
        method.SetInitialTransform(result, inPlace=True)
        try:
            method.Execute(fixed, moving)
        except RuntimeError:  # walked out of the moving image
            result = start
        found.append(result)
    return found


def _same_coverage(pair: Pair) -> bool:
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
