"""The options of the export level: their words, and what they say as `ExportSettings`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_app.cli.errors import UsageError
from bids_app.exit_codes import NO_INPUT
from bids_app.exports.options import EXPORT_OPTIONS, FORMATS, PLANES, ExportSettings


def add_export_options(group: argparse._ArgumentGroup) -> None:
    """Add the options to a parser's group."""
    add = _Adder(group)
    add("--format", choices=FORMATS, help="the layout of the export")
    add("--export-dir", type=Path, metavar="DIR", help="where it goes; OUTPUT_DIR/exports/FORMAT by default")
    add("--export-key", type=Path, metavar="FILE", help="secret, outside of output and export, by which names become "
        "pseudonyms and dates are moved")  # fmt: skip
    add("--export-images", nargs="+", metavar="IMAGE", help="kinds of images, as [CONTRAST@]SPACE[:res-LABEL]/DESC: "
        "native/preproc, atlas/brainzscore, T1w@reference/preproc, T1w+ce@… (with contrast agent), …; for nnunet: the "
        "channels")  # fmt: skip
    add("--export-label", metavar="LABEL", help="the mask (brain, lesion, …) or segmentation (synth) to go with them")
    add("--split", nargs="+", type=float, metavar="SHARE", help="shares of patients for train, val and test")
    add("--stratify", nargs="+", metavar="COLUMN", help="columns in which the splits are to be alike: age, sex, "
        "Manufacturer, MagneticFieldStrength, plane, …")  # fmt: skip
    add("--batch-studies", type=int, metavar="N", help="mr-rate: studies of a batch")
    add("--planes", nargs="+", choices=PLANES, help="slices: in which planes; acquisition is the series' own")
    add("--png-bits", type=int, choices=(8, 16), help="slices: bits of a pixel")
    add("--png-scale", choices=("slice", "volume"), help="slices: minimum and maximum of each slice, or of the volume")
    add("--png-square", action="store_true", help="slices: pad to a square with the lowest value")
    add("--png-size", type=int, metavar="N", help="slices: scale the longer side to N pixels")
    add("--shard-mb", type=float, metavar="MB", help="webdataset: largest size of a shard")
    add("--dataset-id", type=int, metavar="N", help="nnunet: number of the dataset")
    add("--embed", type=Path, metavar="ENCODER", help="slices: compute embeddings by an encoder: a TorchScript or ONNX "
        "file, or weights of MRI-CORE's or SAM's ViT-B")  # fmt: skip
    add("--embed-size", type=int, metavar="N", help="edge of the encoder's input; 1024 for ViT-B")
    add("--embed-batch", type=int, metavar="N", help="slices that are encoded at once")
    add("--embed-format", choices=("parquet", "zarr"), help="how embeddings are stored")
    add("--probe", nargs="+", metavar="COLUMN", help="with --embed: predict these columns from the embeddings")
    add("--kmeans", nargs="+", type=int, metavar="K", help="with --embed and --export-label: clusters of the encoder's "
        "patches, and their Dice overlap with the label")  # fmt: skip


class _Adder:
    """Adds options with both spellings."""

    def __init__(self, group: argparse._ArgumentGroup) -> None:
        self._group = group

    def __call__(self, name: str, **words: Any) -> None:
        other = "--" + name[2:].replace("-", "_")
        self._group.add_argument(*dict.fromkeys((name, other)), **words)


def export_settings(given: Mapping[str, Any], output: Path) -> ExportSettings:
    """The choices of an export, checked.

    Raises
    ------
    UsageError
        No format, or values that cannot be (64); an encoder that is not there (66).
    """
    if "format" not in given:
        raise UsageError(f"export needs --format: {', '.join(FORMATS)}")
    words = {name: given[name] for name in EXPORT_OPTIONS if name in given}
    words = {name: tuple(one) if isinstance(one, list) else one for name, one in words.items()}
    words.setdefault("export_dir", output / "exports" / words["format"])
    words = {name: one.absolute() if isinstance(one, Path) else one for name, one in words.items()}
    export = ExportSettings(**words)
    try:
        export.wanted()
        if export.format == "mr-rate":
            export.three_images()
    except ValueError as error:
        raise UsageError(f"--export-images: {error}") from error
    _check_numbers(export)
    _check_format(export)
    return export


def _check_numbers(export: ExportSettings) -> None:
    shares = export.split
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise UsageError("--split: three shares are needed, for train, val and test, of sum 1, such as 0.8 0.1 0.1")
    for name in ("batch_studies", "png_size", "shard_mb", "embed_size", "embed_batch", "dataset_id"):
        value = getattr(export, name)
        if value is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} must be more than 0")
    if export.dataset_id > 999:
        raise UsageError("--dataset-id: nnU-Net's numbers have three digits")
    if any(k < 2 for k in export.kmeans):
        raise UsageError("--kmeans: at least two clusters")


def _check_format(export: ExportSettings) -> None:
    if export.format == "nnunet" and export.export_label is None:
        raise UsageError("--format nnunet needs --export-label: what a network is to learn")
    if export.embed is not None and export.format != "slices":
        raise UsageError("--embed goes with --format slices")
    if (export.probe or export.kmeans) and export.embed is None:
        raise UsageError("--probe and --kmeans need --embed ENCODER")
    if export.kmeans and export.export_label is None:
        raise UsageError("--kmeans needs --export-label: what the clusters are compared with")
    if export.embed is not None and not export.embed.is_file():
        raise UsageError(f"--embed {export.embed}: no such file", NO_INPUT)
