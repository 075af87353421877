"""BrainLes-Preprocessing's atlas-centric pipeline with its defaults: co-registration, atlas, correction, N4.

    python brainles.py ATLAS OUTPUT CENTER MOVING [MOVING ...]

To be run by the interpreter of an environment of its own with `brainles-preprocessing==0.6.14`. OUTPUT gets the images
in atlas space, and under `transforms/<name>` its matrices, each with the number of its step first.
"""

from __future__ import annotations

import sys
from pathlib import Path

from brainles_preprocessing.modality import CenterModality, Modality
from brainles_preprocessing.n4_bias_correction import SitkN4BiasCorrector
from brainles_preprocessing.preprocessor import AtlasCentricPreprocessor
from brainles_preprocessing.registration import ANTsRegistrator


def main(atlas_path: str, folder: str, center_path: str, *moving_paths: str) -> None:
    """Run the pipeline; the first image is the center."""
    output = Path(folder)

    def modality(kind: type[Modality], path: str) -> Modality:
        name = Path(path).name.split(".")[0]
        return kind(name, path, raw_skull_output_path=output / f"{name}.nii.gz", n4_bias_correction=True)

    AtlasCentricPreprocessor(
        center_modality=modality(CenterModality, center_path),
        moving_modalities=[modality(Modality, path) for path in moving_paths],
        registrator=ANTsRegistrator(),
        n4_bias_corrector=SitkN4BiasCorrector(),
        atlas_image_path=atlas_path,
        use_gpu=False,
    ).run(save_dir_transformations=output / "transforms", log_file=output / "log.txt")


if __name__ == "__main__":
    main(*sys.argv[1:])
