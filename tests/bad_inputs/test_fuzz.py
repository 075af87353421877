"""Random damage of headers, images and sidecars: no error but ours, and no more memory than the file can need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bad_inputs.fuzz import fuzz

#: Seconds of the long one: ten minutes, unless said otherwise.
LONG_S = float(os.environ.get("BIDS_APP_FUZZ_SECONDS", "600"))


def test_a_few_seconds_of_damage(tmp_path: Path) -> None:
    counts = fuzz(6, seed=1, folder=tmp_path)
    assert counts["files"] > 50


@pytest.mark.slow
def test_ten_minutes_of_damage(tmp_path: Path) -> None:
    counts = fuzz(LONG_S, seed=20261120, folder=tmp_path)
    print(dict(sorted(counts.items())))
    assert counts["nii.gz: read"] > 0 < counts["nii.gz: header refused"]
