"""The last words of a run and its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bids_app.settings import Settings
from bids_app.workflow.account import Account, closing


@pytest.mark.parametrize(
    ("shard", "subjects", "code"), [((1, 1), ["01"], 18), ((2, 3), [], 0), ((2, 3), ["01"], 0)], ids=str
)
def test_only_a_whole_dataset_without_images_is_an_error(
    shard: tuple[int, int], subjects: list[str], code: int
) -> None:
    settings = Settings(Path("/d"), Path("/nowhere"), shard=shard)
    assert closing(Account(), subjects, settings, Console(quiet=True)) == code
