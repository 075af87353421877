"""HD-BET's code path against real heads and against its own command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.steps.brain_mask import hd_bet
from bids_app.steps.images import conform, mask_of

pytestmark = pytest.mark.slow


def make_model(shared: Path, folder: Path, *kind: str) -> Path:
    models = shared / "models"
    environment = {**os.environ, "PYTHONPATH": str(models), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(models / "make_model_folder.py"), str(folder), *kind]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return folder


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_masks_agree_with_the_hd_bet_command_line(shared: Path, tmp_path: Path) -> None:
    weights = make_model(shared, tmp_path / "hd-bet_params" / "release_2.0.0", "tiny")
    whole = nib.load(shared / "data" / "sub-xa30" / "anat" / "sub-xa30_run-1_T1w.nii.gz")
    series = tmp_path / "part.nii.gz"  # large enough for two patches
    nib.save(whole.slicer[24:72, 30:84, 40:100], series)
    options = ["-device", "cpu", "--disable_tta", "--save_bet_mask", "--no_bet_image"]
    subprocess.run(
        [str(Path(sys.executable).with_name("hd-bet")), "-i", str(series), "-o", "out.nii.gz", *options],
        cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}, check=True, capture_output=True,
    )  # fmt: skip
    theirs = mask_of(nib.as_closest_canonical(nib.load(tmp_path / "out_bet.nii.gz")))

    ours = hd_bet.load(weights, threads=2).predict(conform(nib.load(series)))

    assert 0.01 < theirs.mean() < 0.99  # random weights: noise, where one wrong axis shows in half of the voxels
    assert dice(ours, theirs) >= 0.9999


def test_masks_of_a_real_network_match_the_reference(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(shared / "models"))
    weights = make_model(shared, tmp_path / "model", "mindgrab", str(shared / "models" / "mindgrab.pth"))
    name = "sub-tcga6692/anat/sub-tcga6692_ce-gadolinium"
    raw = nib.load(shared / "data" / f"{name}_T1w.nii.gz")
    truth = nib.as_closest_canonical(
        nib.load(shared / "data" / "derivatives" / "reference" / f"{name}_desc-brain_mask.nii.gz")
    )

    mask = hd_bet.load(weights, threads=2).mask(conform(raw), left_handed=hd_bet.is_left_handed(raw))

    np.testing.assert_allclose(mask.affine, truth.affine, atol=1e-3)
    assert dice(mask_of(mask), mask_of(truth)) >= 0.93
