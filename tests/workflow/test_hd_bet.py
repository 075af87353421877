"""HD-BET in a whole run: loaded once in each worker, said in the sidecars, a broken series alone."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hd_bet_models import write_shift
from runs import Run, bids_app

#: T1w with and without contrast agent, T2w and FLAIR are masked by HD-BET; SWI is not.
SERIES = ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")
SPACING_MM = 5.0
SHAPE = (40, 40, 36)


def bright(radius: float) -> np.ndarray:
    grid = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array([19.5, 19.5, 17.5])
    return (grid**2).sum(axis=-1) < radius**2


def write_dataset(root: Path) -> Path:
    """Three participants with four series of a bright ball each; the network moves it, so the truth is known."""
    root.mkdir()
    (root / "dataset_description.json").write_text(json.dumps({"Name": "balls", "BIDSVersion": "1.10.0"}))
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = -SPACING_MM * (np.array(SHAPE) - 1) / 2
    for subject in ("01", "02", "03"):
        anat = root / f"sub-{subject}" / "anat"
        anat.mkdir(parents=True)
        for number, name in enumerate(SERIES):
            noise = np.random.default_rng(number).integers(0, 20, SHAPE)
            voxels = (np.where(bright(12 + number * 0.5), 100, 10) + noise).astype(np.int16)
            nib.Nifti1Image(voxels, affine).to_filename(anat / f"sub-{subject}_{name}.nii.gz")
    return root


@pytest.fixture(scope="module")
def hd_bet_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run of the mask step by two workers, and the file with the numbers of the processes that built the network."""
    folder = tmp_path_factory.mktemp("hd_bet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.syspath_prepend(str(folder))
        weights = write_shift(folder, [1, 2, 1], SPACING_MM, built=str(folder / "built"))
        (folder / "built").unlink()  # the test's own
        words = ("--steps", "mask", "--nprocs", "2", "--mem-gb", "16", "--device", "cpu")
        chosen = ("--hd-bet-weights", str(weights), "--hd-bet-engine", "torch-float32")
        run = bids_app(write_dataset(folder / "data"), folder / "out", *words, *chosen, "-v")
    return run, folder / "built"


def test_twelve_series_of_three_sessions_load_the_network_once_in_each_worker(hd_bet_run: tuple[Run, Path]) -> None:
    run, built = hd_bet_run
    assert run.code == 0, run.text
    assert len(list(run.output.glob("sub-*/**/*_mask.nii.gz"))) == 12
    processes = built.read_text().split()
    assert len(processes) == len(set(processes))
    assert 1 <= len(processes) <= 2


def test_every_mask_is_what_the_network_says_on_the_grid_of_its_series(hd_bet_run: tuple[Run, Path]) -> None:
    run, _ = hd_bet_run
    for number, name in enumerate(SERIES):
        stem, _, suffix = f"sub-02_{name}".rpartition("_")
        mask = run.image(f"{stem}_label-brain_desc-{suffix}_mask.nii.gz")
        truth = np.roll(bright(12 + number * 0.5), (1, 2, 1), axis=(0, 1, 2))
        np.testing.assert_array_equal(np.asanyarray(mask.dataobj) > 0, truth)
        np.testing.assert_array_equal(mask.affine, nib.load(run.source / f"sub-02/anat/sub-02_{name}.nii.gz").affine)


def test_how_it_was_computed_is_said_first_and_in_the_sidecar(hd_bet_run: tuple[Run, Path]) -> None:
    run, _ = hd_bet_run
    assert "HD-BET on cpu by torch-float32, without mirroring" in run.text
    method = run.sidecar("sub-01_label-brain_desc-FLAIR_mask.json")["Method"]
    said = {key: method[key] for key in ("Name", "Engine", "Mirroring")}
    assert said == {"Name": "hd-bet", "Engine": "torch-float32", "Mirroring": False}
