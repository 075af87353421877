"""Draw the README's picture from what `make demo` makes: python docs/figure.py demo demo-out docs/images/demo.png"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

SERIES = [("T1w", ""), ("contrast-enhanced T1w", "ce-gadolinium_"), ("T2w", ""), ("FLAIR, 5 mm oblique", "")]
ATLAS = "space-MNI152NLin2009aSym_res-1_"


def main(source: Path, output: Path, target: Path) -> None:
    """One column a series; rows: as scanned, defaced with the mask's outline, z-scored in atlas space."""
    rows = ["as scanned", "defaced, brain mask", "z-scored, atlas space"]
    figure, axes = plt.subplots(3, 4, figsize=(10, 8.4), facecolor="black")
    for column, (title, entities) in enumerate(SERIES):
        suffix = title.split(",")[0].split()[-1]
        raw = source / "sub-01" / "anat" / f"sub-01_{entities}{suffix}.nii.gz"
        made = output / "sub-01" / "anat"
        mask = _sagittal(made / f"sub-01_{entities}label-brain_desc-{suffix}_mask.nii.gz")
        _show(axes[0, column], _sagittal(raw))
        _show(axes[1, column], _sagittal(made / f"sub-01_{entities}desc-preproc_{suffix}.nii.gz"), mask)
        brain = nib.load(made / f"sub-01_{entities}{ATLAS}desc-brainzscore_{suffix}.nii.gz")
        _show(axes[2, column], (np.rot90(np.asarray(brain.dataobj)[:, :, 95]), 1.0), limits=(-3, 3))
        axes[0, column].set_title(title, color="white", fontsize=10)
    for row, text in enumerate(rows):
        axes[row, 0].set_ylabel(text, color="white", fontsize=10)
    figure.subplots_adjust(0.04, 0.01, 0.99, 0.95, 0.03, 0.03)
    figure.savefig(target, dpi=90, facecolor="black")


def _sagittal(path: Path) -> tuple[Any, float]:
    """A sagittal slice a little beside the middle, upright, and its height-to-width ratio of a pixel."""
    image = nib.as_closest_canonical(nib.load(path))
    array = np.asarray(image.dataobj)
    edges = nib.affines.voxel_sizes(image.affine)
    middle = array.shape[0] // 2
    return np.rot90(array[middle]), float(edges[2] / edges[1])


def _show(axis: Any, picture: tuple[Any, float], mask: tuple[Any, float] | None = None, limits: Any = None) -> None:
    array, aspect = picture
    low, high = limits or (0, np.percentile(array[array > 0], 99.5))
    axis.imshow(array, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    if mask is not None:
        axis.contour(mask[0], [0.5], colors="#e69f00", linewidths=1)
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set_visible(False)


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
