"""k-means maps: the patches of a slice clustered by their features, and how well clusters tell a label (zero-shot)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bids_app.exports.embeddings import FOLDER, encoded, parts
from bids_app.exports.encoders import Encoder, EncoderError
from bids_app.exports.journal import Journal, Record, file_record, unit_key
from bids_app.exports.metadata import csv_pieces
from bids_app.exports.options import ExportSettings
from bids_app.exports.slicing import fitted, png_bytes
from bids_app.inputs.content import file_sha256

COLUMNS = ("path", "k", "dice", "map_path")
#: Starts of k-means, of which the best counts.
_STARTS = 4


def cluster(
    journal: Journal, root: Path, content: str, encoder: Callable[[], Encoder], export: ExportSettings, seed: int,
    console: Console,
) -> list[str]:  # fmt: skip
    """Cluster every slice in which there is a label, for each k: `kmeans.csv`, and the maps as PNG files.

    Parameters
    ----------
    journal
        Of the embeddings' folder, where the maps are recorded part by part.
    content
        The hash of the encoder's file.

    Returns
    -------
    The units of the journal.
    """
    units = []
    for number, rows in enumerate(parts(root / "slices.csv")):
        labelled = [row for row in rows if row["label_path"] and int(row["label_pixels"]) > 0]
        hashes = [file_sha256(root / row[name]) for row in labelled for name in ("path", "label_path")]
        unit = f"kmeans-{number:05d}"
        units.append(unit)
        key = unit_key("kmeans", content, export.embed_size, export.kmeans, seed, labelled, hashes)
        if journal.finished(unit, key):
            continue
        journal.begin(unit, [_map_name(row, k) for row in labelled for k in export.kmeans])
        files, said = [], []
        for row in labelled:
            for k, (clusters, dice) in _maps(root, row, encoder(), export, seed):
                files.append(file_record(journal.root, _map_name(row, k), [png_bytes(clusters)]))
                said.append([row["path"], k, f"{dice:.6f}", f"{FOLDER}/{_map_name(row, k)}"])
        journal.add(Record(unit, key, tuple(files), {"rows": said}))
    sums: dict[int, list[float]] = {k: [] for k in export.kmeans}

    def found() -> Iterator[list[Any]]:
        for record in journal.records(units):
            for row in record.facts["rows"]:
                sums[row[1]].append(float(row[2]))
                yield row

    journal.begin("kmeans", ["kmeans.csv"])
    table = file_record(journal.root, "kmeans.csv", csv_pieces(COLUMNS, found()))
    journal.add(Record("kmeans", table.sha256, (table,), {}))
    for k, dices in sums.items():
        mean = float(np.mean(dices)) if dices else float("nan")
        console.print(f"k-means, k = {k}: mean Dice {mean:.3f} over {len(dices)} slices", soft_wrap=True)
    return [*units, "kmeans"]


def _map_name(row: Mapping[str, str], k: int) -> str:
    return f"kmeans/{Path(row['path']).with_suffix('')}_k-{k:03d}.png"


def _maps(
    root: Path, row: dict[str, str], encoder: Encoder, export: ExportSettings, seed: int
) -> Iterator[tuple[int, tuple[NDArray[np.uint8], float]]]:
    """The clusters of a slice and their Dice overlap with its label, for each k."""
    features = next(encoded(root, [row], encoder, 1))
    if features.ndim != 4:
        raise EncoderError("--kmeans needs an encoder that gives a map of features, (n, c, h, w)")
    label = _label_map(root / row["label_path"], encoder.edge, features.shape[2:])
    rows, columns = _shown((int(row["rows"]), int(row["columns"])), features.shape[2:])
    for k in export.kmeans:
        yield k, kmeans_map(features[0][:, :rows, :columns], label[:rows, :columns], k, seed)


def kmeans_map(
    features: NDArray[np.float32], label: NDArray[np.bool_], k: int, seed: int
) -> tuple[NDArray[np.uint8], float]:
    """The cluster of each patch, and the Dice overlap of the label with the clusters that lie in it by more than half.

    Parameters
    ----------
    features
        (c, h, w).
    label
        Patches of the label, (h, w).
    k
        Clusters; no more than there are different patches.
    """
    from sklearn.cluster import KMeans

    vectors = features.reshape(features.shape[0], -1).T
    count = min(k, len(np.unique(vectors, axis=0)), 255)
    found = KMeans(count, n_init=_STARTS, random_state=seed).fit_predict(vectors).reshape(label.shape)
    inside = [one for one in range(count) if label[found == one].mean() > 0.5]
    said = np.isin(found, inside)
    dice = 2 * float((said & label).sum()) / max(1, int(said.sum() + label.sum()))
    return found.astype(np.uint8), dice


def _shown(picture: tuple[int, int], grid: tuple[int, ...]) -> tuple[int, int]:
    """The rows and columns of patches that show the picture; the others are padding."""
    longest = max(picture)
    rows, columns = (max(1, -(-edge * size // longest)) for edge, size in zip(picture, grid, strict=True))
    return rows, columns


def _label_map(path: Path, edge: int, grid: tuple[int, ...]) -> NDArray[np.bool_]:
    """The patches of which more than half is label."""
    from PIL import Image

    with Image.open(path) as image:
        label = fitted(np.asarray(image), square=False, size=edge, labels=True) > 0
    whole = np.zeros((edge, edge), np.float32)
    whole[: label.shape[0], : label.shape[1]] = label
    patch = (edge // grid[0], edge // grid[1])
    cut = whole[: grid[0] * patch[0], : grid[1] * patch[1]].reshape(grid[0], patch[0], grid[1], patch[1])
    return np.asarray(cut.mean(axis=(1, 3)) > 0.5)
