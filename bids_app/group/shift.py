"""How far apart two groups of images are: the statistics, on tables of features, one row an observation.

Residual covariate shift as a review of 54 public brain MRI datasets measured it (cosine similarity and Euclidean
distance of the means, mean one-dimensional Wasserstein distance, features that differ significantly), with the proxy
A-distance of Ben-David et al. 2007 (NIPS 19) and the mean absolute effect size beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Significance, before and after correction.
ALPHA = 0.05
#: Fewer observations in a group than this are not compared.
FEWEST = 3
#: Fewer than this in a group do not train a classifier.
FEWEST_TO_CLASSIFY = 10
_FOLDS = 5
#: Inverse strength of the classifier's ridge; strong, as there are often more features than observations.
_RIDGE = 0.01

_Table = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """What two groups differ in.

    Attributes
    ----------
    cosine, euclidean
        Of the groups' mean features.
    wasserstein
        Mean over the features of the one-dimensional Wasserstein-1 distance.
    effect
        Mean over the features of |Cohen's d| (pooled standard deviation): it has no unit, so that normalisers can be
        compared by it.
    tested, constant
        Number of features that were tested, and of those that are not because they do not vary.
    welch, welch_bonferroni, welch_bh, mann_whitney, …
        Number of significant features, uncorrected and corrected.
    proxy_a_distance
        2 (1 - 2 e), e the cross-validated balanced error of a linear classifier of the groups; 0 where they cannot be
        told apart, 2 where they always can. None for groups too small.
    """

    n_a: int
    n_b: int
    cosine: float
    euclidean: float
    wasserstein: float
    effect: float
    tested: int
    constant: int
    welch: int
    welch_bonferroni: int
    welch_bh: int
    mann_whitney: int
    mann_whitney_bonferroni: int
    mann_whitney_bh: int
    proxy_a_distance: float | None
    note: str = ""


def compare(a: _Table, b: _Table, people: Sequence[str] | None = None) -> Shift:
    """Compare two groups.

    Parameters
    ----------
    a, b
        Features, n x f.
    people
        Whose each row of a and then of b is: nobody's rows train and test the classifier at once.

    Raises
    ------
    ValueError
        A group has fewer than `FEWEST` rows, or a feature is no number.
    """
    from scipy.stats import wasserstein_distance

    if min(len(a), len(b)) < FEWEST:
        raise ValueError(f"fewer than {FEWEST} in a group ({len(a)} and {len(b)})")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features that are no numbers")
    varies = varying(np.concatenate([a, b]))
    means = a.mean(axis=0), b.mean(axis=0)
    lengths = float(np.linalg.norm(means[0]) * np.linalg.norm(means[1]))
    kept_a, kept_b = a[:, varies], b[:, varies]
    significant: dict[str, int] = {}
    for name, p in p_values(kept_a, kept_b).items():
        significant |= {name: int((p < ALPHA).sum()), f"{name}_bonferroni": int((p * p.size < ALPHA).sum())}
        significant[f"{name}_bh"] = int((benjamini_hochberg(p) < ALPHA).sum())
    distance, note = _proxy_a_distance(kept_a, kept_b, people)
    return Shift(
        n_a=len(a),
        n_b=len(b),
        cosine=float(means[0] @ means[1]) / lengths if lengths else float("nan"),
        euclidean=float(np.linalg.norm(means[0] - means[1])),
        wasserstein=float(np.mean([wasserstein_distance(one, other) for one, other in zip(a.T, b.T, strict=True)])),
        effect=effect_size(kept_a, kept_b),
        tested=int(varies.sum()),
        constant=int((~varies).sum()),
        **significant,
        proxy_a_distance=distance,
        note=note,
    )


def varying(table: _Table) -> NDArray[np.bool_]:
    """Which features vary by more than rounding."""
    largest = np.abs(table).max(axis=0, initial=0)
    return np.asarray(np.ptp(table, axis=0) > 1e-9 * np.maximum(largest, 1e-300))


def p_values(a: _Table, b: _Table) -> dict[str, _Table]:
    """Two-sided p of each feature by Welch's t-test and by Mann and Whitney's test.

    A feature that is constant within each group and differs between them has no t: its p is 0.
    """
    from scipy.stats import mannwhitneyu, ttest_ind

    if a.shape[1] == 0:
        return {"welch": np.ones(0), "mann_whitney": np.ones(0)}
    with np.errstate(all="ignore"):
        welch = np.asarray(ttest_ind(a, b, equal_var=False, axis=0).pvalue)
    welch = np.where(np.isnan(welch), np.where(a.mean(axis=0) == b.mean(axis=0), 1.0, 0.0), welch)
    return {"welch": welch, "mann_whitney": np.asarray(mannwhitneyu(a, b, axis=0).pvalue)}


def benjamini_hochberg(p: _Table) -> _Table:
    """p values corrected for the false discovery rate (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p)) if p.size else p


def effect_size(a: _Table, b: _Table) -> float:
    """Mean over the features of |Cohen's d|; features that vary in neither group are left out."""
    pooled = ((len(a) - 1) * a.var(axis=0, ddof=1) + (len(b) - 1) * b.var(axis=0, ddof=1)) / (len(a) + len(b) - 2)
    there = pooled > 0
    if not there.any():
        return 0.0
    return float(np.mean(np.abs(a.mean(axis=0) - b.mean(axis=0))[there] / np.sqrt(pooled[there])))


def _proxy_a_distance(a: _Table, b: _Table, people: Sequence[str] | None) -> tuple[float | None, str]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    groups = list(people) if people is not None else [str(index) for index in range(len(a) + len(b))]
    if min(len(set(groups[: len(a)])), len(set(groups[len(a) :]))) < FEWEST_TO_CLASSIFY or a.shape[1] == 0:
        return None, f"no classifier: fewer than {FEWEST_TO_CLASSIFY} participants in a group"
    table, truth = np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)])
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(C=_RIDGE, class_weight="balanced", max_iter=1000)
    )  # fmt: skip
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    try:
        found = cross_val_predict(classifier, table, truth, groups=groups, cv=folds)
    except ValueError:  # a fold of one group only: nearly everyone is in both
        return None, "no classifier: the groups share their participants"
    error = 1 - float(balanced_accuracy_score(truth, found))
    return max(0.0, 2 * (1 - 2 * error)), ""


def halves(size: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Two halves of a group by chance: what is found between them is what chance does."""
    order = np.random.default_rng(seed).permutation(size)
    return np.sort(order[: size // 2]), np.sort(order[size // 2 :])


def embedding(table: _Table) -> tuple[_Table, tuple[float, float]]:
    """Two principal components of standardised features (n x 2), and the share of the variance that each has.

    The sign of a component is such that its largest loading is positive.
    """
    kept = table[:, varying(table)]
    if len(table) < 2 or kept.shape[1] == 0:
        return np.zeros((len(table), 2)), (0.0, 0.0)
    standard = (kept - kept.mean(axis=0)) / kept.std(axis=0)
    left, sizes, right = np.linalg.svd(standard, full_matrices=False)
    places = np.zeros((len(table), 2))
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    count = min(2, len(sizes))
    places[:, :count] = (left * sizes * signs)[:, :count]
    shares = [*(sizes**2 / (sizes**2).sum())[:2].tolist(), 0.0]
    return places, (shares[0], shares[1])


def as_row(shift: Shift) -> dict[str, Any]:
    """The cells of a table; six digits, so that they do not hang on how many threads computed the features."""
    row = {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in vars(shift).items()}
    row["note"] = row["note"] or None
    return row
