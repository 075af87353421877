"""A series that sees less of the brain than the session's reference: what it did not see is no tissue."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from runs import Run, bids_app

NAME, ATLAS = "sub-02_ses-1", "space-MNI152NLin2009aSym_res-4"
CUT_MM = 60.0  # air above the head and the top of the brain


@pytest.fixture(scope="module")
def run(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The FLAIR of a session without the top of the head."""
    source = tmp_path_factory.mktemp("partial") / "data"
    shutil.copytree(small_demo, source)
    truth = Path("derivatives/truth/sub-02/ses-1/anat")
    for path in (
        Path(f"sub-02/ses-1/anat/{NAME}_FLAIR.nii.gz"),
        truth / f"{NAME}_label-brain_desc-FLAIR_mask.nii.gz",
    ):
        image = nib.load(source / path)
        codes = nib.aff2axcodes(image.affine)
        up = next(axis for axis, code in enumerate(codes) if code in "SI")
        voxels = round(CUT_MM / image.header.get_zooms()[up])
        kept = slice(None, -voxels) if codes[up] == "S" else slice(voxels, None)
        nib.save(image.slicer[tuple(kept if axis == up else slice(None) for axis in range(3))], source / path)
    done = bids_app(
        source, source.parent / "out", "--participant-label", "02", "--session-label", "1", "--masks",
        str(source / "derivatives" / "truth"), "--output-spaces", "MNI152NLin2009aSym:res-4", "--allow-face",
        "--steps", "default", "segment", "--normalize", "zscore", "whitestripe",
    )  # fmt: skip
    assert done.code == 0, done.text
    return done


@pytest.mark.parametrize("space", ["space-T1w", ATLAS])
@pytest.mark.parametrize("method", ["zscore", "whitestripe"])
def test_brain_that_was_not_scanned_is_background(run: Run, space: str, method: str) -> None:
    image = run.image(f"{NAME}_{space}_desc-preproc_FLAIR.nii.gz").get_fdata()
    normalised = run.image(f"{NAME}_{space}_desc-brain{method}_FLAIR.nii.gz").get_fdata()
    brain = run.image(f"{NAME}_{space}_label-brain_desc-T1w_mask.nii.gz").get_fdata() > 0
    unseen = brain & (image == 0)
    assert unseen.sum() > 0.03 * brain.sum()
    assert not normalised[unseen].any()
    assert not normalised[~brain].any()
    if method == "zscore":
        assert normalised[brain & ~unseen].mean() == pytest.approx(0, abs=0.1)
        assert normalised[brain & ~unseen].std() == pytest.approx(1, abs=0.25)  # the masks are not quite the same


def test_group_maps_count_the_images_that_show_a_voxel(run: Run) -> None:
    done = bids_app(run.source, run.output, "--maps", level="group")
    assert done.code == 0, done.text
    maps = run.output / "group_maps"
    assert not [path.name for path in maps.iterdir() if "tissue" in path.name]
    (path,) = maps.glob("*desc-brainzscore_stat-count_FLAIR.nii.gz")
    counted = np.asarray(nib.load(path).dataobj)
    seen = run.image(f"{NAME}_{ATLAS}_desc-preproc_FLAIR.nii.gz").get_fdata() != 0
    assert counted.max() == 1
    assert not counted[~seen].any()
