"""Linear probing: what a logistic regression can tell from embeddings (MRI-CORE, Dong et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bids_app.exit_codes import USAGE
from bids_app.exports.embeddings import read_embeddings
from bids_app.exports.journal import Journal, Record, file_record
from bids_app.exports.options import ExportSettings
from bids_app.exports.splits import assign_splits
from bids_app.outputs.writer import json_bytes

#: Shares of patients for fitting and for testing.
SHARES = (0.6, 0.4)
_ITERATIONS = 2000
#: A column with more values than this is a number or a name, not a class.
_MAX_CLASSES = 50


class ProbeError(Exception):
    """A column that cannot be probed; `code` is the exit code."""

    code = USAGE


def check_columns(asked: Sequence[str], columns: Sequence[str]) -> None:
    """Whether the slices have the columns that are to be probed.

    Raises
    ------
    ProbeError
        One is not there.
    """
    for column in asked:
        if column not in columns:
            raise ProbeError(f"--probe {column}: the slices have no such column; they have {', '.join(columns)}")


def probe(journal: Journal, parts: Sequence[str], export: ExportSettings, seed: int, console: Console) -> list[str]:
    """Probe every column that was asked for: `probe_<column>.json` beside the embeddings; the units of the journal."""
    names = [file.path for record in journal.records(parts) for file in record.files]
    rows, vectors = read_embeddings(journal.root, names)
    units = []
    for column in export.probe:
        labels = [row[column] for row in rows]
        result = linear_probe(vectors, labels, [row["patient"] for row in rows], seed)
        unit, name = f"probe-{column}", f"probe_{column}.json"
        journal.begin(unit, [name])
        made = file_record(journal.root, name, [json_bytes({"column": column, **result})])
        journal.add(Record(unit, made.sha256, (made,), {}))
        units.append(unit)
        console.print(
            f"{column}: accuracy {result['accuracy']:.3f} on {result['slices_test']} slices of "
            f"{result['patients_test']} patients (the commonest class: {result['accuracy_of_commonest']:.3f})",
            soft_wrap=True,
        )
    return units


def linear_probe(
    vectors: NDArray[np.float32], labels: Sequence[str], patients: Sequence[str], seed: int
) -> dict[str, Any]:
    """Fit on 60 % of the patients, test on the others; slices without a label are left out.

    Returns
    -------
    Accuracy, balanced accuracy (mean recall), that of always saying the commonest class, and the confusion matrix
    (rows: true, columns: said), with the classes in its order.

    Raises
    ------
    ProbeError
        Fewer than two classes, or so many that it is no class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = np.array([label not in ("", "n/a") for label in labels])
    names = np.array(labels)[known]
    owners = np.array(patients)[known]
    classes = sorted(set(names.tolist()))
    if not 2 <= len(classes) <= _MAX_CLASSES:
        raise ProbeError(f"a probe needs 2 to {_MAX_CLASSES} classes; the column has {len(classes)} values")
    # A patient's classes are its stratum, so that both parts have patients of all of them where there are enough.
    strata = {one: [" ".join(sorted(set(names[owners == one].tolist())))] for one in sorted(set(owners.tolist()))}
    parts = assign_splits(strata, SHARES, seed, ("fit", "test"))
    fit = np.array([parts[one] == "fit" for one in owners.tolist()])
    if len(set(names[fit].tolist())) < 2 or fit.all():
        raise ProbeError("too few patients: the part to fit on has one class, or there is none to test on")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS, random_state=seed))
    model.fit(vectors[known][fit], names[fit])
    said, true = model.predict(vectors[known][~fit]), names[~fit]
    commonest = max(classes, key=lambda one: int((names[fit] == one).sum()))
    return {
        "classes": classes,
        "accuracy": float((said == true).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(true, said)),
        "accuracy_of_commonest": float((true == commonest).mean()),
        "confusion_matrix": confusion_matrix(true, said, labels=classes).tolist(),
        "patients_fit": len({one for one, part in parts.items() if part == "fit"}),
        "patients_test": len({one for one, part in parts.items() if part == "test"}),
        "slices_fit": int(fit.sum()),
        "slices_test": int((~fit).sum()),
        "seed": seed,
    }
