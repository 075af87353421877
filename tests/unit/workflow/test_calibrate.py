"""Calibrating: the way from the command to the file, with trivial steps on a small tree in the place of the heads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trees import Nifti, write_tree
from trivial_steps import nothing

from bids_app.cli.main import run
from bids_app.workflow import calibrate
from bids_app.workflow.interfaces import INTERFACES

NAMES = ("mask:template", "deface", "bias", "coregister", "atlas:rigid", "resample", "normalize", "measure")


def _tree(folder: Path, spacing_mm: float) -> None:
    edge = 8.0 * spacing_mm / 4
    image = Nifti((int(160 / edge), 22, 20), (edge, 8, 8))
    write_tree(folder, {f"sub-01/anat/sub-01_{suffix}.nii.gz": image for suffix in ("T1w", "FLAIR")})


def test_costs_are_measured_by_name_written_and_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for interface in INTERFACES.values():
        monkeypatch.setattr(interface, "compute", nothing)
    monkeypatch.setattr(calibrate, "write_demo", _tree)
    monkeypatch.setattr(calibrate, "write_page", lambda *_: None)
    monkeypatch.setattr(calibrate, "prepare_worker", lambda *_: None)
    home = {"BIDS_APP_HOME": str(tmp_path / "home")}
    words = ["calibrate", "--spacing-mm", "4", "2", "--brain-extraction", "template", "--steps", "default"]
    assert run(words, home) == 0
    said = capfd.readouterr().out
    written = json.loads((tmp_path / "home" / "costs.json").read_text())
    assert set(NAMES) <= set(written["measured"]["tasks"])
    assert written["measured"]["tasks"]["mask:template"] == 4  # two series at two voxel sizes
    assert all(name in said for name in NAMES)
    assert all(0 < written["costs"][name]["memory_gb"] < 16 for name in NAMES)  # of a process with its libraries
    assert written["costs"]["mask:synth"]["seconds"] > 0  # not measured now: what ships stays

    _tree(tmp_path / "data", 4)
    words = [str(tmp_path / "data"), str(tmp_path / "out"), "participant", "--dry-run", "--json"]
    assert run(words, home) == 0
    assert json.loads(capfd.readouterr().out)["total"]["cost_model"].endswith("costs.json")
