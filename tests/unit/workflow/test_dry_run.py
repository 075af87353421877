"""What a dry run expects: the cost of HD-BET depends on the device and on mirroring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bids_app.inputs.series import Header, Series, Session
from bids_app.outputs.manifest import InputRecord, Manifest
from bids_app.settings import STEPS, Settings
from bids_app.workflow.context import Extraction, RunContext
from bids_app.workflow.dry_run import Estimate, estimate
from bids_app.workflow.graph import MEMORY_GB
from bids_app.workflow.plan import plan_session


def _estimate(extraction: Extraction) -> Estimate:
    header = Header((192, 192, 192), (1.0, 1.0, 1.0), "RAS", "axial", (192.0, 192.0, 192.0), "int16")
    relative = "sub-01/anat/sub-01_T1w.nii.gz"
    series = Series(Path("/d") / relative, relative, (("sub", "01"),), "T1w", "anat", ".nii.gz", header=header)
    settings = Settings(Path("/d"), Path("/nowhere"), steps=("mask",))
    context = RunContext(settings, dict.fromkeys(STEPS, "1"), extraction, extraction)
    inputs = {relative: InputRecord("s", "hash")}
    plan = plan_session(Session("01", None, (series,), ()), inputs, Manifest(), context)
    return estimate(plan, context)


def _seconds(extraction: Extraction) -> float:
    return _estimate(extraction).seconds


def test_hd_bet_costs_eight_times_as_much_with_mirroring_and_far_less_on_a_gpu() -> None:
    plain = Extraction("hd-bet", device="cpu")
    assert _seconds(replace(plain, mirroring=True)) == 8 * _seconds(plain)
    assert _seconds(replace(plain, device="cuda:1")) < _seconds(plain) / 10


def test_the_network_that_ships_costs_less_than_registration() -> None:
    assert _seconds(Extraction("synth")) < _seconds(Extraction("template"))


def test_memory_is_that_of_the_heaviest_task_left() -> None:
    assert _estimate(Extraction("synth")).memory_gb == MEMORY_GB["mask"]
    assert _estimate(Extraction("hd-bet", device="cpu")).memory_gb > MEMORY_GB["mask"]
