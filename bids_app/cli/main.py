"""The entry: the main command, and helpers that are recognised by the first word."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.cli.parser import LEVELS, build_parser
from bids_app.exit_codes import INTERRUPTED, IO_ERROR, TRY_AGAIN
from bids_app.stop import Terminated, stop_raises

HELPERS = ("demo", "fetch", "verify", "calibrate")


def run(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Do what the words say and return the exit code."""
    try:
        with stop_raises():
            if words and words[0] in HELPERS and not set(LEVELS) & set(words[2:]):  # a dataset may be named demo, too
                from bids_app.cli import helpers

                return getattr(helpers, words[0])(list(words[1:]), environment)
            return _main(list(words), environment)
    except Exception as error:
        code = getattr(error, "code", None)
        if isinstance(code, int):  # an error of ours: its message is for the user
            print(f"bids_app: {getattr(error, 'message', error)}", file=sys.stderr)
            return code
        if isinstance(error, OSError):
            print(f"bids_app: {error}", file=sys.stderr)
            return IO_ERROR
        raise
    except (KeyboardInterrupt, Terminated) as stop:
        print("bids_app: stopped; the same command goes on from there", file=sys.stderr)
        return TRY_AGAIN if isinstance(stop, Terminated) else INTERRUPTED


def _main(words: list[str], environment: Mapping[str, str]) -> int:
    arguments = build_parser().parse_args(words)
    from bids_app.cli.settings import command_from

    command = command_from(arguments, environment)
    settings = command.settings
    _configure_logging(command.verbose)
    from rich.console import Console

    console = Console(highlight=False)
    from bids_app.inputs.dataset import list_subjects, open_dataset, tell_odd_names

    dataset = open_dataset(settings.bids_dir)
    if arguments.level == "group":
        from bids_app.group.run import run_group
        from bids_app.workflow.prepare import check_folders

        check_folders(settings)
        return run_group(settings, console)
    selection = _selection(settings)
    tell_odd_names(dataset)
    subjects = list_subjects(dataset, selection)  # an unknown label is told before anything is looked for
    if command.export is not None:
        from bids_app.exports.run import run_export

        return run_export(settings, command.export, frozenset(subjects), console, dry_run=command.dry_run)
    from bids_app.workflow.prepare import prepare

    context = prepare(settings)
    if command.dry_run:
        from bids_app.workflow.dry_run import Wanted, dry_run

        wanted = Wanted(command.json, command.nodes, command.plan_sessions, command.cost_model)
        return dry_run(dataset, selection, context, console, wanted)
    from bids_app.workflow.run import run_participants

    return run_participants(dataset, selection, context, console)


def _selection(settings: Any) -> Any:
    from bids_app.inputs.dataset import Selection
    from bids_app.inputs.filters import read_filter_file

    file: Path | None = settings.bids_filter_file
    return Selection(
        participants=settings.participant_label,
        sessions=settings.session_label,
        filters=read_filter_file(file) if file is not None else {},
        shard=settings.shard,
        acceptance=settings.acceptance,
        database_dir=settings.bids_database_dir,
        b_value=settings.b_value,
        lesions=settings.lesions,
    )


def _configure_logging(verbose: int) -> None:
    level = logging.INFO if verbose == 0 else logging.DEBUG
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("bids_app").setLevel(level)
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # odd headers are told in the series table
