"""How a session's nodes are run, and what is told when none of them was."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bids_app.settings import Settings
from bids_app.workflow.session import _plugin


@pytest.mark.parametrize(("length", "way"), [(75, "forkserver"), (76, "spawn")])
def test_a_long_work_folder_needs_no_socket_in_it(length: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/".ljust(length, "x"))
    context: Any = SimpleNamespace(settings=Settings(Path("data"), Path("out")))
    plugin, arguments = _plugin(context, nprocs=2)
    assert plugin == "MultiProc"
    assert arguments["mp_context"] == way
    assert _plugin(context, nprocs=1)[0] == "Linear"
