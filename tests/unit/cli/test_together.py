"""Options that would do nothing are refused on the command line, and suffered in a file, which serves all levels."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli_w

from bids_app.cli.parser import build_parser
from bids_app.cli.settings import Command, UsageError, command_from


def _command(*words: str) -> Command:
    return command_from(build_parser().parse_args(["in", "out", *words]), {})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("group --dry-run", "--dry-run goes with the levels participant and export"),
        ("group --participant-label 01", "--participant-label goes with the level participant"),
        ("group --session-label 1", "--session-label goes with the level participant"),
        ("group --shard 1/2", "--shard goes with the level participant"),
        ("group --bids-filter-file f", "--bids-filter-file goes with the level participant"),
        ("group --format slices", "--format goes with the level export"),
        ("group --profile-only --maps", "--maps goes with images that were processed"),
        ("group --profile-only --densenet-weights f", "--densenet-weights goes with images that were processed"),
        ("participant --maps", "--maps goes with the level group"),
        ("participant --learn-nyul", "--learn-nyul goes with the level group"),
        ("participant --compare sex", "--compare goes with the level group"),
        ("participant --json", "--json goes with --dry-run"),
        ("participant --nodes 3", "--nodes goes with --dry-run"),
        ("participant --plan-sessions 3", "--plan-sessions goes with --dry-run"),
        ("participant --cost-model f", "--cost-model goes with --dry-run"),
        ("export --format slices --dry-run --json", "--json goes with --dry-run of the level participant"),
        ("participant --smoothing-fwhm 6", "--smoothing-fwhm goes with --vbm"),
        ("participant --modulation nonlinear", "--modulation goes with --vbm"),
        ("participant --isotropic-mm 2", "--isotropic-mm goes with --isotropic anisotropic"),
    ],
)
def test_what_would_do_nothing_is_told(words: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        _command(*words.split())
    assert caught.value.code == 64


@pytest.mark.parametrize(
    "words",
    [
        "participant --dry-run --json --nodes 3 --plan-sessions 4 --cost-model f",
        "export --format slices --dry-run --participant-label 01",
        "group --maps --compare sex --learn-nyul",
        "participant --vbm --smoothing-fwhm 6 --modulation nonlinear",
        "participant --steps mask deface --smoothing-fwhm 6",
        "participant --steps vbm --smoothing-fwhm 6",
        "participant --isotropic always --isotropic-mm 2",
    ],
)
def test_what_goes_together(words: str) -> None:
    assert _command(*words.split())


@pytest.mark.parametrize("level", ["participant", "group"])
def test_a_file_may_hold_what_a_level_has_no_use_for(tmp_path: Path, level: str) -> None:
    content = {"maps": True, "json": True, "shard": "1/2", "participant-label": ["01"], "smoothing-fwhm": 6.0}
    (tmp_path / "c.toml").write_text(tomli_w.dumps({**content, "isotropic-mm": 2.0, "format": "slices"}))
    assert _command(level, "--config-file", str(tmp_path / "c.toml"))


def test_a_dry_run_in_a_file_writes_no_group_files(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("dry-run = true")
    with pytest.raises(UsageError, match="the group level has none"):
        _command("group", "--config-file", str(tmp_path / "c.toml"))
