"""The helpers: a demo dataset, fetching what does not ship, verifying an output, measuring what steps cost."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bids_app.exit_codes import ALL_WELL, CANNOT_CREATE, NO_INPUT, SOME_FAILED


def demo(words: list[str], environment: Mapping[str, str]) -> int:
    """`bids_app demo DIR`."""
    del environment
    parser = argparse.ArgumentParser(
        prog="bids_app demo",
        description="Write a small BIDS dataset of artificial heads, with the truth beside it, to try bids_app on.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other noise and displacements")
    parser.add_argument("--spacing-mm", type=float, default=1.0, help="voxel size of the finest series")
    arguments = parser.parse_args(words)
    from bids_app.inputs.demo import write_demo

    try:
        write_demo(arguments.folder, seed=arguments.seed, spacing_mm=arguments.spacing_mm)
    except FileExistsError as error:
        print(f"bids_app: {error}", file=sys.stderr)
        return CANNOT_CREATE
    print(f"{arguments.folder} is there. Next: bids_app {arguments.folder} OUTPUT participant")
    return ALL_WELL


def fetch(words: list[str], environment: Mapping[str, str]) -> int:
    """`bids_app fetch hd-bet|SPACE[:atlas-NAME] …`."""
    parser = argparse.ArgumentParser(
        prog="bids_app fetch",
        description="Fetch HD-BET's weights or templates of TemplateFlow into BIDS_APP_HOME (by default the user's "
        "data folder). This is the only command that uses the network.",
    )
    parser.add_argument(
        "what",
        nargs="+",
        metavar="hd-bet|densenet121|SPACE[:atlas-NAME]",
        help="hd-bet, densenet121 (for group --compare), a space such as MNI152NLin2009cAsym, or a parcellation in it: "
        "MNI152NLin2009cAsym:atlas-Schaefer2018:desc-100Parcels7Networks",
    )
    parser.add_argument("--accept-license", action="store_true", help="accept the licence of HD-BET's weights")
    arguments = parser.parse_args(words)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from bids_app.assets import (
        HD_BET_LICENSE,
        fetch_densenet,
        fetch_hd_bet,
        fetch_parcellation,
        fetch_space,
        home,
        is_parcellation,
    )

    where = home(environment)
    for what in arguments.what:
        if what == "densenet121":
            print(f"DenseNet121's weights: {fetch_densenet(where)}")
            continue
        if is_parcellation(what):
            print(f"{what}: {fetch_parcellation(what, where)}")
            continue
        if what != "hd-bet":
            print(f"{what}: {fetch_space(what, where)}")
            continue
        accepted = arguments.accept_license
        if not accepted and sys.stdin.isatty():
            print(HD_BET_LICENSE)
            accepted = input("Do you accept this licence? [y/N] ").strip().lower() in ("y", "yes")
        columns = (TextColumn("HD-BET's weights"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, transient=True) as bar:
            task = bar.add_task("", total=None)
            folder = fetch_hd_bet(
                where,
                accept_license=accepted,
                progress=partial(_told, bar, task),
                say=bar.console.print,
            )
        print(f"HD-BET's weights: {folder}")
    return ALL_WELL


def _told(bar: Any, task: Any, done: int, total: int | None) -> None:
    bar.update(task, completed=done, total=total)


def verify(words: list[str], environment: Mapping[str, str]) -> int:
    """`bids_app verify OUTPUT`, where OUTPUT can be an export, too."""
    del environment
    parser = argparse.ArgumentParser(
        prog="bids_app verify",
        description="Compare every file of an output or of an export with the hashes in its manifests.",
    )
    parser.add_argument("output", type=Path, metavar="OUTPUT")
    arguments = parser.parse_args(words)
    from bids_app.outputs.verify import verify_output

    if not arguments.output.is_dir():
        print(f"bids_app: {arguments.output}: no such folder", file=sys.stderr)
        return NO_INPUT
    from bids_app.exports.journal import MANIFEST, verify_export

    is_export = (arguments.output / MANIFEST).is_file()
    count, problems = verify_export(arguments.output) if is_export else verify_output(arguments.output)
    for path, problem in problems:
        print(f"{path}: {problem}")
    print(f"{count} files checked, {len(problems)} problems")
    return SOME_FAILED if problems else ALL_WELL


def calibrate(words: list[str], environment: Mapping[str, str]) -> int:
    """`bids_app calibrate`."""
    parser = argparse.ArgumentParser(
        prog="bids_app calibrate",
        description="Run the steps on computed heads and write what they cost on this machine, for --dry-run to tell. "
        "Further options are those of a run (--brain-extraction, --device, --atlas-registration, --omp-nthreads); what "
        "was measured earlier with others stays in the file.",
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="by default costs.json in BIDS_APP_HOME")
    parser.add_argument(
        "--spacing-mm",
        type=float,
        nargs="+",
        default=[2.0, 1.0],
        metavar="MM",
        help="voxel edges of the heads, 1 to 4; by default 2 and 1, which takes some minutes",
    )
    arguments, others = parser.parse_known_args(words)
    from rich.console import Console

    from bids_app.assets import home
    from bids_app.cli.parser import build_parser
    from bids_app.cli.settings import command_from
    from bids_app.workflow.calibrate import calibrate as measure
    from bids_app.workflow.calibrate import write_costs
    from bids_app.workflow.costs import FILE, find_costs, read_costs

    path = (arguments.output or home(environment) / FILE).absolute()
    nowhere = Path(tempfile.gettempdir(), "bids_app")
    options = build_parser().parse_args([str(nowhere), str(nowhere), "participant", *others])
    settings = command_from(options, environment).settings
    earlier = read_costs(path) if path.is_file() else find_costs(settings)
    found = measure(settings, arguments.spacing_mm, Console(highlight=False))
    write_costs(path, found, earlier.costs, arguments.spacing_mm)
    for name, cost in sorted(found.costs.items()):
        print(
            f"{name:16s} {cost.seconds:8.2f} s + {cost.seconds_per_megavoxel:.3f} s per million voxels, "
            f"{cost.memory_gb:.2f} GB + {cost.memory_gb_per_megavoxel:.3f} GB"
        )
    print(f"{path}: written. The clock ran {found.clock_over_processor:.1f} times as long as the processor.")
    return ALL_WELL
