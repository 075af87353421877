"""The thickness of a shell, from its files to the table; nothing without tissue or where the voxels are long."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bids_app.assets.parcellations import Parcellation
from bids_app.steps.brain_mask.synth import classes_table
from bids_app.steps.images import like
from bids_app.steps.regions import Region
from bids_app.workflow.interfaces.morphometry import Thickness, Vbm, implausible
from tests.unit.steps.test_thickness import shell


def _thickness(folder: Path, grey: Any, white: Any) -> Thickness:
    """An interface on the files of a shell that is cortex, left and right, and regions 5 (left) and 6 (both sides)."""
    index = {name: number for number, name in classes_table()}
    left = np.indices(grey.shape)[0] < grey.shape[0] // 2
    structures = np.where(left, index["left cortex"], index["right cortex"]).astype(np.uint8)
    low = np.indices(grey.shape)[2] < grey.shape[2] // 2
    regions = np.where(low, np.where(left, 5, 0), 6).astype(np.int32)
    images = {"probseg_gm": grey, "probseg_wm": white, "segmentation": structures, "parcellation": regions}
    task = SimpleNamespace(series=SimpleNamespace(name="sub-01_T1w"), parameters={}, step="thickness", targets={})
    found = Parcellation(
        "Two", Path("two.nii.gz"), (Region(5, "low", "left"), Region(6, "high")), None, "", "two.nii.gz"
    )
    context = SimpleNamespace(parcellation=found, versions={"thickness": "1"})
    result = Thickness(task=task, context=context, failures=str(folder))
    for name, content in images.items():
        image = like(content, grey) if isinstance(content, np.ndarray) else content
        image.to_filename(folder / f"{name}.nii.gz")
        setattr(result.inputs, name, str(folder / f"{name}.nii.gz"))
    return result


def test_the_table_has_the_thickness_of_hemispheres_and_regions(tmp_path: Path) -> None:
    made, facts = _thickness(tmp_path, *shell(30, 8.0, 3.0)).compute()
    rows = [line.split("\t") for line in made["thickness_stats"][0].decode().splitlines()]
    assert [row[:4] for row in rows[1:]] == [
        ["cortex", "n/a", "cerebral cortex", "left"], ["cortex", "n/a", "cerebral cortex", "right"],
        ["Two", "5", "low", "left"], ["Two", "6", "high", "left"], ["Two", "6", "high", "right"],
    ]  # fmt: skip
    for row in rows[1:]:
        assert float(row[5]) == pytest.approx(3.0, abs=0.3)
    assert facts["thickness_left_mm"] == pytest.approx(facts["thickness_right_mm"], abs=0.05)
    assert set(made["thickness_stats"][1]) == set(rows[0])  # the data dictionary has every column
    assert made["thickness"][1]["Method"]["Units"] == "mm"


def test_long_voxels_have_no_thickness_and_say_why(tmp_path: Path) -> None:
    made, facts = _thickness(tmp_path, *shell(12, 6.0, 6.0, edge_mm=2.0)).compute()
    assert made == {}
    assert "up to 2 mm long" in facts["thickness_gate"]


def test_without_tissue_nothing_is_made(tmp_path: Path) -> None:
    interface = Vbm(task=SimpleNamespace(targets={}), context=None, failures=str(tmp_path))
    interface.inputs.probseg_gm = str(tmp_path / "never.nii.gz")
    assert interface.compute() == ({}, {"tissue_gate": "it has no tissue segmentation"})


@pytest.mark.parametrize(
    ("means", "said"), [((2.5, 2.6), ""), ((4.6, 2.5), "4.6 and 2.5 mm"), ((2.4, None), "2.4 and none")]
)
def test_a_thickness_that_no_adult_has_is_warned_of(means: tuple[float | None, ...], said: str) -> None:
    problem = implausible(means)
    assert bool(problem) == bool(said)
    assert said in problem
