"""Where the private work folder may lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_app.settings import Settings
from bids_app.workflow import work_folder
from bids_app.workflow.prepare import SetupError
from bids_app.workflow.work_folder import private_work_folder


@pytest.mark.parametrize("place", ["data", "data/tmp", "out/tmp", "link"])
def test_a_temporary_folder_in_the_dataset_or_the_output_is_refused(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(tmp_path / "data", tmp_path / "out")
    for folder in (settings.bids_dir, settings.output_dir):
        (folder / "tmp").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data/tmp")
    monkeypatch.setattr(work_folder.tempfile, "gettempdir", lambda: str(tmp_path / place))
    with pytest.raises(SetupError, match="outside the dataset and the output") as told, private_work_folder(settings):
        pass
    assert told.value.code == 73
    assert not list(tmp_path.rglob("bids_app-*"))


def test_a_temporary_folder_around_them_is_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_folder.tempfile, "gettempdir", lambda: str(tmp_path))
    with private_work_folder(Settings(tmp_path / "data", tmp_path / "out")) as work:
        assert work.parent == tmp_path
