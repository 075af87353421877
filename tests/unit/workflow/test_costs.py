"""The cost model: fitted to known lines, written and read, and found where it should be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bids_app.inputs.errors import InputError
from bids_app.settings import BRAIN_EXTRACTIONS, STEPS, Settings
from bids_app.workflow.calibrate import Calibration, write_costs
from bids_app.workflow.costs import FILE, Cost, Sample, find_costs, fit, read_costs


def test_a_fit_finds_a_known_line_in_noise() -> None:
    rng = np.random.default_rng(0)
    voxels = rng.uniform(0.2, 12, 60)
    noise = rng.normal(0, 0.1, 60)
    found = fit([Sample("x", v, 3 + 1.5 * v + n, 0.4 + 0.05 * v) for v, n in zip(voxels, noise, strict=True)])
    assert found.seconds == pytest.approx(3, abs=0.1)
    assert found.seconds_per_megavoxel == pytest.approx(1.5, abs=0.02)
    assert (found.memory_gb, found.memory_gb_per_megavoxel) == pytest.approx((0.4, 0.05), abs=1e-3)


def test_memory_is_an_envelope() -> None:
    samples = [Sample("x", float(v), 1.0, peak) for v, peak in enumerate((0.5, 0.9, 0.6, 0.8))]
    found = fit(samples)
    assert all(one.memory_gb <= found.memory_gb_of(one.megavoxels) + 1e-4 for one in samples)


def test_one_size_gives_a_constant_and_no_rate_is_below_zero() -> None:
    assert fit([Sample("x", 7.0, 2.0), Sample("x", 7.0, 4.0)]) == Cost(3.0)
    steep = fit([Sample("x", 1.0, 1.0), Sample("x", 2.0, 4.0)])  # the line through them begins below zero
    assert steep == Cost(0.0, 1.8)
    falling = fit([Sample("x", 1.0, 5.0), Sample("x", 2.0, 3.0)])
    assert falling.seconds_per_megavoxel == 0
    assert falling.seconds == pytest.approx(4.0)


def test_what_is_written_is_read_and_what_was_not_measured_stays(tmp_path: Path) -> None:
    new = Calibration({"mask:template": Cost(1.0, 2.0, 3.0, 4.0)}, {"mask:template": 8}, 1.25)
    write_costs(tmp_path / FILE, new, {"mask:synth": Cost(5.0), "mask:template": Cost(9.0)}, [2.0])
    model = read_costs(tmp_path / FILE)
    assert dict(model.costs) == {"mask:template": Cost(1.0, 2.0, 3.0, 4.0), "mask:synth": Cost(5.0)}
    measured = json.loads((tmp_path / FILE).read_text())["measured"]
    assert measured == {"spacings_mm": [2.0], "tasks": {"mask:template": 8}, "clock_over_processor": 1.25}


def test_a_model_is_found_by_name_then_at_home_then_as_it_ships(tmp_path: Path) -> None:
    settings = Settings(Path("/d"), Path("/o"), app_home=tmp_path)
    assert "ships" in find_costs(settings).source
    write_costs(tmp_path / FILE, Calibration({"bias": Cost(1.0)}, {}, 1.0), {}, [])
    assert find_costs(settings).costs["bias"] == Cost(1.0)
    write_costs(tmp_path / "other.json", Calibration({"bias": Cost(2.0)}, {}, 1.0), {}, [])
    assert find_costs(settings, tmp_path / "other.json").costs["bias"] == Cost(2.0)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, 66),
        ("", 64),
        ("[]", 64),
        ('{"costs": 3}', 64),
        ('{"costs": {"bias": {"hours": 1}}}', 64),
        ('{"costs": {"bias": {"seconds": "x"}}}', 64),
        ('{"costs": {"bias": {"seconds": -1}}}', 64),
        ('{"costs": {"bias": {"seconds": NaN}}}', 64),
    ],
)
def test_no_cost_model(tmp_path: Path, content: str | None, code: int) -> None:
    path = tmp_path / "c.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="cost model") as error:
        read_costs(path)
    assert error.value.code == code


def test_what_ships_knows_every_step_and_every_way_to_a_mask() -> None:
    costs = find_costs(Settings(Path("/data"), Path("/out"))).costs
    tasks = set(STEPS) - {"mask", "atlas", "report", "template"}  # a template is registrations
    assert tasks <= set(costs)
    ways = (set(BRAIN_EXTRACTIONS) | {"precomputed", "shared"}) - {"auto", "hd-bet"}
    assert {f"mask:{way}" for way in ways} <= set(costs)
    assert {f"atlas:{kind}" for kind in ("rigid", "affine", "syn")} <= set(costs)
