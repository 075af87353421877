"""Counts, distributions and tests against truth that is counted or computed another way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from simulated_collection import raw_dataset

from bids_app.group.card import cards
from bids_app.group.change import Pairs, row_of
from bids_app.group.datasets import Source
from bids_app.group.profile import Profile, gather
from bids_app.group.summaries import counts, distributions, group_tests, kruskal, levels_of
from bids_app.group.volumes import residual_corrected
from bids_app.group.weights import balance
from bids_app.inputs.dataset import Selection


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    folder = tmp_path_factory.mktemp("raw")
    root = raw_dataset(folder / "raw")
    return gather([Source("one", root, None)], Selection(), folder / "cache", ("site",))


def _table(profile: Profile, table: str) -> dict[tuple[str, str], int]:
    return {(one.row, one.column): one.count for one in counts(profile, ("site",)) if one.table == table}


def test_what_a_collection_is_made_of(profile: Profile) -> None:
    assert _table(profile, "anisotropy") == {("isotropic", "series"): 4, ("mild", "series"): 5}
    assert _table(profile, "orientation") == {("RAS", "series"): 5, ("LPS", "series"): 4}
    assert _table(profile, "modality") == {("T1w", "series"): 5, ("FLAIR", "series"): 4}
    assert _table(profile, "manufacturer") == {("n/a", "series"): 5, ("Siemens", "series"): 3, ("GE", "series"): 1}
    assert _table(profile, "field_strength_t") == {("n/a", "series"): 5, ("3", "series"): 3, ("1.5", "series"): 1}
    assert _table(profile, "status") == {("accepted", "series"): 9, ("rejected", "series"): 1}
    assert _table(profile, "contrasts of a session") == {
        ("T1w", "T1w"): 4, ("FLAIR", "FLAIR"): 4, ("T1w", "FLAIR"): 4, ("FLAIR", "T1w"): 4,
        ("T1w with contrast agent", "T1w with contrast agent"): 1,
    }  # fmt: skip
    # 01 to 05 are used; 06 has a localizer alone
    assert _table(profile, "participants by sex") == {("F", "participants"): 3, ("M", "participants"): 2}
    assert _table(profile, "participants by site") == {("A", "participants"): 2, ("B", "participants"): 3}
    shares = [one.share for one in counts(profile) if one.table == "modality"]
    assert shares == pytest.approx([5 / 9, 4 / 9])


def test_distributions_are_those_of_pandas(profile: Profile) -> None:
    found = {(one.measure, one.contrast): one.row() for one in distributions(profile)}
    assert found["spacing_largest_mm", "FLAIR"]["median"] == 14.0
    assert found["spacing_largest_mm", "FLAIR"]["n"] == 4
    assert found["te_ms", "FLAIR"] == {"measure": "te_ms", "dataset": "one", "contrast": "FLAIR", "n": 0, "missing": 4}
    random = np.random.default_rng(0).normal(size=31)
    made = _numbers({"a": random.tolist()})
    row = next(one for one in distributions(made) if one.measure == "intensity_p50").row()
    truth = pd.Series(random).describe(percentiles=[0.05, 0.25, 0.5, 0.75, 0.95])
    for ours, theirs in (("mean", "mean"), ("sd", "std"), ("p05", "5%"), ("median", "50%"), ("p95", "95%")):
        assert row[ours] == pytest.approx(truth[theirs])


def _numbers(groups: dict[str, list[float]]) -> Profile:
    """A profile of series that have intensities alone."""
    made = Profile(("group",))
    for group, values in groups.items():
        for value in values:
            made.add({"dataset": "one", "series": "s", "participant_id": "p", "contrast": "T1w", "status": "done",
                      "intensity_p50": value, "intensity_of": "brain", "group": group})  # fmt: skip
    return made


def _h(groups: list[list[float]]) -> float:
    """Kruskal and Wallis' H by its formula, ties corrected."""
    values = np.concatenate([np.asarray(group) for group in groups])
    ranks = pd.Series(values).rank().to_numpy()
    size, start, total = len(values), 0, 0.0
    for group in groups:
        total += ranks[start : start + len(group)].sum() ** 2 / len(group)
        start += len(group)
    h = 12 / (size * (size + 1)) * total - 3 * (size + 1)
    _, ties = np.unique(values, return_counts=True)
    return h / (1 - (ties**3 - ties).sum() / (size**3 - size))


def test_kruskal_wallis_is_its_formula_and_scipys() -> None:
    random = np.random.default_rng(1)
    groups = {"a": random.normal(0, 1, 12).round(1).tolist(), "b": random.normal(1, 1, 9).round(1).tolist(),
              "c": random.normal(0, 2, 15).round(1).tolist(), "d": [1.0, 2.0]}  # fmt: skip
    (row,) = [one for one in group_tests(_numbers(groups), "group") if one["measure"] == "intensity_p50"]
    kept = [groups[name] for name in "abc"]
    assert row["statistic"] == pytest.approx(_h(kept))
    assert (row["statistic"], row["p"]) == pytest.approx(tuple(scipy.stats.kruskal(*kept)))
    assert row["p"] == pytest.approx(scipy.stats.chi2.sf(_h(kept), 2))
    assert (row["n"], row["groups"], row["note"]) == (36, "a, b, c", "too small: d")


@pytest.mark.parametrize(
    ("samples", "note"),
    [
        ({"a": [1.0, 2.0, 3.0]}, "fewer than two groups"),
        ({"a": [1.0, 2.0, 3.0], "b": [1.0]}, "fewer than two groups"),
        ({"a": [2.0] * 4, "b": [2.0] * 5}, "all values are equal"),
        ({}, "fewer than two groups"),
    ],
)
def test_what_cannot_be_tested_is_said(samples: dict[str, list[float]], note: str) -> None:
    assert kruskal(samples)["note"].startswith(note)


def test_a_column_of_numbers_is_cut_and_one_of_mixed_types_is_not() -> None:
    numbers = [str(one) for one in range(20, 90)]
    levels = levels_of([*numbers, "89+", None])
    assert sorted(set(levels)) == ["20 to 37.25", "37.25 to 54.5", "54.5 to 71.75", "71.75 to 89", "n/a"]
    assert levels[-2:] == ["71.75 to 89", "n/a"]
    assert set(levels_of([*numbers, "old"])) == {*numbers, "old"}
    assert levels_of([3, 3.0, 1.5, None]) == ["3", "3", "1.5", "n/a"]


def test_weights_make_all_levels_equal() -> None:
    random = np.random.default_rng(2)
    factors = {
        "dataset": random.choice(["a", "b", "c"], 900, p=[0.7, 0.2, 0.1]).tolist(),
        "contrast": random.choice(["T1w", "T2w"], 900, p=[0.8, 0.2]).tolist(),
    }
    found = balance(factors)
    assert found.balanced
    frame = pd.DataFrame({**factors, "weight": found.values})
    for name in factors:
        sums = frame.groupby(name)["weight"].sum()
        assert sums.to_numpy() == pytest.approx(np.full(len(sums), 900 / len(sums)), rel=1e-5)
        assert found.shares[name] == pytest.approx((sums / 900).to_dict())
    assert found.values.mean() == pytest.approx(1)


def test_weights_that_cannot_are_said_to_and_none_is_huge() -> None:
    found = balance({"dataset": ["a"] * 999 + ["b"]})
    assert not found.balanced
    assert found.values.max() <= 20.5
    with pytest.raises(ValueError, match="has to be one"):
        balance({"dataset": []})


def test_paired_differences_are_those_of_numpy_and_scipy() -> None:
    random = np.random.default_rng(3)
    before = random.normal(0.2, 0.03, 25)
    after = before - random.normal(0.02, 0.01, 25)
    row = row_of(Pairs("bias", "CV", "one", "T1w", tuple(before), tuple(after)))
    assert row["mean_difference"] == pytest.approx(after.mean() - before.mean())
    assert row["sd_difference"] == pytest.approx(np.std(after - before, ddof=1))
    assert row["wilcoxon_p"] == pytest.approx(scipy.stats.wilcoxon(before, after).pvalue)
    assert row["mean_change_percent"] == pytest.approx(100 * (after.mean() / before.mean() - 1))
    assert row["increased"] + row["decreased"] == 25
    assert row_of(Pairs("a", "b", "c", "d", (1.0, 2.0), (1.0, 2.0)))["note"] == "nothing changed"
    assert "fewer than 6" in row_of(Pairs("a", "b", "c", "d", (1.0, 0.0), (1.5, 2.0)))["note"]


def test_residual_correction_takes_out_what_the_head_explains() -> None:
    random = np.random.default_rng(4)
    heads = random.normal(1500, 120, 60)
    volumes = 300 + 0.4 * heads + random.normal(0, 15, 60)
    corrected = residual_corrected(volumes, heads)
    assert corrected is not None
    assert np.corrcoef(corrected, heads)[0, 1] == pytest.approx(0, abs=1e-9)
    assert corrected.mean() == pytest.approx(volumes.mean())
    fit = scipy.stats.linregress(heads, volumes)
    assert corrected == pytest.approx(volumes - fit.slope * (heads - heads.mean()))
    assert residual_corrected(volumes[:3], heads[:3]) is None
    assert residual_corrected(volumes, np.full(60, 1500.0)) is None


def test_the_card_has_what_is_asked_first(profile: Profile) -> None:
    import yaml

    (card,) = yaml.safe_load_all(cards(profile, [Source("one", Path("x"), None)]))
    assert card["dataset_id"] == "one"
    assert (card["n_subjects"], card["n_series"], card["sequence"][:2]) == (5, 9, ["FLAIR", "T1w"])
    assert card["resolution_mm"] == ["8 x 8 x 14", "8 x 8 x 8", "8 x 8 x 12"]
    assert card["manufacturer"] == ["Siemens", "GE"]
    assert card["field_strength_t"] == ["3", "1.5"]
    assert card["preprocessing"] is None
