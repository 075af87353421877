"""Linear and SyN registration of two conformed images with ANTs.

The images are cropped to their brains, averaged to about 2 mm where they are finer, started from the masks' (else the
intensities') centres of mass and a coarse search over rotations, optimised by antsRegistration, and judged: a result
that cannot be true for the same head is tried once more with other settings and then refused.

Transforms follow ITK: they map points (LPS+ mm) of the fixed space to the moving space, which is what
`SimpleITK.Resample(moving, fixed_grid, transform)` takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_app.steps.images import Image
from bids_app.steps.registration.credible import judge, problem_of
from bids_app.steps.registration.engine import optimise
from bids_app.steps.registration.files import read_transform, write_transform
from bids_app.steps.registration.pair import MASK_MARGIN_MM, leave_out, prepare, without_lesion
from bids_app.steps.registration.plan import FIRST, RETRY, Kind
from bids_app.steps.registration.result import Registration, RegistrationError
from bids_app.steps.registration.start import find_start

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = [
    "VERSION",
    "Kind",
    "Registration",
    "RegistrationError",
    "read_transform",
    "register",
    "write_transform",
]

VERSION = "5"


def register(
    fixed: Image,
    moving: Image,
    *,
    kind: Kind,
    fixed_mask: Image | None = None,
    moving_mask: Image | None = None,
    fixed_lesion: Image | None = None,
    moving_lesion: Image | None = None,
    margin_mm: float = MASK_MARGIN_MM,
    start: sitk.Transform | None = None,
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
    fixed_lesion, moving_lesion
        Masks of what is left out of the metric, with a margin (cost-function masking, Brett et al. 2001,
        doi:10.1006/nimg.2001.0845), each in the world of its image, on any grid. What they show does not matter.
    margin_mm
        How far the fixed mask is dilated for the metric.
    start
        Where the optimiser begins; by default the best of a coarse search.
    seed, threads
        Same images and seed give the same bits, whatever `threads` says: the metric is summed on one thread, because
        with more the order of the sums, and so the result, changes from run to run.

    Raises
    ------
    RegistrationError
        No credible alignment, after one retry with other settings.
    """
    problem = ""
    fixed, fixed_lesion = without_lesion(fixed, fixed_lesion)
    moving, moving_lesion = without_lesion(moving, moving_lesion)
    for attempt, plan in enumerate((FIRST, RETRY), start=1):
        pair = prepare(fixed, moving, fixed_mask, moving_mask, margin_mm, plan)
        pair = leave_out(pair, fixed_lesion, moving_lesion, plan)
        begin = find_start(pair, plan) if start is None or attempt > 1 else start
        try:
            transform, inverse = optimise(pair, begin, kind, plan, seed)
        except RegistrationError as error:
            problem = str(error)
            continue
        result = judge(pair, transform, inverse, kind, attempt, plan, seed)
        problem = problem_of(pair, result, kind)
        if not problem:
            return result
    raise RegistrationError(f"{kind} registration failed twice: {problem}")
