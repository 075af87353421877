"""Cortical thickness by DiReCT: how far the border of the white matter travels to the pia (Das et al. 2009,
doi:10.1016/j.neuroimage.2008.12.016), with ANTs' `KellyKapowski` and the settings of antsCorticalThickness.sh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .images import Image, ImageError, array_of, like, spacing_mm
from .registration.engine import load_ants
from .resampling import Grid

VERSION = "1"

#: A shell of 3 mm measures 3.08 mm with voxels of 0.7 mm, 3.07 with 1 mm, and only 2.54 with 1.5 mm.
LARGEST_EDGE_MM = 1.2
_GREY, _WHITE = 2, 3  # DiReCT's labels by custom
#: Around the cortex: the deformation needs room to smooth into.
_MARGIN_MM = 8.0


@dataclass(frozen=True)
class Settings:
    """DiReCT's numbers; as antsCorticalThickness.sh has them but for those that say otherwise.

    Attributes
    ----------
    iterations, convergence_threshold, convergence_window
        At most so many, and when it stops before.
    gradient_step, smoothing_variance
        Of the velocity field. The script's step of 0.025 ends too early: spherical shells of 3 mm (1 mm voxels) come
        out as 2.14 mm, with 0.05 as 2.69 and with 0.1 as 3.07; of 2 and 4 mm as 1.88 and 4.11 with 0.1.
    integration_points
        Compositions of the velocity field.
    largest_mm
        Prior limit of the thickness.
    """

    iterations: int = 45
    convergence_threshold: float = 0.0
    convergence_window: int = 10
    gradient_step: float = 0.1
    smoothing_variance: float = 1.5
    integration_points: int = 10
    largest_mm: float = 10.0


DEFAULT = Settings()


@dataclass(frozen=True, eq=False)
class Cortex:
    """What DiReCT sees, on one grid: `labels` 2 where it is most likely cortex and 3 where it is what lies within, and
    the probabilities of both (float32)."""

    labels: Image
    grey: Image
    white: Image


@dataclass(frozen=True)
class ThicknessSummary:
    """Of some voxels of the cortex: mean, standard deviation (n - 1) and median in mm; None of fewer than two."""

    voxels: int
    mean_mm: float | None
    sd_mm: float | None
    median_mm: float | None


def cortex_of(
    grey: Image, white: Image, *, within: NDArray[np.bool_] | None = None, beyond: NDArray[np.bool_] | None = None
) -> Cortex:
    """The cerebral cortex and what lies within it.

    Parameters
    ----------
    grey, white
        Probabilities of the tissues, 0 to 1, on one grid.
    within
        Voxels that the cortex surrounds whatever their tissue (deep grey matter, lateral ventricles): white matter to
        DiReCT, as the deep grey matter is in antsCorticalThickness.sh.
    beyond
        Voxels that belong to no cerebral cortex (cerebellum, brain stem): nothing.
    """
    g, w = array_of(grey).copy(), array_of(white).copy()
    if within is not None:
        w[within], g[within] = 1, 0
    if beyond is not None:
        w[beyond], g[beyond] = 0, 0
    labels = np.array([0, _GREY, _WHITE], np.uint8)[np.argmax(np.stack([1 - g - w, g, w]), axis=0)]
    return Cortex(like(labels, grey), like(g, grey), like(w, grey))


def cortical_thickness(cortex: Cortex, settings: Settings = DEFAULT) -> Image:
    """Thickness in mm at the voxels of the cortex (`labels` 2), 0 elsewhere; float32 on the same grid.

    On one thread, so that the same input gives the same bytes.

    Raises
    ------
    ImageError
        Voxels too large for it, or no cortex on white matter.
    """
    if problem := largest_edge_problem(cortex.labels):
        raise ImageError(problem)
    labels = np.asanyarray(cortex.labels.dataobj)
    if not (labels == _GREY).any() or not (labels == _WHITE).any():
        raise ImageError("the segmentation has no cortex around white matter")
    box = _box(labels > 0, spacing_mm(cortex.labels))
    load_ants()
    import ants

    part = Grid.of(cortex.labels).part(box)
    seen = [
        ants.from_numpy(np.ascontiguousarray(array_of(each)[box]), spacing=list(part.spacing_mm))
        for each in (cortex.labels, cortex.grey, cortex.white)
    ]
    s = settings
    found = ants.kelly_kapowski(
        *seen,
        its=f"{s.iterations},{s.convergence_threshold:g},{s.convergence_window}",
        r=s.gradient_step,
        m=s.smoothing_variance,
        gm_label=_GREY,
        wm_label=_WHITE,
        n=s.integration_points,
        t=s.largest_mm,
        b=0,
    )
    result = np.zeros(labels.shape, np.float32)
    result[box] = found.numpy()
    result[(labels != _GREY) | ~np.isfinite(result)] = 0
    return like(np.clip(result, 0, s.largest_mm), cortex.labels)


def largest_edge_problem(image: Image) -> str:
    """Why the voxels of an image are too large for a thickness; empty where they are not."""
    largest = max(spacing_mm(image))
    if largest <= LARGEST_EDGE_MM + 0.01:
        return ""
    return f"its voxels are up to {largest:.3g} mm long: thickness is only measured up to {LARGEST_EDGE_MM:g} mm"


def summary(thickness: Image, voxels: NDArray[Any]) -> ThicknessSummary:
    """Of some voxels (a mask, or flat indices), those of the cortex."""
    values = array_of(thickness).ravel()[voxels.ravel()]
    values = values[values > 0].astype(np.float64)
    if len(values) < 2:
        return ThicknessSummary(len(values), None, None, None)
    return ThicknessSummary(len(values), float(values.mean()), float(values.std(ddof=1)), float(np.median(values)))


def _box(mask: NDArray[np.bool_], edges_mm: tuple[float, float, float]) -> tuple[slice, slice, slice]:
    """The box of a mask with a margin, within the grid."""
    result = []
    for axis in range(3):
        where = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(_MARGIN_MM / edges_mm[axis]))
        result.append(slice(max(0, int(where[0]) - margin), min(mask.shape[axis], int(where[-1]) + 1 + margin)))
    x, y, z = result
    return x, y, z
