"""The group level: what all participants' outputs say together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rich.console import Console

from bids_app.exit_codes import ALL_WELL, NOTHING_MATCHES
from bids_app.group.collection import run_collection
from bids_app.group.maps import check_maps, write_maps
from bids_app.group.measures import write_group_measures
from bids_app.outputs.series_table import COLUMNS
from bids_app.outputs.writer import OutputError, json_bytes, write_bytes, write_if_changed
from bids_app.reports.group_page import group_page
from bids_app.reports.ratings import kept_ratings, take_ratings
from bids_app.settings import Settings


def run_group(settings: Settings, console: Console) -> int:
    """Gather the sessions' series tables in `group_series.tsv`, their numbers in `group_measures.tsv`, and say what
    the collection is made of (`group.collection`).

    Returns
    -------
    The exit code: 0, or 18 when no participant was processed yet.

    Raises
    ------
    MapsError
        Maps that cannot be made, or words about maps without `--maps`.
    GroupError, InputError, OutputError
        A dataset, a column or a file cannot be used, or an output not be written.
    """
    check_maps(settings)
    output = settings.output_dir
    if settings.profile_only:
        run_collection(settings, console)
        return ALL_WELL
    header = "\t".join(COLUMNS)
    lines = [header]
    tables = 0
    for path in _tables(output):
        text = path.read_text(encoding="utf-8").splitlines()
        if not text or text[0] != header:
            raise OutputError(
                f"{path.relative_to(output)} has other columns than this version writes; "
                "run the participant level again"
            )
        lines += text[1:]
        tables += 1
    if not tables:
        console.print(f"{output} holds no processed participant; run the participant level first")
        return NOTHING_MATCHES
    take_ratings(settings)
    write_bytes(output / "group_series.tsv", ("\n".join(lines) + "\n").encode())
    write_if_changed(output / "group_series.json", json_bytes(COLUMNS))
    write_group_measures(output)
    run_collection(settings, console)
    write_if_changed(output / "group.html", group_page(output, kept_ratings(output)))
    console.print(f"{len(lines) - 1} series of {tables} sessions: {output / 'group_series.tsv'}", soft_wrap=True)
    tell = partial(console.print, soft_wrap=True, markup=False)
    for made in write_maps(settings, lambda note: tell(f"Note: {note}")):
        console.print(f"Map: {output / made}", soft_wrap=True)
    console.print(f"To look at them, open {output / 'group.html'}", soft_wrap=True)
    return ALL_WELL


def _tables(output: Path) -> Iterator[Path]:
    for subject in sorted(output.glob("sub-*")):
        yield from sorted(subject.glob("*_series.tsv"))
        yield from sorted(subject.glob("ses-*/*_series.tsv"))
