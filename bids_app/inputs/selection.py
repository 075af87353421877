"""Which part of a dataset a run takes, and by which rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_app.inputs.acceptance import Rule


@dataclass(frozen=True)
class Selection:
    """Which part of a dataset is walked, and by which rule series are accepted.

    Labels come with or without their prefix. `shard` (I, N) counts from 1. `database_dir` is where a pybids database
    is, or will be made, to answer `filters`; without filters it is not opened. `b_value` (s/mm^2) holds for diffusion
    images that do not tell theirs, `lesions` is a folder of lesion masks.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shard: tuple[int, int] = (1, 1)
    acceptance: Rule = "lenient"
    database_dir: Path | None = None
    b_value: float | None = None
    lesions: Path | None = None
