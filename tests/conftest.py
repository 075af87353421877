"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares fixtures stays in one process: a file's tests, and those of the long runs."""
    for item in items:
        group = "whole runs" if item.path.stem in _OF_WHOLE_RUNS else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
