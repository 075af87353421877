"""The helpers: a demo dataset, fetching what does not ship, verifying an output."""

from __future__ import annotations

import argparse
import sys
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
    """`bids_app fetch hd-bet|SPACE …`."""
    parser = argparse.ArgumentParser(
        prog="bids_app fetch",
        description="Fetch HD-BET's weights or templates of TemplateFlow into BIDS_APP_HOME (by default the user's "
        "data folder). This is the only command that uses the network.",
    )
    parser.add_argument(
        "what",
        nargs="+",
        metavar="hd-bet|densenet121|SPACE",
        help="hd-bet, densenet121 (for group --compare), or a space such as MNI152NLin2009cAsym",
    )
    parser.add_argument("--accept-license", action="store_true", help="accept the licence of HD-BET's weights")
    arguments = parser.parse_args(words)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from bids_app.assets import HD_BET_LICENSE, fetch_densenet, fetch_hd_bet, fetch_space, home

    where = home(environment)
    for what in arguments.what:
        if what == "densenet121":
            print(f"DenseNet121's weights: {fetch_densenet(where)}")
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
