"""Training, validation and test: every patient in one of them, in the given shares, alike in the given columns."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from bids_app.exports.options import SPLITS

#: Numbers with more distinct values than this are cut into quarters.
_MAX_LEVELS = 10


def assign_splits(
    strata: Mapping[str, Sequence[str]], fractions: Sequence[float], seed: int, names: Sequence[str] = SPLITS,
    before: Mapping[str, str] | None = None,
) -> dict[str, str]:  # fmt: skip
    """The split of each patient.

    Patients are gone through stratum by stratum, shuffled by seed within each, and each goes to the split that is
    furthest behind its share. So every run of the sequence, every stratum among them, has the shares within one or two
    patients, and the whole has them within one.

    Parameters
    ----------
    strata
        What each patient is to be alike in, by the columns; empty for no stratification.
    fractions
        The shares, of sum 1.
    before
        The splits that patients had: they keep them, so that none moves from training to test when others come. The
        shares are as near as the new ones can bring them.
    """
    levels = _levels(strata)
    order = sorted(strata, key=lambda patient: (levels[patient], _draw(seed, patient)))
    kept = {patient: split for patient, split in (before or {}).items() if patient in strata and split in names}
    counts = [0] * len(fractions)
    result = {}
    for done, patient in enumerate(order, 1):
        behind = [share * done - count for share, count in zip(fractions, counts, strict=True)]
        if patient in kept:
            chosen = names.index(kept[patient])
        else:
            chosen = max(range(len(fractions)), key=lambda index: (behind[index], fractions[index]))
        counts[chosen] += 1
        result[patient] = names[chosen]
    return result


def assign_folds(patients: Sequence[str], count: int, seed: int) -> dict[str, int]:
    """A fold for each patient, of equal sizes."""
    names = [str(index) for index in range(count)]
    found = assign_splits(dict.fromkeys(patients, ()), [1 / count] * count, seed, names)
    return {patient: int(name) for patient, name in found.items()}


def _levels(strata: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The strata with columns of many numbers cut into quarters."""
    columns = list(zip(*strata.values(), strict=True)) if strata else []
    cut = [_quarters(column) for column in columns]
    return {
        patient: tuple(one[value] for one, value in zip(cut, values, strict=True)) for patient, values in strata.items()
    }


def _quarters(column: Sequence[str]) -> Mapping[str, str]:
    numbers = {value: number for value in set(column) if (number := _number(value)) is not None}
    if len(numbers) <= _MAX_LEVELS:
        return {value: value for value in set(column)}
    ordered = sorted(numbers[value] for value in column if value in numbers)
    edges = [ordered[len(ordered) * quarter // 4] for quarter in (1, 2, 3)]
    result: dict[str, str] = defaultdict(str)
    for value in set(column):
        result[value] = f"q{sum(numbers[value] >= edge for edge in edges)}" if value in numbers else value
    return result


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix("+"))
    except ValueError:
        return None


def _draw(seed: int, patient: str) -> str:
    return hashlib.sha256(f"{seed}\0{patient}".encode()).hexdigest()
