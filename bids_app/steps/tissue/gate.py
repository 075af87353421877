"""The gate of the tissue segmentation: which images it can be made of. What it refuses keeps `synth`'s segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bids_app.steps.images import Image, mask_of, spacing_mm, voxel_ml
from bids_app.steps.tissue.mixture import PURE, Mixture

if TYPE_CHECKING:
    import SimpleITK as sitk

#: A cortex is 2 to 4 mm thick: in longer voxels hardly one is pure.
LONGEST_MM = 3.05
_LEAST_BRAIN_ML = 300.0
#: Share of the atlas' brain that the field of view has to reach: the rest would lack in every volume.
LEAST_COVERAGE = 0.97
#: Distance of the means of grey and white matter, and of fluid and grey matter, over their standard deviation.
LEAST_CONTRAST = 1.5


class TissueGateError(ValueError):
    """An image whose tissues cannot be told apart; the message says why, in a few words for a user."""


def check_grid(brain_mask: Image) -> None:
    """Voxels are short enough, and there is a brain.

    Raises
    ------
    TissueGateError
    """
    longest = max(spacing_mm(brain_mask))
    if longest > LONGEST_MM:
        raise TissueGateError(f"its voxels are {longest:.2g} mm long, and tissue needs {LONGEST_MM:.2g} mm or less")
    volume = float(mask_of(brain_mask).sum()) * voxel_ml(brain_mask)
    if volume < _LEAST_BRAIN_ML:
        raise TissueGateError(f"its brain mask has {volume:.0f} ml only")


def check_coverage(image: Image, atlas_brain: Image, way: Sequence[sitk.Transform]) -> float:
    """Share of the atlas' brain that lies in the field of view.

    Parameters
    ----------
    way
        Transforms that a point of the atlas goes through to the image, in this order.

    Raises
    ------
    TissueGateError
        It is less than `LEAST_COVERAGE`.
    """
    voxels = np.argwhere(mask_of(atlas_brain))[::997]  # about 2,000 points
    points = voxels @ np.asarray(atlas_brain.affine)[:3, :3].T + np.asarray(atlas_brain.affine)[:3, 3]
    flip = np.array([-1.0, -1.0, 1.0])  # RAS+ to ITK's LPS+
    moved = []
    for point in points * flip:
        there = tuple(float(x) for x in point)
        for transform in way:
            there = transform.TransformPoint(there)
        moved.append(there)
    to_voxel = np.linalg.inv(np.asarray(image.affine))
    index = (np.array(moved) * flip) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    seen = ((index >= -0.5) & (index <= np.array(image.shape) - 0.5)).all(axis=1)
    share = float(seen.mean())
    if share < LEAST_COVERAGE:
        raise TissueGateError(f"its field of view has {100 * share:.0f} % of the brain, and tissue needs all of it")
    return share


def check_contrast(mixture: Mixture) -> tuple[float, float]:
    """Distance of grey and white matter, and of fluid and grey matter, over their standard deviation.

    Raises
    ------
    TissueGateError
        The image is not T1-like (fluid dark, then grey, then white matter), or they are hardly apart.
    """
    order = [PURE.index(name) for name in ("fluid", "cortex", "white")]
    fluid, grey, white = mixture.means[order]
    sd_fluid, sd_grey, sd_white = mixture.sds[order]
    if not fluid < grey < white:
        raise TissueGateError("its contrast is not T1-like: fluid is not darkest, or white matter not brightest")
    distances = (
        float((white - grey) / np.hypot(sd_grey, sd_white) * np.sqrt(2)),
        float((grey - fluid) / np.hypot(sd_grey, sd_fluid) * np.sqrt(2)),
    )
    for distance, names in zip(distances, ("grey and white matter", "fluid and grey matter"), strict=True):
        if distance < LEAST_CONTRAST:
            raise TissueGateError(f"{names} differ by {distance:.1f} standard deviations only")
    return distances
