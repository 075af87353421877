"""An output that cannot be used is told before the first minute of work, with what to do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from bids_app.exit_codes import CANNOT_CREATE
from bids_app.settings import Settings
from bids_app.workflow import prepare
from bids_app.workflow.prepare import SetupError, create_output


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
