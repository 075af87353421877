"""Embeddings of exported slices: 2-D average pooled features, a few thousand slices a file, in Parquet or zarr."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bids_app.exit_codes import ALL_WELL, NOTHING_MATCHES
from bids_app.exports.encoders import Encoder, EncoderError, load_encoder
from bids_app.exports.journal import MANIFEST, Journal, Record, file_record, unit_key
from bids_app.exports.options import ExportSettings
from bids_app.exports.slicing import fitted
from bids_app.inputs.content import file_sha256
from bids_app.settings import Settings

_VERSION = 1
#: Slices of one file: what is lost when an export is killed, and what is in memory.
PART = 4096
FOLDER = "embeddings"


def embed(root: Path, export: ExportSettings, settings: Settings, console: Console) -> int:
    """Embed all slices of an export, part by part, into its folder `embeddings`; then probe and cluster them.

    A part whose slices, encoder and settings are the same is not computed again. The exit code is 18 where there is no
    slice.

    Raises
    ------
    EncoderError
        The encoder, or a library for the wanted file, cannot be used.
    """
    assert export.embed is not None
    check_library(export.embed_format)
    content = file_sha256(export.embed)
    loaded: list[Encoder] = []

    def encoder() -> Encoder:
        """The encoder, loaded when it is needed first."""
        assert export.embed is not None
        if not loaded:
            loaded.append(load_encoder(export.embed, export.embed_size, settings.device, settings.nprocs))
        return loaded[0]

    folder = root / FOLDER
    units = []
    with Journal(folder) as journal:
        _forget_unlisted(journal)
        before = _parts_of(journal)
        computed = False
        for number, rows in enumerate(parts(root / "slices.csv")):
            unit = f"part-{number:05d}"
            units.append(unit)
            hashes = [file_sha256(root / row["path"]) for row in rows]
            key = unit_key("embeddings", _VERSION, content, export.embed_size, export.embed_format, rows, hashes)
            said = {"slices": len(rows), "rows": unit_key(rows)}
            if journal.finished(unit, key):
                (record,) = journal.records([unit])
                if "rows" not in record.facts:  # of an older version
                    journal.add(replace(record, facts={**record.facts, **said}))
                continue
            name = f"{unit}.parquet" if export.embed_format == "parquet" else f"{unit}.zarr.zip"
            journal.begin(unit, [name])
            vectors = np.concatenate([pooled(one) for one in encoded(root, rows, encoder(), export.embed_batch)])
            computed = True
            made = file_record(folder, name, [_packed(rows, vectors, export.embed_format)])
            journal.add(Record(unit, key, (made,), {**said, "features": int(vectors.shape[1])}))
            console.print(f"embedded {PART * number + len(rows)} slices", soft_wrap=True)
        found = [*units]
        if found == before and not computed:  # earlier probes and maps are of the same embeddings
            units += [unit for unit in journal.units if not unit.startswith("part-")]
        if units and export.probe:
            from bids_app.exports.probe import probe

            units += probe(journal, found, export, settings.random_seed, console)
        if units and export.kmeans:
            from bids_app.exports.clusters import cluster

            units += cluster(journal, root, content, encoder, export, settings.random_seed, console)
        journal.close(units)
    if not units:
        console.print("no slice is left to embed")
        return NOTHING_MATCHES
    return ALL_WELL


def drop_outdated(root: Path, console: Console) -> None:
    """Remove the embeddings, of an earlier run, of slices that the export has no more, and what was found in them.

    A run without an encoder cannot make them anew, and participants who were withdrawn must not stay.
    """
    folder = root / FOLDER
    if not (folder / MANIFEST).is_file():
        return
    with Journal(folder) as journal:
        now = {f"part-{number:05d}": unit_key(rows) for number, rows in enumerate(parts(root / "slices.csv"))}
        before = {unit: found.facts.get("rows") for unit in _parts_of(journal) for found in journal.records([unit])}
        if now != before:
            _forget_unlisted(journal)
            journal.close([unit for unit, rows in before.items() if now.get(unit) == rows])
            console.print(
                f"removed from {folder} what is of slices that are no more; --embed makes them", soft_wrap=True
            )


def _parts_of(journal: Journal) -> list[str]:
    return sorted(unit for unit in journal.units if unit.startswith("part-"))


def _forget_unlisted(journal: Journal) -> None:
    """Remove probes and maps that an older version made, whose manifest does not have them."""
    if not {unit.partition("-")[0] for unit in journal.units} & {"probe", "kmeans"}:
        found = [*journal.root.glob("probe_*.json"), *journal.root.glob("kmeans.csv")]
        for path in (*found, *journal.root.glob("kmeans/**/*.png")):
            path.unlink()


def encoded(root: Path, rows: Sequence[dict[str, str]], encoder: Encoder, batch: int) -> Iterator[NDArray[np.float32]]:
    """The features of slices, a batch at a time."""
    for start in range(0, len(rows), batch):
        pictures = [read_picture(root / row["path"], encoder.edge) for row in rows[start : start + batch]]
        yield encoder(np.stack(pictures))


def pooled(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps of features averaged over the picture (Dong et al. 2025, MRI-CORE); vectors as they are."""
    if features.ndim == 4:
        return features.mean(axis=(2, 3))
    if features.ndim != 2:
        raise EncoderError(f"the encoder gives an array of {features.ndim} axes; (n, c, h, w) or (n, c) is needed")
    return features


def read_picture(path: Path, edge: int) -> NDArray[np.float32]:
    """A slice as an encoder takes it: three equal channels in [0, 1], scaled to the edge, 0 below or at the right."""
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image)
    scaled = fitted(pixels, square=False, size=edge).astype(np.float32) / np.iinfo(pixels.dtype).max
    result = np.zeros((3, edge, edge), np.float32)
    result[:, : scaled.shape[0], : scaled.shape[1]] = scaled
    return result


def read_embeddings(
    folder: Path, names: Sequence[str] | None = None
) -> tuple[list[dict[str, str]], NDArray[np.float32]]:
    """The rows and vectors of these files, or of all parts that are there, as they were written."""
    rows: list[dict[str, str]] = []
    vectors = []
    paths = sorted(folder.glob("part-*")) if names is None else [folder / name for name in names]
    for path in paths:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            table = pyarrow.parquet.read_table(path)
            vectors.append(np.asarray(table["embedding"].combine_chunks().flatten()).reshape(table.num_rows, -1))
            rows += table.drop_columns("embedding").to_pylist()
        elif path.suffix == ".zip":
            import zarr

            with zarr.storage.ZipStore(path, mode="r") as store:
                group: Any = zarr.open_group(store, mode="r")
                vectors.append(np.asarray(group["embedding"][:]))
                rows += list(group.attrs["rows"])
    return rows, np.concatenate(vectors).astype(np.float32)


def parts(table: Path) -> Iterator[list[dict[str, str]]]:
    """The rows of the table of slices, a part at a time."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        while part := list(itertools.islice(rows, PART)):
            yield part


def check_library(kind: str) -> None:
    """Whether the library for the wanted files is there.

    Raises
    ------
    EncoderError
        It is not.
    """
    name = {"parquet": "pyarrow", "zarr": "zarr"}[kind]
    try:
        __import__(name)
    except ImportError as error:
        raise EncoderError(f"--embed-format {kind} needs {name}: pip install bids_app[exports]") from error


def _packed(rows: list[dict[str, str]], vectors: NDArray[np.float32], kind: str) -> bytes:
    return _parquet(rows, vectors) if kind == "parquet" else _zarr(rows, vectors)


def _parquet(rows: list[dict[str, str]], vectors: NDArray[np.float32]) -> bytes:
    """Columns as in `slices.csv`, and `embedding`, a list of fixed length."""
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    values = pyarrow.array(np.ascontiguousarray(vectors).ravel())
    columns["embedding"] = pyarrow.FixedSizeListArray.from_arrays(values, vectors.shape[1])
    stream = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), stream, compression="zstd")
    return bytes(stream.getvalue())


def _zarr(rows: list[dict[str, str]], vectors: NDArray[np.float32]) -> bytes:
    """A group in a zip file: the array `embedding`, and the rows of `slices.csv` as its attribute `rows`."""
    import zarr

    from bids_app.exports.archives import zip_pieces

    content: dict[str, Any] = {}
    store = zarr.storage.MemoryStore(content)
    group = zarr.create_group(store, attributes={"rows": rows})
    group.create_array("embedding", data=np.ascontiguousarray(vectors))
    members = sorted((name, one.to_bytes()) for name, one in content.items())
    return b"".join(zip_pieces(members))
