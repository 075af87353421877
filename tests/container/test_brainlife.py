"""brainlife's `main` in a fresh clone, with a `singularity` that runs the SIF."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from container.engines import LABELS, Apptainer, call, images_of, writable
from nibabel.orientations import io_orientation, ornt_transform

from bids_app.steps.brain_mask.synth import synth_mask
from bids_app.steps.images import conform

_PARAMETERS = {"brain_extraction": "synth", "output_spaces": "MNI152NLin2009aSym:res-4"}


def _clone(sources: Path, folder: Path, config: dict[str, Any]) -> Path:
    """What brainlife makes for a task: a clone of the repository with config.json in it."""
    writable(folder)
    for name in ("main", "brainlife"):
        copy = shutil.copytree if (sources / name).is_dir() else shutil.copy2
        copy(sources / name, folder / name)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _run(clone: Path, apptainer: Apptainer, sif: Path) -> subprocess.CompletedProcess[str]:
    return call(["./main"], cwd=clone, more={**apptainer.environment(), "BIDS_APP_IMAGE": str(sif)})


def test_one_t1w(
    apptainer: Apptainer, sif: Path, sources: Path, small: Path, outside: dict[str, str], scratch: Path
) -> None:
    subject = LABELS[1]  # at 4 mm the first one's mask is too coarse for its face to be found removed
    t1w = small / f"sub-{subject}" / "anat" / f"sub-{subject}_T1w.nii.gz"
    config = {"t1w": str(t1w), **_PARAMETERS, "_inputs": [{"id": "t1w", "meta": {"subject": subject}}]}
    clone = _clone(sources, scratch / "brainlife-one", config)
    for _ in range(2):  # it can be run again
        done = _run(clone, apptainer, sif)
        assert done.returncode == 0, done.stdout
    product = json.loads((clone / "product.json").read_text())
    assert product["brainlife"][0] == {"type": "success", "msg": "1 of 1 images processed"}
    picture = next(item for item in product["brainlife"] if item["type"] == "image/png")
    assert base64.b64decode(picture["base64"]).startswith(b"\x89PNG")
    assert (clone / "product.json").stat().st_size < 10_000
    here, there = nib.load(clone / "t1w" / "t1.nii.gz"), nib.load(clone / "mask" / "mask.nii.gz")
    assert here.shape == there.shape == nib.load(t1w).shape
    same = images_of(clone / "output")  # one T1w gives what the T1w of a session gives
    name = f"sub-{subject}/anat/sub-{subject}_desc-preproc_T1w.nii.gz"
    assert same[name] == outside[name]
    assert not [path.name for path in clone.iterdir() if path.name in ("bids", "masks", "work")]


def test_lists_masks_and_a_broken_image(
    apptainer: Apptainer, sif: Path, sources: Path, small: Path, scratch: Path
) -> None:
    t1w = [str(small / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz") for label in LABELS[:2]]
    flair = str(small / f"sub-{LABELS[0]}" / "anat" / f"sub-{LABELS[0]}_FLAIR.nii.gz")
    folder = writable(scratch / "brainlife-inputs")
    (folder / "broken.nii.gz").write_bytes(b"no image")
    image = nib.load(t1w[0])
    mask = synth_mask(conform(image)).brain  # RAS+; the image is not
    back = ornt_transform(io_orientation(mask.affine), io_orientation(image.affine))
    given = np.asarray(mask.as_reoriented(back).dataobj).copy()
    given[0, 0, 0] = 1  # which no method would make
    nib.save(nib.Nifti1Image(given, image.affine), folder / "mask.nii.gz")
    config = {
        "t1w": [*t1w, str(folder / "broken.nii.gz")], "t1w_mask": [str(folder / "mask.nii.gz")], "flair": flair,
        **_PARAMETERS, "deface": False,
        "_inputs": [{"id": "flair", "meta": {"subject": "P_7", "session": "a-1", "EchoTime": 0.09}}],
    }  # fmt: skip
    clone = _clone(sources, scratch / "brainlife-lists", config)
    done = _run(clone, apptainer, sif)
    assert done.returncode == 1, done.stdout  # the broken one; the others are there
    messages = [item["msg"] for item in json.loads((clone / "product.json").read_text())["brainlife"] if "msg" in item]
    assert any("run-3_T1w" in text for text in messages)
    for name in ("t1w/t1.nii.gz", "t1w_2/t1.nii.gz", "flair/flair.nii.gz", "flair_atlas/flair.nii.gz"):
        assert (clone / name).is_file(), name
    (used,) = (clone / "output").glob("sub-P7/ses-a1/anat/sub-P7_ses-a1_run-1_label-brain_desc-T1w_mask.nii.gz")
    assert np.array_equal(np.asarray(nib.load(used).dataobj), given)
    (sidecar,) = (clone / "output").glob("sub-P7/ses-a1/anat/sub-P7_ses-a1_desc-preproc_FLAIR.json")
    assert json.loads(sidecar.read_text())["EchoTime"] == 0.09


def test_no_image_at_all(apptainer: Apptainer, sif: Path, sources: Path, scratch: Path) -> None:
    clone = _clone(sources, scratch / "brainlife-none", {"t1w": None})
    assert _run(clone, apptainer, sif).returncode != 0
    assert json.loads((clone / "product.json").read_text())["brainlife"][0]["type"] == "error"
