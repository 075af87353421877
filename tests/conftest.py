"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real heads, label maps and models beside the checkout; tests that need it skip without it."""
    if not (SHARED / "data" / "dataset_description.json").is_file():
        pytest.skip("no ../shared beside the checkout: real heads, label maps and models are not tested")
    return SHARED


#: Tests that look at the same long runs, which each process of a parallel test run would otherwise make anew.
_OF_WHOLE_RUNS = {"test_demo", "test_bids", "test_real_heads"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What shares fixtures stays in one process: a file's tests, and those of the long runs."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0])
            return "whole runs" if file.stem in _OF_WHOLE_RUNS else str(file)

    return Together(config, log)
