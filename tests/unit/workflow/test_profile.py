"""The table of where a run's seconds went."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bids_app.workflow.profile import Profile, TaskTime


def test_sessions_and_pages_are_counted_and_told_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = Profile.of_shard(tmp_path, (1, 1))
    tasks = (TaskTime("bias/sub-1_T1w", 2.0, 0.5, 2.4, 0.3), TaskTime("bias/sub-1_T2w", 1.0, 0.5, 1.4, 0.3))
    profile.add("sub-1", 4.5, tasks)
    profile.add_page("sub-1", TaskTime("report/sub-1", 5.0, 0.1, 4.9))

    rows = [line.split("\t") for line in (tmp_path / "logs" / "profile.tsv").read_text().splitlines()]
    seconds = {row[1]: row[2] for row in rows[1:]}
    assert seconds == {"bias/sub-1_T1w": "2.500", "bias/sub-1_T2w": "1.500", "n/a": "4.500", "report/sub-1": "5.100"}
    assert rows[3][rows[0].index("other_s")] == "0.500"
    profile.tell(Console())
    told = capsys.readouterr().out.splitlines()
    assert told[0].split()[:2] == ["bias", "4.0"]
    assert told[1].split()[:2] == ["report", "5.1"]
    assert told[2].split()[:3] == ["no", "task", "0.5"]
