"""The table of volumes: its numbers are those of the tasks, and pandas reads it with the documented types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bids_app.inputs.reference import Reference
from bids_app.inputs.series import Series, Session
from bids_app.outputs.manifest import Manifest, TaskRecord
from bids_app.outputs.volumes_table import VOLUME_COLUMNS, write_volumes_table

NAME = "sub-01_ses-a_T1w"
SYNTH = {"left_cortex": 250.5, "right_cortex": 249.25, "brain_stem": 20.0}
TISSUE = [
    {"method": "tissue", "structure": "GM", "hemisphere": "both", "volume_ml": 650.125},
    {"method": "tissue", "structure": "lateral ventricle", "hemisphere": "left", "volume_ml": 10.5},
]


def _written(tmp_path: Path, **facts: dict[str, Any]) -> tuple[Path, dict[str, bytes | None]]:
    entities = (("sub", "01"), ("ses", "a"))
    series = Series(tmp_path / f"{NAME}.nii.gz", f"sub-01/ses-a/anat/{NAME}.nii.gz", entities, "T1w", "anat", ".nii.gz")
    session = Session("01", "a", (series,), ())
    names = {name.replace("_", f"/{NAME}/", 1) if "_" in name else f"{name}/{NAME}": one for name, one in facts.items()}
    manifest = Manifest({}, {name: TaskRecord("k", {}, (), one) for name, one in names.items()}, {})
    written = dict(write_volumes_table(session, Reference(series, "auto", ()), manifest, tmp_path))
    return tmp_path / "sub-01" / "ses-a" / "sub-01_ses-a_volumes.tsv", written


MASK = {"mask_volume_ml": 1300.0, "intracranial_ml": 1500.0}


def test_pandas_reads_the_table_with_the_documented_types(tmp_path: Path) -> None:
    path, written = _written(tmp_path, mask=MASK, segment={"tissue_ml": SYNTH}, segment_tissue={"volumes": TISSUE})
    assert written["sub-01/ses-a/sub-01_ses-a_volumes.tsv"] == path.read_bytes()
    table = pd.read_csv(path, sep="\t")
    described = json.loads(path.with_suffix(".json").read_text())
    assert list(table.columns) == list(described) == list(VOLUME_COLUMNS)
    for name, column in described.items():
        assert table[name].dtype.kind == {"string": "O", "number": "f"}[column["Format"]], name
    assert described["volume_ml"]["Units"] == "mL"
    assert set(table["method"]) <= set(described["method"]["Levels"])
    assert set(table["hemisphere"]) <= set(described["hemisphere"]["Levels"])
    assert not table.isna().any(axis=None)
    volume = table.set_index(["method", "structure", "hemisphere"])["volume_ml"]
    assert volume["mask", "intracranial", "both"] == 1500
    assert volume["mask", "brain", "both"] == 1300
    assert volume["tissue", "GM", "both"] == 650.125
    assert volume["tissue", "lateral ventricle", "left"] == 10.5
    assert volume["synth", "cortex", "left"] + volume["synth", "cortex", "right"] == 499.75
    assert volume["synth", "brain stem", "both"] == 20
    share = table.set_index(["method", "structure"])["intracranial_share"]
    assert share["tissue", "GM"] == pytest.approx(650.125 / 1500, abs=1e-5)


def test_the_intracranial_volume_of_the_segmentation_counts_where_the_mask_has_none(tmp_path: Path) -> None:
    path, _ = _written(
        tmp_path, mask={"mask_volume_ml": 1300.0}, segment={"tissue_ml": SYNTH, "intracranial_ml": 1450.0}
    )
    assert pd.read_csv(path, sep="\t").iloc[0].tolist() == [NAME, "mask", "intracranial", "both", 1450.0, 1.0]


def test_why_there_is_no_tissue_is_told_beside_the_table(tmp_path: Path) -> None:
    gate = {"tissue_gate": "its voxels are 5 mm long"}
    path, _ = _written(tmp_path, mask=MASK, segment={"tissue_ml": SYNTH}, segment_tissue=gate)
    assert json.loads(path.with_suffix(".json").read_text())["NoTissueSegmentation"] == "its voxels are 5 mm long"
    assert set(pd.read_csv(path, sep="\t")["method"]) == {"mask", "synth"}


def test_no_table_without_the_step_and_an_old_one_goes(tmp_path: Path) -> None:
    path, _ = _written(tmp_path, mask=MASK, segment={"tissue_ml": SYNTH})
    assert path.is_file()
    _, written = _written(tmp_path, mask=MASK)
    assert set(written.values()) == {None}
    assert not path.exists()
    assert not path.with_suffix(".json").exists()
