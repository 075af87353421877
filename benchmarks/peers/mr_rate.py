"""The sequence of MR-RATE's preprocessing after its masks: rigid to the center series, rigid to the atlas, resampling.

    python mr_rate.py ATLAS OUTPUT CENTER MOVING [MOVING ...]

As its published description has it: `ants.registration` with the defaults of "Rigid", every moving series to the
center and the center to the atlas, then each image once through the composed transforms. No bias correction.
OUTPUT gets `<name>_to_center.mat`, `center_to_atlas.mat`, and the images in both spaces.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import ants


def main(atlas_path: str, folder: str, center_path: str, *moving_paths: str) -> None:
    """Register and resample; the first image is the center."""
    output = Path(folder)
    atlas, center = ants.image_read(atlas_path), ants.image_read(center_path)
    to_center = {}
    for path in moving_paths:
        moving, name = ants.image_read(path), Path(path).name.split(".")[0]
        found = ants.registration(center, moving, "Rigid")
        to_center[path] = shutil.copyfile(found["fwdtransforms"][0], output / f"{name}_to_center.mat")
        ants.image_write(found["warpedmovout"], str(output / f"{name}_center.nii.gz"))
    found = ants.registration(atlas, center, "Rigid")
    to_atlas = shutil.copyfile(found["fwdtransforms"][0], output / "center_to_atlas.mat")
    ants.image_write(found["warpedmovout"], str(output / "center_atlas.nii.gz"))
    for path, transform in to_center.items():
        moved = ants.apply_transforms(atlas, ants.image_read(path), [str(to_atlas), str(transform)])
        ants.image_write(moved, str(output / f"{Path(path).name.split('.')[0]}_atlas.nii.gz"))


if __name__ == "__main__":
    main(*sys.argv[1:])
