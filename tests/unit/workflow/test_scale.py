"""Many sessions: shards make one whole, finished ones are known without their images, nothing is kept of past ones."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from processes import tree_of
from trees import Nifti, write_tree
from trivial_steps import finish

from bids_app.cli.main import run
from bids_app.inputs import content
from bids_app.inputs.dataset import Selection, open_dataset, walk
from bids_app.workflow.session import finished_session

TESTS = Path(__file__).parents[2]
WORDS = ("--nprocs", "1", "--brain-extraction", "template", "--steps", "mask", "deface", "bias", "coregister")


def _dataset(root: Path, subjects: int, *suffixes: str) -> Path:
    Nifti().write(root.parent / "image.nii.gz")
    image = (root.parent / "image.nii.gz").read_bytes()
    names = [
        f"sub-{number:03d}/anat/sub-{number:03d}_{suffix}.nii.gz" for number in range(subjects) for suffix in suffixes
    ]
    return write_tree(root, dict.fromkeys(names, image))


def _start(root: Path, output: Path, *words: str) -> subprocess.Popen[bytes]:
    code = "import sys, os, trivial_steps; trivial_steps.take_over(); from bids_app.cli.main import run; "
    code += "sys.exit(run(sys.argv[1:], os.environ))"
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code, str(root), str(output), "participant", *WORDS, *words]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL)


def test_four_shards_at_once_leave_what_one_run_leaves(tmp_path: Path) -> None:
    root = _dataset(tmp_path / "data", 8, "T1w", "T2w")
    assert _start(root, tmp_path / "one").wait() == 0
    shards = [_start(root, tmp_path / "four", "--shard", f"{number}/4") for number in range(1, 5)]
    assert [process.wait() for process in shards] == [0] * 4
    one, four = tree_of(tmp_path / "one"), tree_of(tmp_path / "four")
    # the settings name the shard, and the root's manifest has the settings' hash
    differing = {name for name in one | four if one.get(name) != four.get(name)}
    assert differing <= {"logs/settings.toml", "logs/manifest.json"}
    assert sum(name.endswith("manifest.json") for name in four) == 9


def test_the_dry_runs_of_all_shards_are_that_of_the_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = _dataset(tmp_path / "data", 30, "T1w", "FLAIR")

    def told(*words: str) -> dict[str, object]:
        code = run([str(root), str(tmp_path / "out"), "participant", "--dry-run", "--json", *words], {})
        assert code == 0
        return json.loads(capfd.readouterr().out)

    whole = told("--nodes", "1,3", "--plan-sessions", "3000")
    parts = [told("--shard", f"{number}/3") for number in (1, 2, 3)]
    sessions = sorted((one for part in parts for one in part["sessions"]), key=lambda one: one["participant"])  # type: ignore[attr-defined, index]
    assert sessions == whole["sessions"]
    assert len(sessions) == 30
    for name in ("sessions", "series", "input_bytes", "output_files"):
        assert sum(part["total"][name] for part in parts) == whole["total"][name]  # type: ignore[index]
    assert whole["total"]["input_bytes"] == sum(path.stat().st_size for path in root.rglob("*.nii.gz"))  # type: ignore[index]
    assert whole["plan"]["sessions"] == 3000  # type: ignore[index]
    # sessions alike are planned once: what is told of one is what is told of it alone
    assert told("--participant-label", "017")["sessions"] == whole["sessions"][17:18]  # type: ignore[index]
    one = whole["sessions"][0]  # type: ignore[index]
    assert one["seconds_one_core"] > 0
    assert set(one["steps"]) == set(one["tasks"])
    assert all(step["seconds"] > 0 and step["memory_gb"] > 0 for step in one["steps"].values())


def test_a_finished_session_is_known_without_reading_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bids_app.cli.parser import build_parser
    from bids_app.cli.settings import command_from
    from bids_app.workflow.prepare import prepare

    root, output = _dataset(tmp_path / "data", 5, "T1w", "T2w"), tmp_path / "out"
    assert finish(root, output, *WORDS) == 5

    def refuse(*_: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr(content, "read_image", refuse)
    monkeypatch.setattr("bids_app.workflow.session.file_sha256", refuse)
    arguments = build_parser().parse_args([str(root), str(output), "participant", *WORDS])
    context = prepare(command_from(arguments, {}).settings)
    results = [finished_session(session, context) for session in walk(open_dataset(root), Selection())]
    assert [one.unchanged for one in results if one is not None] == [7] * 5
    (root / "sub-002/anat/sub-002_T2w.nii.gz").touch()  # another time: it has to be read again
    results = [finished_session(session, context) for session in walk(open_dataset(root), Selection())]
    assert [one is None for one in results] == [False, False, True, False, False]


def test_the_walk_keeps_nothing_of_a_past_session(tmp_path: Path) -> None:
    root = _dataset(tmp_path / "data", 6, "T1w")
    past: list[weakref.ref[object]] = []
    for session in walk(open_dataset(root), Selection()):
        gc.collect()
        assert sum(one() is not None for one in past) <= 1  # the one before, until it is replaced
        past.append(weakref.ref(session))
    assert len(past) == 6
