"""A clinical session from native images to the atlas: ours beside MR-RATE's sequence and BrainLes-Preprocessing.

    python benchmarks/session.py DATASET PARTICIPANT --atlas HEAD [--brainles PYTHON] [--quick] > session.tsv

Ours: N4, co-registration, atlas registration, resampling and z-scores of all series of the participant, brain masks
given, with its workflow, manifests and sidecars. MR-RATE's sequence (`peers/mr_rate.py`) has no bias correction and no
z-scores. BrainLes-Preprocessing 0.6.14 (`peers/brainles.py`: co-registration, atlas registration and correction, N4)
runs with PYTHON, the interpreter of an environment that holds it. Every way is a process of its own with everything
that it imports, all on the same number of threads, one after another. HEAD is an atlas with its skull, and beside it
`HEAD_mask.nii.gz`.

How well they did is measured alike for all: the raw images are resampled by the transforms that each of them wrote, and
the mutual information (nats) of every moving series with the reference, and of the reference with the atlas, is taken
in the brain. A row each; exits with 1 where a target is missed. `--quick`: the reference and one other series.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
from cost import Cost, measured

from bids_app.steps import images
from bids_app.steps.quality.similarity import mutual_information, scaled
from bids_app.steps.registration.files import read_transform
from bids_app.steps.resampling import Grid, resample

#: How many times faster than which peer, and by how much (nats) the mutual information may be smaller: what the
#: histogram's own noise makes of two equally good transforms.
FASTER = {"mr-rate": 2.5, "brainles": 10.0}
_SAME_NATS = 0.005
_PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Found:
    """The transforms that a way wrote: of each moving series to the reference, and of the reference to the atlas."""

    cost: Cost
    to_atlas: Path
    to_reference: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """What all ways are given."""

    dataset: Path
    participant: str
    atlas: Path
    reference: Path
    moving: tuple[Path, ...]
    masks: Path
    threads: int


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("participant")
    parser.add_argument("--atlas", type=Path, required=True)
    parser.add_argument("--brainles", type=Path, metavar="PYTHON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        case = _prepared(arguments, work)
        found = {"bids_app": _ours(case, work), "mr-rate": _peer(sys.executable, "mr_rate", case, work)}
        if arguments.brainles:
            found["brainles"] = _peer(str(arguments.brainles), "brainles", case, work)
        return _judged(case, found)


def _prepared(arguments: argparse.Namespace, work: Path) -> Case:
    """The participant alone, with the masks that all are given (not measured)."""
    dataset = work / "data"
    shutil.copytree(arguments.dataset / f"sub-{arguments.participant}", dataset / f"sub-{arguments.participant}")
    shutil.copy(arguments.dataset / "dataset_description.json", dataset)
    anat = dataset / f"sub-{arguments.participant}" / "anat"
    series = sorted(anat.glob("*.nii.gz"))
    reference = next(path for path in series if path.name.endswith("_T1w.nii.gz") and "_ce-" not in path.name)
    moving = [path for path in series if path != reference]
    for path in moving[1:] if arguments.quick else ():
        path.unlink()
    measured([[*_command(dataset, work / "masks"), "--steps", "mask", "--nprocs", str(arguments.threads)]], work)
    return Case(
        dataset, arguments.participant, arguments.atlas.resolve(), reference,
        tuple(moving[:1] if arguments.quick else moving), work / "masks", arguments.threads,
    )  # fmt: skip


def _command(dataset: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "bids_app", str(dataset), str(output), "participant"]


def _ours(case: Case, work: Path) -> Found:
    output = work / "ours"
    steps = ("mask", "bias", "coregister", "atlas", "resample", "normalize")
    options = ["--masks", str(case.masks), "--no-deface", "--output-spaces", str(case.atlas)]
    options += ["--nprocs", str(case.threads), "--steps", *steps]
    cost = measured([[*_command(case.dataset, output), *options]], work)
    anat = output / f"sub-{case.participant}" / "anat"
    to_reference = {}
    for path in case.moving:
        stem, suffix = _stem(path).rsplit("_", 1)
        to_reference[path.name] = anat / f"{stem}_from-{suffix}_to-T1w_mode-image_xfm.mat"
    (to_atlas,) = (path for path in anat.glob("*_from-T1w_to-*_mode-image_xfm.mat") if "_to-T1w_" not in path.name)
    return Found(cost, to_atlas, to_reference)


def _peer(python: str, name: str, case: Case, work: Path) -> Found:
    output = work / name
    output.mkdir()
    command = [python, str(_PEERS / f"{name}.py"), str(case.atlas), str(output), str(case.reference)]
    threads = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(case.threads), "OMP_NUM_THREADS": str(case.threads)}
    cost = measured([[*command, *(str(path) for path in case.moving)]], work, threads)
    if name == "mr_rate":
        moved = {path.name: output / f"{_stem(path)}_to_center.mat" for path in case.moving}
        return Found(cost, output / "center_to_atlas.mat", moved)
    transforms = output / "transforms"
    moved = {path.name: _one(transforms / _stem(path), "1_*.mat") for path in case.moving}
    return Found(cost, _one(transforms / _stem(case.reference), "2_*.mat"), moved)


def _one(folder: Path, pattern: str) -> Path:
    """The matrix of a step: BrainLes puts its number first, 1 for co-registration, 2 for the atlas."""
    (path,) = folder.glob(pattern)
    return path


def _stem(path: Path) -> str:
    return path.name.removesuffix(".nii.gz")


def _judged(case: Case, found: dict[str, Found]) -> int:
    """Print a row for each way; 1 where a target is missed."""
    pairs = [*(path.name for path in case.moving), "atlas"]
    labels = [name.removeprefix(f"sub-{case.participant}_").removesuffix(".nii.gz") for name in pairs]
    print("way", "wall_s", "cpu_s", "peak_gb", *(f"mi_{label}" for label in labels), sep="\t")
    alike = {way: _similarities(case, one) for way, one in found.items()}
    for way, one in found.items():
        print(way, *(f"{value:.4g}" for value in (*vars(one.cost).values(), *alike[way])), sep="\t", flush=True)
    missed = 0
    for way, times in FASTER.items():
        if way not in found:
            continue
        ratio = found[way].cost.wall_s / found["bids_app"].cost.wall_s
        missed += ratio < times
        print("all", f"times faster than {way}", f"{ratio:.2f}", f"target {times:g}", _said(ratio >= times), sep="\t")
        for label, ours, theirs in zip(labels, alike["bids_app"], alike[way], strict=True):
            good = ours >= theirs - _SAME_NATS
            missed += not good
            print("all", f"mutual information of {label}, minus {way}'s", f"{ours - theirs:+.4f}",
                  f"target {-_SAME_NATS}", _said(good), sep="\t")  # fmt: skip
    return int(missed > 0)


def _said(good: bool) -> str:
    return "reached" if good else "missed"


def _similarities(case: Case, found: Found) -> list[float]:
    """Mutual information of every moving series with the reference, then of the reference with the atlas."""
    reference = images.conform(nib.load(case.reference))
    masks = case.masks.glob("sub-*/anat/*_label-brain_desc-T1w_mask.nii.gz")
    (path,) = (path for path in masks if "_ce-" not in path.name)
    brain = images.conform(nib.load(path))
    result = [
        _similarity(reference, brain, images.conform(nib.load(moving)), [found.to_reference[moving.name]])
        for moving in case.moving
    ]
    atlas = images.conform(nib.load(case.atlas))
    inside = images.conform(nib.load(case.atlas.with_name(case.atlas.name.replace(".nii.gz", "_mask.nii.gz"))))
    return [*result, _similarity(atlas, inside, reference, [found.to_atlas])]


def _similarity(fixed: images.Image, brain: images.Image, moving: images.Image, transforms: Sequence[Path]) -> float:
    moved = resample(moving, Grid.of(fixed), [read_transform(path) for path in transforms])
    inside = images.mask_of(brain) & (images.array_of(moved) > 0)
    one, other = (scaled(images.array_of(image), inside)[inside] for image in (fixed, moved))
    return mutual_information(one, other)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main())
