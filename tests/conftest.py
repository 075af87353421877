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
