"""Pictures of the regions, the thickness of the cortex and the smoothed grey matter of a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.reports import drawing
from bids_app.reports.contents import SeriesContent, read_image
from bids_app.reports.drawing import Layout, Mask
from bids_app.reports.encoding import picture_uri
from bids_app.steps.images import Image, array_of, spacing_mm

#: What is told apart in the thickness map: mm at the two ends of its colours.
THICKNESS_MM = (1.0, 5.0)
_THIN, _MIDDLE, _THICK = (0, 90, 160), (245, 245, 245), (200, 85, 0)


def region_picture(labels: Image, grey: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    """Slices of an image with the borders of the regions, each in a colour of its own (rows x columns x 3)."""
    result = np.repeat(grey[..., None], 3, axis=2)
    array = np.asanyarray(labels.dataobj)
    for number, index in enumerate(np.unique(array[array > 0])):
        result[layout.outline(array == index)] = _colour(number)
    return result


def thickness_picture(thickness: Image, grey: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    """Slices of an image with the thickness of the cortex in colours over it."""
    array = array_of(thickness)
    there, shown = layout.mask(array > 0), layout.image(array)
    low, high = THICKNESS_MM
    level = np.clip((shown - low) / (high - low) * 2 - 1, -1, 1)[..., None]
    middle = np.array(_MIDDLE, np.float32)
    end = np.where(level < 0, np.array(_THIN, np.float32), np.array(_THICK, np.float32))
    colours = np.rint(middle + np.abs(level) * (end - middle)).astype(np.uint8)
    return np.where(there[..., None], colours, np.repeat(grey[..., None], 3, axis=2)).astype(np.uint8)


def morphometry_pictures(
    series: SeriesContent, output: Path, image: Image, mask: Mask, grey_of: Callable[[Layout], Any], pixel_mm: float,
    quality: int,
) -> Mapping[str, tuple[str, str]]:  # fmt: skip
    """Address and alternative text of each picture that there are files for: regions, thickness, and by the name of
    their spaces the smoothed (else modulated) maps."""
    result: dict[str, tuple[str, str]] = {}
    layout = drawing.strip(mask, spacing_mm(image), pixel_mm)
    grey = grey_of(layout)
    if path := series.file("regions", "_dseg"):
        picture = region_picture(read_image(output, path), grey, layout)
        result["regions"] = picture_uri(picture, quality), "Slices of the reference with the borders of its regions."
    if path := series.file("thickness", "_thickness"):
        picture = thickness_picture(read_image(output, path), grey, layout)
        low, high = THICKNESS_MM
        alt = f"Thickness of the cortex on the same slices: {low:g} mm is blue, 3 mm white, {high:g} mm orange."
        result["thickness"] = picture_uri(picture, quality), alt
    for name in sorted(task for task in series.tasks if task.startswith("vbm/")):
        path = series.file(name, "desc-smoothed") or series.file(name, "desc-modulated")
        if path is not None:
            shown = read_image(output, path)
            array = array_of(shown)
            there = drawing.strip(array > 0.05, spacing_mm(shown), pixel_mm)
            limits = (0.0, float(array.max()) or 1.0)
            uri = picture_uri(drawing.grey(there.image(array), limits), quality)
            space = name.split("/")[-1].partition("_")[0]
            result[f"grey matter in {space}"] = uri, f"Slices of the modulated grey matter in {space}."
    return result


def _colour(number: int) -> tuple[int, int, int]:
    """A colour that neighbouring numbers do not share: steps of the golden angle around the hues."""
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb((number * 0.618034) % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
