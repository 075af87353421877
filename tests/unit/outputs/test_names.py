"""Names of derivatives against the entity order of the BIDS schema and the examples of the design."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from bids_app.outputs.names import ENTITY_ORDER, file_name, sidecar_of

CASES = [
    ([("sub", "01")], {"desc": "defaced"}, "T1w", ".nii.gz", "sub-01/anat/sub-01_desc-defaced_T1w.nii.gz"),
    (
        [("sub", "01"), ("ses", "2"), ("acq", "x"), ("run", "1")],
        {"space": "T1w", "desc": "brainzscore"},
        "FLAIR",
        ".nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_acq-x_run-1_space-T1w_desc-brainzscore_FLAIR.nii.gz",
    ),
    (
        [("sub", "01"), ("ce", "gd")],
        {"space": "MNI152NLin2009aSym", "res": "1", "label": "brain", "desc": "T1w"},
        "mask",
        ".nii.gz",
        "sub-01/anat/sub-01_ce-gd_space-MNI152NLin2009aSym_res-1_label-brain_desc-T1w_mask.nii.gz",
    ),
    (
        [("sub", "01")],
        {"from": "FLAIR", "to": "T1w", "mode": "image"},
        "xfm",
        ".mat",
        "sub-01/anat/sub-01_from-FLAIR_to-T1w_mode-image_xfm.mat",
    ),
]


@pytest.mark.parametrize(("entities", "added", "suffix", "extension", "expected"), CASES)
def test_name_is_the_one_of_the_design(
    entities: list[tuple[str, str]], added: dict[str, str], suffix: str, extension: str, expected: str
) -> None:
    assert file_name(entities, added, suffix, extension) == PurePosixPath(expected)


def test_order_is_that_of_the_bids_schema() -> None:
    schema = pytest.importorskip("bidsschematools.schema").load_schema()
    wanted = [schema["objects"]["entities"][name]["name"] for name in schema["rules"]["entities"]]
    ours = [key for key in ENTITY_ORDER if key in wanted]
    assert ours == [key for key in wanted if key in ours]


def test_an_entity_that_we_do_not_know_is_kept() -> None:
    name = file_name([("sub", "01"), ("new", "thing")], {"desc": "preproc"}, "T1w", ".nii.gz").name
    assert name == "sub-01_new-thing_desc-preproc_T1w.nii.gz"


@pytest.mark.parametrize("extension", [".nii.gz", ".mat", ".h5"])
def test_sidecar_has_the_same_stem(extension: str) -> None:
    path = PurePosixPath(f"sub-01/anat/sub-01_T1w{extension}")
    assert sidecar_of(path) == PurePosixPath("sub-01/anat/sub-01_T1w.json")
