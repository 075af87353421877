"""Covariate shift between the groups of a column: for each contrast, before and after each normalisation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.group.shift import FEWEST, Shift, as_row, compare, embedding, halves
from bids_app.group.slices import BEFORE, Extractor, Slice
from bids_app.group.summaries import UNKNOWN

#: Of a column with more groups the largest are compared: every pair of groups is a comparison.
MOST_GROUPS = 6
_SPLITS = 5

SHIFT_COLUMNS = ("descriptor", "variant", "contrast", "column", "a", "b", *Shift.__dataclass_fields__)
EMBEDDING_COLUMNS = (
    "descriptor", "variant", "contrast", "dataset", "participant_id", "group", "x", "y", "variance_x", "variance_y",
)  # fmt: skip


@dataclass(frozen=True)
class Observations:
    """Mean features of each participant's series of one contrast in one group."""

    table: NDArray[np.float64]
    people: tuple[tuple[str, str], ...]  # dataset and participant
    groups: tuple[str, ...]


@dataclass(frozen=True)
class ShiftTables:
    """What was compared, where everybody lies, and what could not be compared and why."""

    rows: tuple[Mapping[str, Any], ...]
    places: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]


def shift_tables(
    found: Sequence[Slice], group_of: Mapping[tuple[str, str], str], column: str, extractor: Extractor, seed: int
) -> ShiftTables:
    """Compare every two groups of a column.

    Parameters
    ----------
    group_of
        The group of each series, by dataset and name.
    seed
        Of the random halves.
    """
    rows: list[dict[str, Any]] = []
    places: list[dict[str, Any]] = []
    notes: list[str] = []
    contrasts = sorted({one.contrast for one in found})
    variants = sorted({one.variant for one in found}, key=lambda name: (name != BEFORE, name))
    for contrast in contrasts:
        for variant in variants:
            chosen = [one for one in found if (one.contrast, one.variant) == (contrast, variant)]
            if not chosen:
                continue
            seen = observations(chosen, extractor.features(chosen), group_of)
            head = {"descriptor": extractor.name, "variant": variant, "contrast": contrast}
            places += _places(seen, head)
            made = list(_comparisons(seen, {**head, "column": column}, seed, notes))
            rows += made
    notes += [f"{name}: {reason}" for name, reason in sorted(extractor.failures.items())]
    return ShiftTables(tuple(rows), tuple(places), tuple(dict.fromkeys(notes)))


def observations(
    chosen: Sequence[Slice],
    features: Sequence[NDArray[np.float64] | None],
    group_of: Mapping[tuple[str, str], str],
) -> Observations:
    """One row for each participant in each group: series of one person are no independent observations."""
    gathered: dict[tuple[str, str, str], list[NDArray[np.float64]]] = {}
    for one, vector in zip(chosen, features, strict=True):
        group = group_of.get((one.dataset, one.series), UNKNOWN)
        if vector is not None and np.isfinite(vector).all() and group != UNKNOWN:
            gathered.setdefault((one.dataset, one.participant, group), []).append(vector)
    keys = sorted(gathered)
    table = np.array([np.mean(gathered[key], axis=0) for key in keys]) if keys else np.zeros((0, 0))
    return Observations(table, tuple((key[0], key[1]) for key in keys), tuple(key[2] for key in keys))


def _comparisons(seen: Observations, head: Mapping[str, Any], seed: int, notes: list[str]) -> Iterator[dict[str, Any]]:
    sizes = Counter(seen.groups)
    small = sorted(name for name, size in sizes.items() if size < FEWEST)
    large = [name for name, _ in sorted(sizes.items(), key=lambda one: (-one[1], one[0])) if name not in small]
    if small:
        notes.append(f"{head['contrast']}: fewer than {FEWEST} participants in {', '.join(small)}")
    if len(large) > MOST_GROUPS:
        notes.append(f"{head['contrast']}: of {len(large)} groups the {MOST_GROUPS} largest are compared")
        large = large[:MOST_GROUPS]
    if len(large) < 2:
        there = f"only {large[0]} has enough" if large else "no group has enough"
        notes.append(f"{head['contrast']}: nothing to compare by {head['column']}, {there}")
    members = {name: np.flatnonzero([group == name for group in seen.groups]) for name in large}
    for a, b in combinations(sorted(large), 2):
        people = ["/".join(seen.people[index]) for name in (a, b) for index in members[name]]
        shift = compare(seen.table[members[a]], seen.table[members[b]], people)
        yield {**head, "a": a, "b": b, **as_row(shift)}
    if large and sizes[large[0]] >= 2 * FEWEST:  # what chance does: between halves of the largest group
        names = {"a": f"half of {large[0]}", "b": "the other half"}
        yield {**head, **names, **as_row(_by_chance(seen.table[members[large[0]]], seed))}


def _by_chance(table: NDArray[np.float64], seed: int) -> Shift:
    """The shift between two halves of a group: of several ways to halve it the one with the median effect."""
    splits = (halves(len(table), seed + number) for number in range(_SPLITS))
    found = sorted((compare(table[one], table[other]) for one, other in splits), key=lambda shift: shift.effect)
    return found[_SPLITS // 2]


def _places(seen: Observations, head: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Where each participant lies on the first two principal components."""
    at, shares = embedding(seen.table) if len(seen.table) else (np.zeros((0, 2)), (0.0, 0.0))
    for (dataset, participant), group, (x, y) in zip(seen.people, seen.groups, at.tolist(), strict=True):
        yield {
            **head, "dataset": dataset, "participant_id": participant, "group": group,
            "x": float(f"{x:.6g}"), "y": float(f"{y:.6g}"), "variance_x": float(f"{shares[0]:.6g}"),
            "variance_y": float(f"{shares[1]:.6g}"),
        }  # fmt: skip
