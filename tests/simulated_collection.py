"""Collections of known composition: raw datasets, and finished outputs of two scanners, made without running a step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from finished_output import Finished
from numpy.typing import NDArray
from trees import Nifti, write_tree

from bids_app.steps.images import new_image
from bids_app.steps.intensity import fit

SHAPE, SPACING = (24, 28, 24), 8.0


def raw_dataset(root: Path) -> Path:
    """Six participants: 01 to 04 with T1w (isotropic, RAS) and FLAIR (8 x 8 x 20 mm, LPS), 05 with a
    contrast-enhanced T1w (8 x 8 x 12 mm), 06 with a T1w that is a localizer."""
    files: dict[str, Any] = {}
    lines = ["participant_id\tage\tsex\tsite\tname"]
    for number in range(1, 7):
        stem = f"sub-{number:02d}/anat/sub-{number:02d}"
        lines.append(f"sub-{number:02d}\t{(30, 41, 52, 95, 'n/a', 63)[number - 1]}\t"
                     f"{'FMFMFM'[number - 1]}\t{'AB'[number % 2]}\tJane Doe 2001-02-03")  # fmt: skip
        if number <= 4:
            files[f"{stem}_T1w.nii.gz"] = Nifti()
            maker = "SIEMENS" if number <= 3 else "GE MEDICAL SYSTEMS"
            files[f"{stem}_T1w.json"] = {
                "Manufacturer": maker, "MagneticFieldStrength": 3.0 if number <= 3 else 1.5, "RepetitionTime": 2.3,
                "EchoTime": 0.00298, "InversionTime": 0.9, "FlipAngle": 9, "SeriesNumber": number,
                "ScanningSequence": ["GR", "IR"], "MRAcquisitionType": "3D", "InstitutionName": "A Hospital",
                "ImageType": ["ORIGINAL", "PRIMARY"],
            }  # fmt: skip
            files[f"{stem}_FLAIR.nii.gz"] = Nifti(shape=(20, 22, 10), spacing=(8.0, 8.0, 20.0 - 6), orientation="LPS")
        elif number == 5:
            files[f"{stem}_ce-gadolinium_T1w.nii.gz"] = Nifti(shape=(20, 22, 16), spacing=(8.0, 8.0, 12.0))
        else:
            files[f"{stem}_T1w.nii.gz"] = Nifti()
            files[f"{stem}_T1w.json"] = {"SeriesDescription": "localizer", "ImageType": ["DERIVED", "SECONDARY"]}
    files["participants.tsv"] = "\n".join(lines) + "\n"
    return write_tree(root, files)


def brain_of(seed: int, gain: float = 1.0, offset: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A ball of a brain with a texture, noise and brightness of its own, seen by a scanner; and where it is."""
    random = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(*[(np.arange(n) - n / 2 + 0.5) * SPACING for n in SHAPE], indexing="ij"))
    inside = np.sqrt((at**2).sum(axis=0)) < 62
    phase = random.uniform(0, 2 * np.pi, 3)[:, None, None, None]
    texture = np.sin(at / random.uniform(10, 16) + phase).sum(axis=0)
    values = 500 + 60 * texture + 15 * random.standard_normal(SHAPE)
    return np.where(inside, gain * values + offset, 0).astype(np.float32), inside


def add_participant(
    made: Finished, label: str, seed: int, *, gain: float = 1.0, offset: float = 0.0,
    measures: Mapping[str, float] | None = None, suffix: str = "T1w",
) -> str:  # fmt: skip
    """A participant with one finished series, before and after z-scoring, in native space; the series' name."""
    array, inside = brain_of(seed, gain, offset)
    affine = np.diag([SPACING] * 3 + [1.0])
    affine[:3, 3] = -SPACING * (np.array(SHAPE) / 2 - 0.5)
    stem = f"sub-{label}"
    name = f"{stem}_{suffix}"
    image, brain = new_image(array, affine), new_image(inside.astype(np.uint8), affine)
    made.task(
        label, None, f"mask/{name}", {f"{stem}_label-brain_desc-{suffix}_mask": brain}, {}, {"mask_volume_ml": 1.0}
    )
    made.task(label, None, f"bias/{name}", {f"{stem}_desc-preproc_{suffix}": image}, {})
    for method in ("zscore", "percentile"):
        mapped = np.where(inside, fit(method, image, brain).apply(array), 0).astype(np.float32)
        made.task(label, None, f"normalize/{name}/brain{method}",
                  {f"{stem}_desc-brain{method}_{suffix}": new_image(mapped, affine)}, {})  # fmt: skip
    made.task(label, None, f"measure/{name}", {}, {}, dict(measures or {}))
    made.row(label, None, name, suffix, {"status": "done", "reference": "1", "orientation": "RAS",
                                         "spacing_mm": "8x8x8", "shape": "24x28x24"})  # fmt: skip
    return name


def two_scanners(root: Path, count: int = 15, gain: float = 1.6, offset: float = 80.0) -> Path:
    """An output of `count` participants of scanner A and of B, which is brighter, with a raw dataset beside it."""
    made = Finished(root / "out")
    files: dict[str, Any] = {}
    lines = ["participant_id\tscanner"]
    for number in range(2 * count):
        of_b = number >= count
        label = f"{number:03d}"
        name = add_participant(made, label, number, gain=gain if of_b else 1.0, offset=offset if of_b else 0.0)
        files[f"sub-{label}/anat/{name}.nii.gz"] = Nifti()
        lines.append(f"sub-{label}\t{'B' if of_b else 'A'}")
    files["participants.tsv"] = "\n".join(lines) + "\n"
    return write_tree(root / "raw", files)
