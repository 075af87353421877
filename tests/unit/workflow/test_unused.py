"""Given masks that belong to no image are named, where the whole dataset was walked."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import Nifti, write_tree

from bids_app.inputs.dataset import Selection, open_dataset, walk
from bids_app.settings import Settings
from bids_app.workflow.context import Extraction, RunContext
from bids_app.workflow.unused import Unused


def _told(tmp_path: Path, selection: Selection) -> list[str]:
    images = {f"sub-01/ses-1/anat/sub-01_ses-1_{suffix}.nii.gz": Nifti() for suffix in ("T1w", "FLAIR")}
    refused = {"sub-02/anat/sub-02_T1w.nii.gz": Nifti(shape=(20, 22, 2))}
    root = write_tree(tmp_path / "data", {**images, **refused})
    lesions = {name: Nifti(fill=1) for name in (
        "sub-01_ses-1_label-lesion_mask.nii.gz", "sub-01_label-lesion_mask.nii.gz", "sub-03_lesion.nii.gz"
    )}  # fmt: skip
    folder = write_tree(tmp_path / "lesions", lesions, described=False)
    masks = {name: tmp_path / f"{name}_mask" for name in ("sub-01_ses-1_T1w", "sub-01_T1w", "sub-02_T1w", "sub-4_T1w")}
    method = Extraction("template")
    unused = Unused.of(
        RunContext(Settings(root, tmp_path / "out", lesions=folder), {}, method, method, given_masks=masks), selection
    )
    for session in walk(open_dataset(root), selection):
        unused.walked(session)
    return unused.in_words()


def test_what_belongs_to_no_image_is_named(tmp_path: Path) -> None:
    masks, lesions = _told(tmp_path, Selection())
    assert masks.startswith("Note: of --masks")
    assert masks.endswith("not used: sub-01_T1w_mask, sub-4_T1w_mask")  # not that of a refused image
    assert lesions.startswith("Note: of --lesions")
    assert lesions.endswith("not used: sub-01_label-lesion_mask.nii.gz, sub-03_lesion.nii.gz")


@pytest.mark.parametrize(
    "selection",
    [Selection(participants=("01",)), Selection(sessions=("1",)), Selection(filters={"t1w": {"suffix": "T1w"}}),
     Selection(shard=(1, 2))],
    ids=str,
)  # fmt: skip
def test_what_the_walk_leaves_out_by_choice_is_missed_by_nobody(tmp_path: Path, selection: Selection) -> None:
    assert _told(tmp_path, selection) == []
