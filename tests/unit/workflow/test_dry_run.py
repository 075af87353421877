"""What a dry run expects: the cost of HD-BET depends on the device and on mirroring, that of all steps on voxels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bids_app.inputs.series import Header, Series, Session
from bids_app.outputs.manifest import InputRecord, Manifest
from bids_app.settings import STEPS, Settings
from bids_app.workflow.capacity import Totals, blocks_of, plan_nodes
from bids_app.workflow.context import Extraction, RunContext
from bids_app.workflow.costs import Cost, CostModel, find_costs
from bids_app.workflow.dry_run import _duration, _size
from bids_app.workflow.estimate import Estimate, estimate
from bids_app.workflow.graph import MEMORY_GB
from bids_app.workflow.plan import SessionPlan, plan_session

SHIPPED = find_costs(Settings(Path("/d"), Path("/nowhere")))


def _context(extraction: Extraction, *steps: str) -> RunContext:
    settings = Settings(Path("/d"), Path("/nowhere"), steps=steps or ("mask",), nprocs=4)
    return RunContext(settings, dict.fromkeys(STEPS, "1"), extraction, extraction)


def _plan(context: RunContext, edge: int = 192) -> SessionPlan:
    header = Header((edge,) * 3, (1.0,) * 3, "RAS", "axial", (float(edge),) * 3, "int16")
    relative = "sub-01/anat/sub-01_T1w.nii.gz"
    series = Series(Path("/d") / relative, relative, (("sub", "01"),), "T1w", "anat", ".nii.gz", header=header)
    return plan_session(Session("01", None, (series,), ()), {relative: InputRecord("s", "hash")}, Manifest(), context)


def _estimate(extraction: Extraction, model: CostModel = SHIPPED) -> Estimate:
    context = _context(extraction)
    return estimate(_plan(context), context, model)


def _seconds(extraction: Extraction) -> float:
    return _estimate(extraction).steps["mask"].seconds


def test_hd_bet_costs_eight_times_as_much_with_mirroring_and_far_less_on_a_gpu() -> None:
    plain = Extraction("hd-bet", device="cpu")
    assert _seconds(replace(plain, mirroring=True)) == 8 * _seconds(plain)
    assert _seconds(replace(plain, device="cuda:1")) < _seconds(plain) / 10


def test_the_network_that_ships_costs_less_than_registration() -> None:
    assert _seconds(Extraction("synth")) < _seconds(Extraction("template"))


def test_memory_is_that_of_the_heaviest_task_left() -> None:
    assert _estimate(Extraction("synth")).memory_gb == MEMORY_GB["mask"]
    assert _estimate(Extraction("hd-bet", device="cpu")).memory_gb > MEMORY_GB["mask"]


def test_seconds_and_memory_are_those_of_the_model_at_the_voxels_of_the_series() -> None:
    model = CostModel({"mask:template": Cost(2.0, 0.5, 0.3, 0.1), "session": Cost(1.0)}, "a test")
    left = _estimate(Extraction("template"), model)
    megavoxels = 192**3 / 1e6
    assert left.steps["mask"].seconds == pytest.approx(2 + 0.5 * megavoxels)
    assert left.steps["mask"].memory_gb == pytest.approx(0.3 + 0.1 * megavoxels)
    assert left.seconds == pytest.approx(3 + 0.5 * megavoxels)  # and the session's own


def test_a_plan_on_nodes_has_gpu_and_processors_apart() -> None:
    model = CostModel({"mask": Cost(10.0), "deface": Cost(20.0), "bias": Cost(40.0), "session": Cost(5.0)}, "a test")
    context = _context(Extraction("hd-bet", device="cuda"), "mask", "deface", "bias")
    totals = Totals()
    for number in range(8):
        totals.add(str(number), 1, 0, estimate(_plan(context), context, model))
    first, second = blocks_of(totals, context, model)
    assert (first.cpu_seconds, first.gpu_seconds) == (8 * (20 + 5), 8 * 10)
    assert (second.cpu_seconds, second.gpu_seconds) == (8 * (40 + 5), 0)
    nodes = plan_nodes(totals, context, model, (2, 100), sessions=8000)
    assert nodes["sessions"] == 8000
    # a thousand times: 200,000 s on 2 x 4 processors, and the longest session, which is 10 + 20 + 40 + 5 s
    assert nodes["blocks"][0]["wall_hours_by_nodes"]["2"] == pytest.approx(
        (max(200_000 / 8, 80_000 / 2) + 75) / 3600, abs=1e-3
    )
    assert nodes["blocks"][1]["wall_hours_by_nodes"]["100"] == pytest.approx((360_000 / 400 + 75) / 3600, abs=1e-3)
    assert nodes["blocks"][0]["gpu_hours"] == pytest.approx(80_000 / 3600, abs=1e-3)


def test_nothing_to_do_costs_nothing() -> None:
    totals = Totals()
    context = _context(Extraction("template"), "bias")  # blocked: there is no mask and none is to be made
    plan = _plan(context)
    totals.add("01", 1, 0, estimate(replace(plan, todo=frozenset()), context, SHIPPED))
    assert (totals.todo, totals.seconds, totals.sessions) == (0, 0.0, 1)
    assert plan_nodes(totals, context, SHIPPED, (1,))["blocks"][1]["cpu_hours"] == 0


def test_durations_and_sizes_are_told_in_units_that_people_use() -> None:
    assert [_duration(seconds) for seconds in (3, 300, 7_000, 5_364_000)] == [
        "under a minute", "about 5 min", "about 117 min", "about 1,490 h",
    ]  # fmt: skip
    assert [_size(count) for count in (5 * 2**20, 30 * 2**30)] == ["5 MB", "30 GB"]
