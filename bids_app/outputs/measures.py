"""The data dictionary of every number that a session's tasks leave: one row a measure, in `data/measures.tsv`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from bids_app.outputs.manifest import Manifest

Better = Literal["higher", "lower", "none"]

_TABLE = Path(__file__).parents[1] / "data" / "measures.tsv"


@dataclass(frozen=True)
class Measure:
    """What a number means.

    Attributes
    ----------
    name
        As in the tables.
    group
        image, mask, tissue, bias, registration, normalization or face.
    unit
        Empty for a number without one.
    better
        Whether a higher or a lower value speaks for the image, or neither does.
    label, meaning
        A short name, and one sentence, for a person.
    source
        The formula, or the paper that has it.
    """

    name: str
    group: str
    unit: str
    better: Better
    label: str
    meaning: str
    source: str


@cache
def load_measures() -> Mapping[str, Measure]:
    """Every measure by its name, in the order of the table."""
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        measures = [Measure(**row) for row in rows]  # type: ignore[arg-type]
    return MappingProxyType({measure.name: measure for measure in measures})


def measures_of(series: str, manifest: Manifest) -> dict[str, float | None]:
    """The numbers that the finished tasks of a series left, by the dictionary's names and in its order.

    A fact has the name of its measure, or that name without the step's in front (`rotation_deg` of `coregister`). Of
    several atlases the first one counts. What could not be computed is None.
    """
    facts: dict[str, float | None] = {}
    for name, task in manifest.tasks.items():
        step, of, *_ = name.split("/")
        if of != series:
            continue
        for key, value in task.facts.items():
            measure = key if key in load_measures() else f"{step}_{key}"
            if measure in load_measures() and (value is None or isinstance(value, int | float)):
                facts.setdefault(measure, value)
    return {name: facts[name] for name in load_measures() if name in facts}
