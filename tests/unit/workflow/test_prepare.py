"""An output that cannot be used is told before the first minute of work, with what to do."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from trees import write_tree

from bids_app.exit_codes import CANNOT_CREATE
from bids_app.settings import Settings
from bids_app.workflow import prepare
from bids_app.workflow.prepare import SetupError, check_folders, create_output


def test_an_output_whose_logs_are_another_users_is_told_with_both_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(tmp_path / "in", tmp_path / "out")
    locks = settings.output_dir / "logs" / ".locks"
    locks.mkdir(parents=True)
    create_output(settings)

    def refuse(dir: Path, original=tempfile.TemporaryFile):
        if dir == locks:
            raise PermissionError(13, "Permission denied")
        return original(dir=dir)

    monkeypatch.setattr(prepare.tempfile, "TemporaryFile", refuse)
    owner = locks.stat().st_uid
    monkeypatch.setattr(prepare.os, "getuid", lambda: owner + 1)
    words = (
        rf"\(its folder logs/\.locks\) cannot be written to: Permission denied; it belongs to user {owner}, this run"
    )
    with pytest.raises(SetupError, match=words) as told:
        create_output(settings)
    assert told.value.code == CANNOT_CREATE


_TABLE = {"participants.tsv": "participant_id\nsub-01\n", "sub-01/anat/sub-01_desc-preproc_T1w.json": {}}


def _described(**fields: Any) -> dict[str, Any]:
    return {"dataset_description.json": {"Name": "x", "BIDSVersion": "1.10.0", **fields}}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (_described(DatasetType="derivative", GeneratedBy=[{"Name": "fMRIPrep"}]), "was made by fMRIPrep"),
        (_described(DatasetType="derivative"), "bids_app did not make"),
        ({}, "bids_app did not make"),
        ({"dataset_description.json": "{"}, "bids_app did not make"),
        (_described(GeneratedBy=[{"Name": "bids_app"}]), "holds a raw dataset"),
    ],
)
def test_the_output_of_another_pipeline_is_refused(tmp_path: Path, files: dict[str, Any], told: str) -> None:
    write_tree(tmp_path / "out", _TABLE | files, described=False)
    with pytest.raises(SetupError, match=told) as error:
        check_folders(Settings(tmp_path / "in", tmp_path / "out"))
    assert error.value.code == CANNOT_CREATE


@pytest.mark.parametrize(
    "files",
    [
        _described(DatasetType="derivative", GeneratedBy=[{"Name": "fMRIPrep"}, {"Name": "bids_app"}]),
        {"logs/manifest.json": {}},
    ],
)
def test_an_output_of_ours_is_taken_even_where_a_file_is_lost(tmp_path: Path, files: dict[str, Any]) -> None:
    write_tree(tmp_path / "out", _TABLE | files, described=False)
    check_folders(Settings(tmp_path / "in", tmp_path / "out"))


@pytest.mark.parametrize("files", [{}, {"notes.txt": "mine"}, _described(DatasetType="derivative")])
def test_a_folder_without_participants_is_taken(tmp_path: Path, files: dict[str, Any]) -> None:
    write_tree(tmp_path / "out", files, described=False)
    check_folders(Settings(tmp_path / "in", tmp_path / "out"))


@pytest.mark.parametrize("place", ["data", "data/tmp", "out/tmp", "link"])
@pytest.mark.parametrize("by", ["-w", "TMPDIR"])
def test_a_work_folder_in_the_dataset_or_the_output_is_refused(
    tmp_path: Path, place: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / place
    settings = Settings(tmp_path / "data", tmp_path / "out", work_dir=work if by == "-w" else None)
    for folder in (settings.bids_dir, settings.output_dir):
        (folder / "tmp").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data/tmp")
    if by == "TMPDIR":
        monkeypatch.setattr(prepare.tempfile, "gettempdir", lambda: str(work))
    with pytest.raises(SetupError, match="outside the dataset and the output") as told:
        check_folders(settings)
    assert told.value.code == CANNOT_CREATE


def test_a_work_folder_around_them_is_none_of_them(tmp_path: Path) -> None:
    check_folders(Settings(tmp_path / "data", tmp_path / "out", work_dir=tmp_path))
