from __future__ import annotations

from pathlib import Path

import pytest
from trees import Nifti, write_tree

from bids_app.inputs.dataset import open_dataset, walk
from bids_app.inputs.metadata import read_json_object


@pytest.mark.parametrize(
    ("content", "value", "warning"),
    [
        (b'{"a": 1}', {"a": 1}, None),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}, None),
        ('{"a": "é"}'.encode("utf-16"), {"a": "é"}, None),
        ('{"a": "é"}'.encode("latin-1"), {"a": "é"}, "Latin-1"),
        (b"", {}, "empty"),
        (b"  \n", {}, "empty"),
        (b'{"a": 1', {}, "not valid JSON"),
        (b"[1, 2]", {}, "no JSON object"),
        (b"null", {}, "no JSON object"),
        (b"[" * 100_000, {}, "not valid JSON"),
        (b"\xff\xfe\x00", {}, "not valid JSON"),
        (b'{"a": NaN}', None, None),
    ],
)
def test_a_bad_sidecar_is_a_warning(
    tmp_path: Path, content: bytes, value: dict[str, object] | None, warning: str | None
) -> None:
    (tmp_path / "a.json").write_bytes(content)
    found, problem = read_json_object(tmp_path / "a.json")
    if value is not None:
        assert found == value
    assert (problem is None) == (warning is None)
    if warning:
        assert warning in (problem or "")


def test_a_sidecar_that_was_not_fetched_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("nowhere")
    found, problem = read_json_object(tmp_path / "a.json")
    assert found == {}
    assert "datalad get" in (problem or "")


def test_inheritance_at_every_level(tmp_path: Path) -> None:
    anat = "sub-01/ses-1/anat/sub-01_ses-1"
    write_tree(
        tmp_path,
        {
            "T1w.json": {"root": 1, "level": "root"},
            "acq-x_T1w.json": {"root_x": 1, "level": "root x"},
            "T2w.json": {"other": 1},
            "task-rest_bold.json": {"other": 1},
            "sub-01/sub-01_T1w.json": {"subject": 1, "level": "subject"},
            "sub-01/ses-1/sub-01_ses-1_T1w.json": {"session": 1, "level": "session"},
            "sub-01/ses-1/sub-01_ses-1_run-2_T1w.json": {"run2": 1},
            f"{anat}_acq-x_run-1_T1w.json": {"own": 1, "level": "own"},
            f"{anat}_acq-x_run-1_T1w.nii.gz": Nifti(),
            f"{anat}_acq-x_run-2_T1w.nii.gz": Nifti(),
            f"{anat}_run-2_T1w.nii.gz": Nifti(),
        },
    )
    (session,) = walk(open_dataset(tmp_path))
    found = {one.name.removeprefix("sub-01_ses-1_"): one.metadata for one in session.series}
    upper = {"root": 1, "subject": 1, "session": 1}
    assert found == {
        "acq-x_run-1_T1w": {**upper, "root_x": 1, "own": 1, "level": "own"},
        "acq-x_run-2_T1w": {**upper, "root_x": 1, "run2": 1, "level": "session"},
        "run-2_T1w": {**upper, "run2": 1, "level": "session"},
    }


def test_the_warning_names_the_file(tmp_path: Path) -> None:
    write_tree(tmp_path, {"sub-01/anat/sub-01_T1w.nii.gz": Nifti(), "sub-01/anat/sub-01_T1w.json": "{"})
    (session,) = walk(open_dataset(tmp_path))
    (one,) = session.series
    assert one.metadata == {}
    assert one.warnings[0].startswith("sub-01/anat/sub-01_T1w.json: it is not valid JSON")
