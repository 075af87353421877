"""A failed face check stops a series, and `--allow-face` lets it through: whole runs with masks that take in an eye."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from runs import Run, bids_app, series_table
from scipy.ndimage import binary_dilation

WORDS = ("--participant-label", "02", "--session-label", "1", "--steps", "mask", "deface", "bias")


@pytest.fixture(scope="module")
def masks(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """True brain masks of a session; the T1w's takes in the eyes, too."""
    folder = tmp_path_factory.mktemp("masks")
    truth = small_demo / "derivatives" / "truth" / "sub-02" / "ses-1" / "anat"
    for suffix in ("T1w", "FLAIR"):
        name = f"sub-02_ses-1_label-brain_desc-{suffix}_mask.nii.gz"
        brain = nib.load(truth / name)
        mask = np.asarray(brain.dataobj) > 0
        if suffix == "T1w":
            eyes = np.asarray(nib.load(truth / name.replace("label-brain", "label-eyes")).dataobj) > 0
            mask |= binary_dilation(eyes, iterations=2)
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), brain.affine), folder / name)
    return folder


@pytest.fixture(scope="module")
def stopped(small_demo: Path, masks: Path) -> Run:
    work = masks.parent / "face-work"
    return bids_app(small_demo, masks.parent / "out-stopped", *WORDS, "--masks", str(masks), "-w", str(work))


@pytest.mark.slow
def test_a_face_that_is_left_stops_the_series_alone(stopped: Run) -> None:
    assert stopped.code == 1, stopped.text
    assert "the face check of sub-02_ses-1_T1w failed" in stopped.text
    assert "--allow-face" in stopped.text
    written = sorted(path.name for path in stopped.output.glob("sub-*/**/*T1w*.nii.gz"))
    assert written == ["sub-02_ses-1_label-brain_desc-T1w_mask.nii.gz"], "a mask shows no face"
    assert stopped.image("sub-02_ses-1_desc-preproc_FLAIR.nii.gz")
    (table,) = stopped.output.glob("sub-*/**/*_series.tsv")
    rows = {row["suffix"]: row for row in series_table(table)}
    assert (rows["T1w"]["status"], rows["T1w"]["face_check"], rows["T1w"]["reference"]) == ("failed", "failed", "0")
    assert (rows["FLAIR"]["status"], rows["FLAIR"]["face_check"], rows["FLAIR"]["reference"]) == ("done", "passed", "1")
    work = stopped.output.parent / "face-work"
    assert [path.name for path in (work / "face_check").iterdir()] == ["sub-02_ses-1_T1w.png"]


@pytest.mark.slow
def test_allow_face_writes_it_and_says_so_and_without_it_all_is_taken_back(stopped: Run, masks: Path) -> None:
    output = masks.parent / "out-allowed"
    allowed = bids_app(stopped.source, output, *WORDS, "--masks", str(masks), "--allow-face")
    assert allowed.code == 0, allowed.text
    check = allowed.sidecar("sub-02_ses-1_desc-defaced_T1w.json")["FaceCheck"]
    assert not check["Passed"]
    assert check["EyesLeft"] > 0.15
    assert allowed.sidecar("sub-02_ses-1_desc-defaced_FLAIR.json")["FaceCheck"]["Passed"]
    again = bids_app(stopped.source, output, *WORDS, "--masks", str(masks))
    assert again.code == 1
    assert not list(output.glob("sub-*/**/*desc-defaced_T1w*"))
    assert not list(output.glob("sub-*/**/*desc-preproc_T1w*"))
