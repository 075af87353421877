"""Runs that several end-to-end tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import Run, bids_app

from bids_app.inputs.demo import write_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo dataset as `bids_app demo` writes it."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    write_demo(folder)
    return folder


@pytest.fixture(scope="session")
def demo_run(demo: Path) -> Run:
    """The demo dataset processed with the defaults."""
    return bids_app(demo, demo.parent / "out")


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo dataset at 3 mm, for what does not depend on accuracy."""
    folder = tmp_path_factory.mktemp("small") / "demo"
    write_demo(folder, spacing_mm=3.0)
    return folder


@pytest.fixture(scope="session")
def shared_run(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All real heads, processed with the defaults."""
    return bids_app(shared / "data", tmp_path_factory.mktemp("shared") / "out")
