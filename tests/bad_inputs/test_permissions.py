"""Files and folders that this user may not read; run as root, the tests become nobody for a moment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bad_inputs.rows import GOOD
from trees import write_tree

from bids_app.inputs.content import check_content, file_sha256
from bids_app.inputs.dataset import open_dataset, walk
from bids_app.inputs.errors import InputError
from bids_app.inputs.series import Series

_NOBODY = 65534


@contextmanager
def without_privileges() -> Iterator[None]:
    """While it holds, the process may read what others may read and no more; skips where that cannot be arranged."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(_NOBODY)
    except OSError as error:
        pytest.skip(f"root, and cannot become nobody: {error}")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def root() -> Iterator[Path]:
    """A dataset of three participants in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        names = [f"sub-{label}/anat/sub-{label}_{suffix}.nii.gz" for label in "abc" for suffix in ("T1w", "T2w")]
        yield write_tree(Path(place, "data"), {**dict.fromkeys(names, GOOD), "sub-a/anat/sub-a_T1w.json": {"a": 1}})


def _found(root: Path) -> dict[str, Series]:
    list(walk(open_dataset(root)))  # what is imported late is imported as root
    with without_privileges():
        sessions = list(walk(open_dataset(root)))
    return {one.relative: one for session in sessions for one in (*session.series, *session.rejected)}


def test_an_image(root: Path) -> None:
    (root / "sub-a/anat/sub-a_T1w.nii.gz").chmod(0)
    found = _found(root)
    bad = found.pop("sub-a/anat/sub-a_T1w.nii.gz")
    assert (bad.unreadable, bad.rejection) == (
        True,
        "the file cannot be read: Permission denied; let the user of this process read it",
    )
    assert [one.accepted for one in found.values()] == [True] * 5


def test_an_image_that_is_closed_between_header_and_voxels(root: Path) -> None:
    series = _found(root)["sub-a/anat/sub-a_T1w.nii.gz"]
    assert series.accepted
    series.path.chmod(0)
    with without_privileges():
        assert check_content(series)[1] == (
            "the file cannot be read: Permission denied; let the user of this process read it"
        )
        with pytest.raises(PermissionError):
            file_sha256(series.path)


def test_a_sidecar(root: Path) -> None:
    (root / "sub-a/anat/sub-a_T1w.json").chmod(0)
    found = _found(root)
    assert all(one.accepted for one in found.values())
    assert found["sub-a/anat/sub-a_T1w.nii.gz"].warnings == (
        "sub-a/anat/sub-a_T1w.json: it cannot be read: Permission denied",
    )


@pytest.mark.parametrize("folder", ["sub-b", "sub-b/anat"])
def test_a_folder(root: Path, folder: str) -> None:
    (root / folder).chmod(0)
    try:
        found = _found(root)
    finally:
        (root / folder).chmod(0o755)
    bad = found.pop(folder)
    assert (bad.unreadable, bad.rejection) == (
        True,
        "cannot be read: Permission denied; let the user of this process read it",
    )
    assert [one.accepted for one in found.values()] == [True] * 4


def test_the_dataset(root: Path) -> None:
    root.chmod(0)
    try:
        with without_privileges(), pytest.raises(InputError, match="permission denied; let the user") as error:
            open_dataset(root)
    finally:
        root.chmod(0o755)
    assert error.value.code == 74


def test_the_description(root: Path) -> None:
    (root / "dataset_description.json").chmod(0)
    with without_privileges(), pytest.raises(InputError, match="it cannot be read: Permission denied") as error:
        open_dataset(root)
    assert error.value.code == 16
