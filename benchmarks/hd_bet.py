"""HD-BET's own command line beside our engines, on the same images: time, memory and agreement.

    python benchmarks/hd_bet.py --models FOLDER IMAGE [IMAGE ...] [--quick] > hd_bet.tsv

FOLDER holds weights in HD-BET's layout. With random weights of its size the times are true and the masks are noise, in
which every score is near 0 and rounding decides: say `--noise`, and no agreement is asked for.
The command line is called once for each file, as users do, and once for the folder; each of our engines that is to be
had here loads the network once and masks all images. Everything runs in processes of its own: wall time, processor
time of all descendants, the peak of their memory together (proportional set size, sampled), and the Dice with the
masks of the folder call, before any component is taken. Exits with 1 where a target is missed. `--quick`: the first
image alone. `--cube N`: a made-up head of N x N x N voxels of 1 mm instead, for the memory. Without mirroring, but with
`--mirroring`; `--device cuda` compares on a GPU. Not on a busy machine: times are wall times.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from cost import Cost, measured
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.steps.brain_mask import hd_bet
from bids_app.steps.brain_mask.hd_bet_engines import GPU_ENGINE, PROCESSOR_ENGINES, choose_engine
from bids_app.steps.images import conform, mask_of, new_image

#: How many times faster than the folder call and than single calls; on a GPU with mirroring.
FASTER = {"torch-float32": (1.0, 1.0), "openvino-bfloat16": (3.0, 4.0), GPU_ENGINE: (5.0, 5.0)}
LEAST_DICE = {"torch-float32": 0.9999}
MOST_GB = {"openvino": 4.0, "torch": 6.0}
_DICE = 0.999
COMMAND_LINE, FOLDER = "hd-bet, file by file", "hd-bet, folder"


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cube", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--mirroring", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="WAY", help="engines, or hd-bet")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        return _mask_all(arguments)
    with tempfile.TemporaryDirectory() as folder:
        return _compare(arguments, Path(folder))


def _compare(arguments: argparse.Namespace, work: Path) -> int:
    images = work / "images"
    images.mkdir()
    if arguments.cube:
        nib.save(_made_up_head(arguments.cube), images / "head.nii.gz")
    for number, path in enumerate(arguments.images[:1] if arguments.quick else arguments.images):
        nib.save(conform(nib.load(path)), images / f"{number}.nii.gz")
    names = sorted(path.name for path in images.iterdir())
    if not names:
        print("give images or --cube", file=sys.stderr)
        return 64
    print("way", "images", "wall_s", "cpu_s", "peak_gb", "dice", "faster_than_folder", "faster_than_files", sep="\t")
    costs: dict[str, Cost] = {}
    missed = []
    for way, commands in _ways(arguments, images, names, work).items():
        (work / way).mkdir()
        costs[way] = measured(commands, work)
        dices = [_dice(work / FOLDER, work / way, name) for name in names] if way not in (FOLDER, COMMAND_LINE) else []
        known = [value for value in dices if value is not None]
        faster = [
            costs[other].wall_s / costs[way].wall_s if other in costs else None for other in (FOLDER, COMMAND_LINE)
        ]
        row = (*vars(costs[way]).values(), min(known, default=None), *faster)
        print(way, len(names), *("n/a" if value is None else f"{value:.4g}" for value in row), sep="\t", flush=True)
        if way not in (FOLDER, COMMAND_LINE):
            missed += _missed(way, costs[way], [] if arguments.noise else known, faster)
    for one in missed:
        print(f"# missed: {one}")
    return 1 if missed else 0


def _ways(arguments: argparse.Namespace, images: Path, names: list[str], work: Path) -> dict[str, list[list[str]]]:
    """The commands of each way of masking; the network is where HD-BET looks for it."""
    home = work / "hd-bet_params"
    home.mkdir()
    (home / "release_2.0.0").symlink_to(arguments.models.resolve())
    theirs = [str(Path(sys.executable).with_name("hd-bet")), "-device", arguments.device.split(":")[0]]
    theirs += ["--save_bet_mask", "--no_bet_image", *([] if arguments.mirroring else ["--disable_tta"])]
    ways = {
        FOLDER: [[*theirs, "-i", str(images), "-o", str(work / FOLDER)]],
        COMMAND_LINE: [[*theirs, "-i", str(images / name), "-o", f"{COMMAND_LINE}/{name}"] for name in names],
    }
    for engine in PROCESSOR_ENGINES if arguments.device == "cpu" else (GPU_ENGINE,):
        try:
            choose_engine(arguments.device, engine)
        except hd_bet.HdBetError as error:
            print(f"# left out: {error}", file=sys.stderr)
            continue
        ours = [sys.executable, __file__, "--models", str(arguments.models), "--device", arguments.device]
        ours += ["--threads", str(arguments.threads), *(["--mirroring"] if arguments.mirroring else [])]
        ways[engine] = [[*ours, "--engine", engine, *(str(images / name) for name in names)]]
    wanted = set(arguments.only or ways) | ({FOLDER, COMMAND_LINE} if "hd-bet" in (arguments.only or ()) else set())
    return {way: commands for way, commands in ways.items() if way in wanted}


def _mask_all(arguments: argparse.Namespace) -> int:
    """In a process of its own: one engine, all images; the masks go beside the folder of the images."""
    model = hd_bet.load(
        arguments.models, device=arguments.device, engine=arguments.engine, mirroring=arguments.mirroring,
        threads=arguments.threads,
    )  # fmt: skip
    for path in arguments.images:
        image = conform(nib.load(path))
        mask = new_image(model.predict(image).astype(np.uint8), image.affine)
        nib.save(mask, path.parents[1] / arguments.engine / path.name.replace(".nii.gz", "_bet.nii.gz"))
    return 0


def _dice(theirs: Path, ours: Path, name: str) -> float | None:
    masks: list[NDArray[np.bool_]] = []
    for folder in (theirs, ours):
        path = folder / name.replace(".nii.gz", "_bet.nii.gz")
        if not path.exists():
            return None
        masks.append(mask_of(nib.load(path)))
    return float(2 * (masks[0] & masks[1]).sum() / max(masks[0].sum() + masks[1].sum(), 1))


def _missed(way: str, cost: Cost, dices: list[float], faster: list[float | None]) -> list[str]:
    result = []
    for target, value, other in zip(FASTER.get(way, ()), faster, ("the folder call", "single calls"), strict=False):
        if value is not None and value < target:
            result.append(f"{way} is {value:.2f} times as fast as {other}, not {target:g}")
    least = LEAST_DICE.get(way, _DICE)
    if dices and min(dices) < least:
        result.append(f"{way} agrees with Dice {min(dices):.5f}, not {least:g}")
    most = MOST_GB[way.split("-")[0]]
    if cost.peak_gb > most:
        result.append(f"{way} takes {cost.peak_gb:.1f} GB, not {most:g}")
    return result


def _made_up_head(size: int) -> nib.Nifti1Image:
    """A bright ball with noise."""
    grid = np.indices((size,) * 3, dtype=np.float32) - (size - 1) / 2
    ball = (np.sqrt((grid**2).sum(axis=0)) < size / 3).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, ball.shape).astype(np.float32)
    return new_image(ndimage.gaussian_filter(ball, 1.5) * 100 + noise + 1, np.eye(4))


if __name__ == "__main__":
    sys.exit(main())
