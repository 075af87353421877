"""Adaptive non-local means denoising of a magnitude image (Manjón et al. 2010, doi:10.1002/jmri.22003), by ANTs.

Each voxel becomes a mean of the voxels in a search window around it, weighted by how alike the patches about them are;
the strength of the noise is estimated voxel by voxel, so that it may vary over the image as in parallel imaging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.ants import run_ants, to_ants
from bids_app.steps.box import box_of
from bids_app.steps.images import Image, ImageError, array_of, like, mask_of, spacing_mm

VERSION = "2"

NoiseModel = Literal["Rician", "Gaussian"]

#: From this ratio of two voxel edges on, patches stay within the slice. On computed heads in slices of 5 mm (pixels of
#: 1 mm), cubes darkened the tissue next to fluid by 1 % of its intensity and flattened edges by 5 %; flat patches of
#: the sizes below did neither and took as much of the noise as cubes do from cubic voxels (55 to 60 %).
_THICK = 2.0
#: Radii in voxels of patch and search window: cubes as in the paper and in ANTs, or within a slice.
_CUBE = (1, 2)
_FLAT = (2, 5)
#: The filter's constants are absolute: intensities are brought to about this size before, by a power of two, which
#: changes no bit of their mantissas, so that the result does not depend on the unit of the image.
_SCALE = 1024.0
#: What counts as the lowest value of an image with negative ones: a few odd voxels do not.
_LOWEST_PERCENT = 0.1


@dataclass(frozen=True)
class Denoised:
    """A denoised image, and how it was made.

    Attributes
    ----------
    image
        float32, on the grid of the source; voxels that were 0 there (air without noise, a face that was removed) are 0.
    noise_sd
        Standard deviation in the brain of what was taken away, robust, in units of the image.
    patch_radius, search_radius
        In voxels along each axis.
    """

    image: Image
    noise_sd: float
    noise_model: NoiseModel
    patch_radius: tuple[int, int, int]
    search_radius: tuple[int, int, int]


def denoise(image: Image, brain_mask: Image, contrast: str = "") -> Denoised:
    """Take the noise out of a conformed image.

    Parameters
    ----------
    contrast
        As BIDS suffix. The noise of a magnitude image is Rician; that of a ratio of images (UNIT1) and of an image with
        negative voxels is taken for Gaussian.

    Raises
    ------
    ImageError
        The brain mask is empty, or the brain is dark.
    """
    array, brain = array_of(image), mask_of(brain_mask)
    background = array == 0
    # ANTs compares patches by the ratio of their means: it passes over what is negative. UNIT1 is stored from -0.5
    least = float(np.percentile(array[~background], _LOWEST_PERCENT)) if array.min() < 0 else 0.0
    if least < 0:
        array = np.where(background, np.float32(0), array - np.float32(least))
    median = float(np.median(array[brain])) if brain.any() else 0.0
    if median <= 0:
        raise ImageError("the brain mask is empty or the brain in it dark: there is nothing to be denoised")
    model: NoiseModel = "Gaussian" if contrast == "UNIT1" or array_of(image).min() < 0 else "Rician"
    patch, search = _radii(image)
    scale = np.float32(2.0 ** round(np.log2(_SCALE / median)))
    box = box_of(~background)
    result = np.zeros_like(array)
    result[box] = _filtered(like(array[box] * scale, image), model, patch, search) / scale
    removed = (array - result)[brain & ~background]
    result = np.where(background, np.float32(0), result + np.float32(least))
    noise_sd = 1.4826 * float(np.median(np.abs(removed - np.median(removed))))
    return Denoised(like(result, image), noise_sd, model, patch, search)


def _filtered(
    image: Image, model: NoiseModel, patch: tuple[int, int, int], search: tuple[int, int, int]
) -> NDArray[np.float32]:
    noisy, result = to_ants(image), to_ants(image)
    words = ["-d", "3", "-i", noisy.word, "-o", result.word, "-n", model, "-s", "1", "-v", "0"]
    for option, radius in (("-p", patch), ("-r", search)):
        words += [option, "x".join(map(str, radius))]
    status = run_ants("DenoiseImage", words)
    if status != 0:
        raise ImageError(f"ANTs' DenoiseImage stopped with status {status}")
    return np.asarray(result.array(), dtype=np.float32)


def _radii(image: Image) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Radii of patch and search window; 0 along an axis whose voxels are much longer than the shortest."""
    edges = np.array(spacing_mm(image))
    thick = edges >= _THICK * edges.min()
    patch, search = _FLAT if thick.any() else _CUBE
    x, y, z = (int(not one) for one in thick)
    return (patch * x, patch * y, patch * z), (search * x, search * y, search * z)
