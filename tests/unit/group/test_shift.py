"""Shift between groups: each statistic against an independent computation, and collections of known difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from simulated_collection import two_scanners

from bids_app.group.datasets import Source
from bids_app.group.errors import GroupError
from bids_app.group.shift import Shift, benjamini_hochberg, compare, embedding, halves
from bids_app.group.shift_table import shift_tables
from bids_app.group.slices import Extractor, load_slice, slices
from bids_app.steps import slice_features
from bids_app.steps.images import ImageError


def _groups(shift: float = 0.0, size: int = 40, features: int = 30) -> tuple[NDArray[Any], NDArray[Any]]:
    random = np.random.default_rng(0)
    a, b = random.normal(2, 1, (size, features)), random.normal(2, 1, (size - 10, features))
    b[:, : features // 2] += shift
    return a, b


def test_every_statistic_is_what_an_independent_computation_gives() -> None:
    a, b = _groups(0.9)
    found = compare(a, b)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    assert found.cosine == pytest.approx(1 - scipy.spatial.distance.cosine(mean_a, mean_b))
    assert found.euclidean == pytest.approx(np.sqrt(((mean_a - mean_b) ** 2).sum()))
    grid = np.sort(np.concatenate([a, b]), axis=0)  # W1 is the area between the distribution functions
    distances = []
    for feature in range(a.shape[1]):
        points = grid[:, feature]
        below = [np.searchsorted(np.sort(one[:, feature]), points[:-1], side="right") / len(one) for one in (a, b)]
        distances.append((np.abs(below[0] - below[1]) * np.diff(points)).sum())
    assert found.wasserstein == pytest.approx(np.mean(distances))
    t = (mean_a - mean_b) / np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    parts = [one.var(axis=0, ddof=1) / len(one) for one in (a, b)]
    freedom = (parts[0] + parts[1]) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    p = 2 * scipy.stats.t.sf(np.abs(t), freedom)
    assert (found.welch, found.welch_bonferroni) == ((p < 0.05).sum(), (p < 0.05 / 30).sum())
    ordered = np.sort(p)
    passed = np.flatnonzero(ordered <= 0.05 * np.arange(1, 31) / 30)
    assert found.welch_bh == (passed[-1] + 1 if passed.size else 0)
    ranks = [scipy.stats.mannwhitneyu(a[:, i], b[:, i]).pvalue for i in range(30)]
    assert found.mann_whitney == (np.array(ranks) < 0.05).sum()
    pooled = np.sqrt((39 * a.var(axis=0, ddof=1) + 29 * b.var(axis=0, ddof=1)) / 68)
    assert found.effect == pytest.approx(np.mean(np.abs(mean_a - mean_b) / pooled))
    assert (found.tested, found.constant, found.n_a, found.n_b) == (30, 0, 40, 30)
    assert found.welch_bonferroni >= 10


def test_benjamini_hochberg_is_its_definition() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.5, 0.005])
    assert benjamini_hochberg(p) == pytest.approx([0.025, 0.05, 0.05, 0.5, 0.025])
    assert benjamini_hochberg(np.ones(0)).size == 0


def test_groups_that_are_alike_cannot_be_told_apart_and_others_can() -> None:
    same, other = compare(*_groups(0.0)), compare(*_groups(3.0))
    assert same.proxy_a_distance is not None
    assert same.proxy_a_distance < 0.6
    assert other.proxy_a_distance == pytest.approx(2.0, abs=0.05)
    assert same.welch_bonferroni == 0


def test_nobody_trains_and_tests_the_classifier_at_once() -> None:
    """Each person's rows are the same random vector: only who has seen the person can tell the group."""
    random = np.random.default_rng(5)
    persons = random.normal(size=(60, 200)).repeat(4, axis=0)
    people = np.arange(60).repeat(4).astype(str).tolist()
    alone = compare(persons[:120], persons[120:], people).proxy_a_distance
    mixed = compare(persons[:120], persons[120:]).proxy_a_distance
    assert alone is not None
    assert mixed is not None
    assert alone < 0.7 < 1.8 < mixed


def test_features_that_do_not_vary_are_left_out_and_counted() -> None:
    a, b = _groups(0.0)
    a[:, 0] = b[:, 0] = 7.0
    a[:, 1], b[:, 1] = 1.0, 2.0  # constant within each group
    found = compare(a, b)
    assert (found.tested, found.constant) == (29, 1)
    assert found.welch_bonferroni == 1
    nothing = compare(np.ones((5, 3)), np.ones((6, 3)))
    assert (nothing.tested, nothing.constant, nothing.welch, nothing.effect) == (0, 3, 0, 0.0)
    assert nothing.proxy_a_distance is None


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda a: a[:2], "fewer than 3"), (lambda a: np.where(a > 3, np.nan, a), "no numbers")],
)
def test_what_cannot_be_compared_is_said(change: Callable[[Any], Any], message: str) -> None:
    a, b = _groups()
    with pytest.raises(ValueError, match=message):
        compare(change(a), b)


def test_the_embedding_is_that_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    a, b = _groups(2.0)
    table = np.concatenate([a, b])
    places, shares = embedding(table)
    model = PCA(2)
    truth = model.fit_transform(StandardScaler().fit_transform(table))
    assert np.abs(places) == pytest.approx(np.abs(truth))
    assert shares == pytest.approx(tuple(model.explained_variance_ratio_))
    assert (embedding(np.ones((4, 3)))[0] == 0).all()


def test_halves_are_two_and_all() -> None:
    one, other = halves(11, 3)
    assert sorted([*one, *other]) == list(range(11))
    assert (halves(11, 3)[0] == one).all()


# from files


@pytest.fixture(scope="module")
def scanners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_scanners(tmp_path_factory.mktemp("scanners")).parent


def _rows(folder: Path, cache: Path, group: Callable[[int], str]) -> dict[tuple[str, str], dict[str, Any]]:
    found = slices([Source("one", folder / "raw", folder / "out")])
    groups = {("one", f"sub-{number:03d}_T1w"): group(number) for number in range(30)}
    extractor = Extractor(cache)
    tables = shift_tables(found, groups, "scanner", extractor, seed=0)
    extractor.save()
    seen = {(row["variant"], row["participant_id"]) for row in tables.places}
    assert len(seen) == len(tables.places) == 3 * sum(one != "n/a" for one in groups.values())
    return {(row["variant"], row["a"]): dict(row) for row in tables.rows}


def test_scanners_differ_before_and_hardly_after_the_right_normalisation(scanners: Path, tmp_path: Path) -> None:
    rows = _rows(scanners, tmp_path, lambda number: "AB"[number >= 15])
    before, after = rows["preproc", "A"], rows["zscore", "A"]
    assert before["tested"] == len(slice_features.feature_names())
    assert before["welch_bonferroni"] > 30
    assert after["welch_bonferroni"] == 0  # gain and offset are what z-scoring takes out
    assert rows["percentile", "A"]["welch_bonferroni"] == 0
    assert before["proxy_a_distance"] == pytest.approx(2, abs=0.15)
    assert after["effect"] < 0.5 < 1.0 < before["effect"]
    assert {row["welch_bonferroni"] for (_, a), row in rows.items() if a == "half of A"} == {0}


def test_halves_of_one_scanner_do_not_differ(scanners: Path, tmp_path: Path) -> None:
    rows = _rows(scanners, tmp_path, lambda number: "n/a" if number >= 15 else ("even", "odd")[number % 2])
    assert all(row["welch_bonferroni"] == 0 for row in rows.values())


def test_features_are_kept_and_those_of_what_is_gone_are_not(
    scanners: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = slices([Source("one", scanners / "raw", scanners / "out")])
    first = Extractor(tmp_path)
    before = first.features(found[::3])
    first.save()
    saved = (tmp_path / "features-plain.npz").read_bytes()
    monkeypatch.setattr(slice_features, "describe", lambda *_: pytest.fail("it was known"))
    again = Extractor(tmp_path)
    assert np.array_equal(np.array(before), np.array(again.features(found[::3])))
    again.save()
    assert (tmp_path / "features-plain.npz").read_bytes() == saved
    (tmp_path / "features-plain.npz").write_bytes(b"damaged")
    assert Extractor(tmp_path)._known == {}


def test_a_damaged_image_has_no_features_and_costs_the_others_nothing(scanners: Path, tmp_path: Path) -> None:
    import dataclasses

    found = [one for one in slices([Source("one", scanners / "raw", scanners / "out")]) if one.variant == "preproc"]
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    broken = dataclasses.replace(found[0], image=tmp_path / "bad.nii.gz", content="bad")
    extractor = Extractor(tmp_path)
    features = extractor.features([broken, *found[1:4]])
    assert features[0] is None
    assert all(one is not None for one in features[1:])
    assert "cannot be read" in extractor.failures["bad.nii.gz"]


def test_few_participants_and_one_group_are_said(scanners: Path, tmp_path: Path) -> None:
    found = [one for one in slices([Source("one", scanners / "raw", scanners / "out")]) if one.variant == "zscore"]
    extractor = Extractor(tmp_path)
    for groups, message in (
        ({}, "no group has enough"),
        ({("one", f"sub-{n:03d}_T1w"): "A" for n in range(8)}, "only A has enough"),
        ({("one", f"sub-{n:03d}_T1w"): "AB"[n > 3] for n in range(6)}, "fewer than 3 participants in B"),
    ):
        tables = shift_tables(found, groups, "scanner", extractor, 0)
        assert any(message in note for note in tables.notes), tables.notes


# one slice


def test_the_slice_is_the_central_one_on_a_millimetre_grid(scanners: Path) -> None:
    found = slices([Source("one", scanners / "raw", scanners / "out")])
    plane, inside = load_slice(found[0])
    assert plane.shape == inside.shape == (224, 224)
    assert inside.sum() == pytest.approx(np.pi * 62**2, rel=0.05)  # the ball's largest section, mm2
    places = np.argwhere(inside)
    assert (places.min(axis=0) + places.max(axis=0)) / 2 == pytest.approx([111.5, 111.5], abs=1)
    assert (plane[~inside] == 0).all()


@pytest.mark.parametrize("edge", [0.7, 0.9, 1.0, 1.3])
def test_the_rim_of_the_brain_is_as_bright_as_the_rest_whatever_the_pixels(edge: float) -> None:
    side = int(200 / edge)
    i, j = np.indices((side, side)) * edge - 100
    inside = i**2 + j**2 < 70**2
    plane, brain = slice_features.on_canvas(np.full((side, side), 100.0), inside, (edge, edge))
    assert plane[brain] == pytest.approx(100, rel=1e-4)


def test_features_say_what_they_are_named_after() -> None:
    at = np.mgrid[:224, :224] - 111.5
    inside = np.hypot(*at) < 70
    stripes = np.where(inside, 0.5 + 0.1 * np.sin(at[0] * np.pi / 4), 0).astype(np.float32)  # 8 mm, left to right
    found = dict(zip(slice_features.feature_names(), slice_features.describe(stripes, inside), strict=True))
    assert found["mean"] == pytest.approx(0.5, abs=0.002)
    assert found["sd"] == pytest.approx(0.1 / np.sqrt(2), rel=0.02)
    assert found["correlation_lr_4mm"] == pytest.approx(-1, abs=0.02)
    assert found["correlation_lr_8mm"] == pytest.approx(1, abs=0.02)
    assert found["correlation_ap_4mm"] == pytest.approx(1, abs=0.02)
    assert found["quantile_50"] == pytest.approx(0.5, abs=0.01)
    bands = {name: value for name, value in found.items() if name.startswith("band_")}
    assert max(bands, key=lambda name: bands[name]) in ("band_0.7_1.4mm_sd", "band_1.4_2.8mm_sd")
    flat = slice_features.describe(np.where(inside, 0.5, 0).astype(np.float32), inside)
    assert np.isfinite(flat).all()
    with pytest.raises(ImageError, match="next to no brain"):
        slice_features.on_canvas(stripes, np.zeros((224, 224)), (1.0, 1.0))


# DenseNet121


def test_weights_by_any_of_their_names_are_the_same_network(scanners: Path, tmp_path: Path) -> None:
    import torch

    from bids_app.steps.densenet import features_network, features_of, load_network

    torch.manual_seed(0)
    network = features_network().eval()
    assert sum(one.numel() for one in network.parameters()) == 6_953_856  # Huang et al.'s, less the classifier
    state = network.state_dict()
    plane = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    truth = features_of(network, [plane])
    assert truth.shape == (1, 1024)

    def monai(name: str) -> str:
        head, _, tail = name.partition("denselayer")
        return f"features.{head}denselayer{tail.replace('.', '.layers.', 1)}" if tail else f"features.{name}"

    def old(name: str) -> str:
        for kind in ("norm", "conv"):
            for number in "12":
                if "denselayer" in name:
                    name = name.replace(f".{kind}{number}.", f".{kind}.{number}.")
        return f"features.{name}"

    for renamed in (monai, old):
        weights = {renamed(name): tensor for name, tensor in state.items()}
        torch.save({**weights, "classifier.bias": torch.zeros(1000)}, tmp_path / "weights.pth")
        assert np.array_equal(features_of(load_network(tmp_path / "weights.pth"), [plane]), truth)
    (one, *_) = slices([Source("one", scanners / "raw", scanners / "out")])
    extractor = Extractor(tmp_path, tmp_path / "weights.pth")
    (vector,) = extractor.features([one])
    assert extractor.name == "densenet121"
    assert vector is not None
    assert vector.shape == (1024,)
    assert vector.std() > 0


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "weights.pth"
    with pytest.raises(GroupError, match="no such file") as raised:
        Extractor(tmp_path, path)
    assert raised.value.code == 66
    path.write_bytes(b"no weights")
    with pytest.raises(GroupError, match="cannot be read as weights") as raised:
        Extractor(tmp_path, path)
    assert raised.value.code == 64
    torch.save({"fc.weight": torch.zeros(3)}, path)
    with pytest.raises(GroupError, match="it is no DenseNet121: "):
        Extractor(tmp_path, path)


def test_a_shift_is_a_row() -> None:
    from bids_app.group.shift import as_row
    from bids_app.group.shift_table import SHIFT_COLUMNS

    assert set(as_row(compare(*_groups()))) <= set(SHIFT_COLUMNS)
    assert set(Shift.__dataclass_fields__) <= set(SHIFT_COLUMNS)
