"""Lesion masks of a session: which are found, on which series they were drawn, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from trees import Nifti, oriented, packed, write_tree

from bids_app.inputs.dataset import Selection, open_dataset, walk
from bids_app.inputs.lesions import check_lesion, is_lesion_name
from bids_app.inputs.series import Session

IMAGE = Nifti(dtype="int16")


class Mask(Nifti):
    """A ball on the grid of `IMAGE`, or on one moved by `away_mm`."""

    def __init__(self, away_mm: float = 0.0, voxels: int = 40, **rest: Any) -> None:
        super().__init__(dtype="uint8", **rest)
        object.__setattr__(self, "_away", away_mm)
        object.__setattr__(self, "_voxels", voxels)

    def image(self) -> Any:
        data = np.zeros(self.shape, np.uint8)
        data.ravel()[4000 : 4000 + self._voxels] = 1  # type: ignore[attr-defined]
        affine = oriented("RAS", self.spacing)
        affine[0, 3] = self._away  # type: ignore[attr-defined]
        return nib.Nifti1Image(data, affine)


def _walk(tmp_path: Path, files: dict[str, Any], given: dict[str, Any] | None = None) -> Session:
    root = write_tree(tmp_path / "data", files)
    folder = write_tree(tmp_path / "lesions", given) if given else None
    (session,) = walk(open_dataset(root), Selection(b_value=1000.0, lesions=folder))
    return session


BOTH = {
    "sub-01/dwi/sub-01_S0map.nii.gz": IMAGE,
    "sub-01/dwi/sub-01_trace.nii.gz": IMAGE,
    "sub-01/anat/sub-01_FLAIR.nii.gz": Nifti(shape=(30, 30, 20), dtype="int16"),
}


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("sub-01/dwi/sub-01_label-lesion_mask.nii.gz", "sub-01_trace"),
        ("sub-01/dwi/sub-01_label-lesion_roi.nii.gz", "sub-01_trace"),
        ("sub-01/dwi/sub-01_label-lesion_desc-S0map_mask.nii.gz", "sub-01_S0map"),
        ("sub-01/anat/sub-01_label-lesion_desc-FLAIR_mask.nii.gz", "sub-01_FLAIR"),
        ("sub-01/anat/sub-01_label-lesion_roi.nii.gz", "sub-01_trace"),  # by its grid
        ("sub-01/dwi/sub-01_desc-infarct_mask.nii.gz", "sub-01_trace"),
    ],
)
def test_masks_beside_the_images_are_found(tmp_path: Path, name: str, series: str) -> None:
    session = _walk(tmp_path, {**BOTH, name: Mask()})
    assert [(lesion.relative, lesion.series) for lesion in session.lesions] == [(name, series)]
    assert name not in {one.relative for one in session.rejected}
    assert "sub-01_S0map" in {one.name for one in session.series}


def test_a_mask_named_for_another_participant_or_session_is_refused_as_an_image_is(tmp_path: Path) -> None:
    folder = "sub-01/ses-1/anat"
    others = [f"{folder}/sub-01_ses-2_lesion.nii.gz", f"{folder}/sub-02_ses-1_label-lesion_mask.nii.gz"]
    mine = [f"{folder}/sub-01_ses-1_desc-lesion_mask.nii.gz", f"{folder}/sub-01_lesion.nii.gz"]
    files = {f"{folder}/sub-01_ses-1_FLAIR.nii.gz": IMAGE, **dict.fromkeys([*others, *mine], Mask())}
    session = _walk(tmp_path, files)
    assert sorted(one.relative for one in session.lesions) == sorted(mine)
    assert sorted(one.relative for one in session.rejected) == others


def test_masks_of_a_folder_are_found_by_participant(tmp_path: Path) -> None:
    given = {
        "sub-01/ses-1/sub-01_msk.nii.gz": Mask(),
        "sub-01_label-brain_mask.nii.gz": Mask(),
        "sub-01_space-MNI152NLin2009aSym_label-lesion_mask.nii.gz": Mask(),
        "sub-02_label-lesion_mask.nii.gz": Mask(),
    }
    session = _walk(tmp_path, BOTH, given)
    assert [(lesion.relative, lesion.series) for lesion in session.lesions] == [("lesion:1", "sub-01_trace")]


@pytest.mark.parametrize(
    ("name", "lesion"),
    [
        ("sub-01_label-lesion_mask.nii.gz", True),
        ("sub-01_label-brain_mask.nii.gz", False),
        ("sub-01_T1w.nii.gz", False),
        ("sub-01_lesion.nii", True),
        ("sub-01_space-MNI_label-lesion_mask.nii.gz", False),
        ("sub-01_space-orig_label-lesion_mask.nii.gz", True),
    ],
)
def test_names(name: str, lesion: bool) -> None:
    assert is_lesion_name(name) == lesion


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (Mask(), None),
        (Mask(voxels=0), None),
        (Mask(away_mm=20.0, shape=(20, 22, 25)), None),  # another grid that overlaps
        (Mask(away_mm=900.0), "does not overlap"),
        (b"no image", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_mask(tmp_path: Path, mask: Any, reason: str | None) -> None:
    name = "sub-01/dwi/sub-01_label-lesion_desc-trace_mask.nii.gz"
    session = _walk(tmp_path, {**BOTH, name: mask})
    (lesion,) = session.lesions
    (series,) = [one for one in session.series if one.name == lesion.series]
    found = check_lesion(lesion, series)
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")


def _header(at: int, value: bytes) -> bytes:
    content = bytearray(Mask().image().to_bytes())
    content[at : at + len(value)] = value
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        packed(_header(70, (9999).to_bytes(2, "little"))),  # data type
        packed(_header(40, (9).to_bytes(2, "little"))),  # dimensions
        packed(_header(108, b"\x00\x00\xa0\xc1")),  # the voxels begin at -20
        packed(_header(0, b""))[:-20] + b"\x11" * 20,
        packed(_header(0, b""))[:-8] + b"\x00" * 8,  # another checksum
    ],
)
def test_a_broken_mask_is_told_and_ends_nothing(tmp_path: Path, content: bytes) -> None:
    session = _walk(tmp_path, {**BOTH, "sub-01/dwi/sub-01_label-lesion_mask.nii.gz": content})
    (lesion,) = session.lesions
    (series,) = [one for one in session.series if one.name == lesion.series]
    assert "cannot be read" in str(check_lesion(lesion, series))
