"""What is held of a collection: tables are written, and participants forgotten, one after another."""

from __future__ import annotations

import csv
import gc
import weakref
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from finished_output import Finished
from rich.console import Console
from simulated_collection import add_participant
from trees import Nifti, write_tree

from bids_app.group import regions
from bids_app.group import slices as group_slices
from bids_app.group.datasets import Source
from bids_app.group.run import run_group
from bids_app.group.slices import slices
from bids_app.outputs.manifest import FileRecord, TaskRecord, manifest_path, record_task
from bids_app.reports.contents import read_participant
from bids_app.settings import Settings


@pytest.fixture
def collection(tmp_path: Path) -> Source:
    """Six participants with tables of two regions."""
    made = Finished(tmp_path / "out")
    for number in range(6):
        label = f"{number:02}"
        name = add_participant(made, label, number)
        path = f"sub-{label}/anat/sub-{label}_seg-X_stats.tsv"
        cells = ("X\t1\tone\tleft\t10\t0.5\tn/a", "X\t2\ttwo\tright\t20\t1\t0.25")
        header = "parcellation\tindex\tregion\themisphere\tvoxels\tvolume_ml\tgrey_matter_ml"
        (tmp_path / "out" / path).write_text("\n".join((header, *cells)) + "\n")
        record = TaskRecord("key", {}, (FileRecord(path, "", 1),), {})
        record_task(made.root, manifest_path(made.root, label, None), f"regions/{name}", record)
    write_tree(tmp_path / "raw", {"sub-00/anat/sub-00_T1w.nii.gz": Nifti()})
    return Source("one", tmp_path / "raw", made.root)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many participants that were read are still in memory, at most, whenever another one is read."""
    seen: list[weakref.ref[Any]] = []
    most = [0]

    def reading(output: Path, subject: str) -> Any:
        gc.collect()
        most[0] = max(most[0], sum(one() is not None for one in seen))
        content = read_participant(output, subject)
        seen.append(weakref.ref(content.sessions[0]))
        return content

    monkeypatch.setattr(regions, "read_participant", reading)
    monkeypatch.setattr(group_slices, "read_participant", reading)
    return lambda: most[0]


def test_no_more_than_a_participant_is_held_for_slices(collection: Source, held: Callable[[], int]) -> None:
    found = slices([collection])
    assert [one.participant for one in found] == [f"sub-{number:02}" for number in range(6) for _ in range(3)]
    assert held() <= 1


def test_rows_of_regions_come_as_participants_are_read(collection: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = regions.read_participant
    monkeypatch.setattr(regions, "read_participant", lambda output, one: read.append(one) or real(output, one))
    first = list(islice(regions.regions_of([collection]), 2))
    assert [(row["participant_id"], row["region"], row["grey_matter_ml"]) for row in first] == [
        ("sub-00", "one", None), ("sub-00", "two", "0.25"),
    ]  # fmt: skip
    assert read == ["00"]


def test_the_table_of_regions_is_written_as_it_comes(collection: Source, held: Callable[[], int]) -> None:
    assert collection.raw is not None
    assert collection.output is not None
    settings = Settings(collection.raw, collection.output, dataset_name="one")
    assert run_group(settings, Console(quiet=True)) == 0
    assert held() <= 1
    with (collection.output / "group_regions.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [(row["participant_id"], row["index"], row["thickness_mean_mm"]) for row in rows] == [
        (f"sub-{number:02}", index, "n/a") for number in range(6) for index in ("1", "2")
    ]
