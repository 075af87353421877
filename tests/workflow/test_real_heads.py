"""The defaults on real heads: five participants, many contrasts, slices of 1 to 5.5 mm, a glioma, sclerosis."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from runs import Run, dice, series_table
from scipy.ndimage import binary_fill_holes, distance_transform_edt

#: Our mask, and the reference's name: automatic masks kept by the data's sources.
MASKS = [
    (
        "sub-tcga6692/anat/sub-tcga6692_ce-gadolinium_label-brain_desc-T1w_mask",
        "sub-tcga6692/anat/sub-tcga6692_ce-gadolinium_desc-brain_mask",
    )
] + [
    (
        f"sub-openms12/ses-{session}/anat/sub-openms12_ses-{session}_label-brain_desc-{suffix}_mask",
        f"sub-openms12/ses-{session}/anat/sub-openms12_ses-{session}_acq-{suffix}_desc-brain_mask",
    )
    for session in (1, 2)
    for suffix in ("T1w", "T2w", "FLAIR")
]


def test_every_session_ends(shared_run: Run) -> None:
    assert shared_run.code == 0, shared_run.text
    assert "6 sessions finished" in shared_run.text


def test_every_accepted_series_is_done(shared_run: Run) -> None:
    rows = [row for table in shared_run.output.glob("sub-*/**/*_series.tsv") for row in series_table(table)]
    assert sum(row["status"] == "done" for row in rows) == 18
    rejected = {row["series"] for row in rows if row["status"] == "rejected"}
    assert rejected == {"sub-xa30_FA", "sub-xa30_rec-computed_ADC"}  # nothing tells its b-value
    assert all(row["reason"] != "n/a" for row in rows if row["status"] == "rejected")


@pytest.mark.parametrize(("ours", "reference"), MASKS, ids=[ours.split("/")[-1] for ours, _ in MASKS])
def test_masks_agree_with_the_references(shared_run: Run, shared: Path, ours: str, reference: str) -> None:
    mask = nib.load(shared_run.output / f"{ours}.nii.gz").get_fdata()
    folder = shared / "data" / "derivatives" / "reference"
    wanted = binary_fill_holes(nib.load(folder / f"{reference}.nii.gz").get_fdata() > 0)  # openms12's have holes
    assert dice(mask, np.asarray(wanted)) >= 0.93


def test_no_voxel_of_the_reference_brains_is_removed_with_the_face(shared_run: Run, shared: Path) -> None:
    for ours, reference in MASKS:
        face = nib.load(shared_run.output / f"{ours}.nii.gz".replace("label-brain", "label-face")).get_fdata() > 0
        folder = shared / "data" / "derivatives" / "reference"
        image = nib.load(folder / f"{reference}.nii.gz")
        brain = np.asarray(binary_fill_holes(image.get_fdata() > 0))
        edges = image.header.get_zooms()[:3]
        lost_ml = (_without_outgrowths(brain, edges) & face).sum() * np.prod(edges) / 1000
        assert lost_ml <= 0.03, ours  # the rest of the mucosa: one voxel in 50,000


def _without_outgrowths(brain: np.ndarray, spacing_mm: tuple[float, ...], radius_mm: float = 3.0) -> np.ndarray:
    """A reference mask opened by a ball: five of openms12's take in mucosa of the ethmoid, a thin one."""
    core = distance_transform_edt(brain, sampling=spacing_mm) > radius_mm
    return brain & (distance_transform_edt(~core, sampling=spacing_mm) <= radius_mm)
