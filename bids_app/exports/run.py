"""The export level: from the derivatives of an output to files that loaders of training codes read."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bids_app import __version__
from bids_app.exit_codes import ALL_WELL, NO_INPUT, NOTHING_MATCHES, SOME_FAILED, USAGE
from bids_app.exports.formats import Export
from bids_app.exports.identity import Names
from bids_app.exports.jobs import Job, work
from bids_app.exports.journal import MANIFEST, Journal, Record, file_record, unit_key
from bids_app.exports.metadata import csv_pieces
from bids_app.exports.mr_rate import MrRate
from bids_app.exports.nnunet import Cases
from bids_app.exports.options import ExportSettings
from bids_app.exports.slices import Slices
from bids_app.exports.studies import list_studies
from bids_app.exports.survey import Source, Survey, survey
from bids_app.exports.webdataset import Shards
from bids_app.outputs.anonymise import read_date_key
from bids_app.outputs.writer import json_bytes
from bids_app.settings import Settings

_FORMATS: Mapping[str, type[Export]] = {"mr-rate": MrRate, "slices": Slices, "webdataset": Shards, "nnunet": Cases}
#: Seconds between two lines of progress where there is no terminal.
_TELL_EVERY_S = 30.0
#: The split of each patient, which the next export to the same folder keeps.
_SPLITS = "splits.csv"
#: The unit that the tables at the root are.
_TABLES = "tables"


class ExportError(Exception):
    """An export that cannot begin; `code` is the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


def run_export(
    settings: Settings, export: ExportSettings, subjects: frozenset[str], console: Console, *, dry_run: bool = False
) -> int:
    """Export what is finished of the given participants; with `dry_run` only tell what that is.

    Returns
    -------
    The exit code: 0, 1 when a study failed, 18 when there is nothing to export.

    Raises
    ------
    ExportError
        No output to export from (66), or a key that is missing (64).
    """
    if not (settings.output_dir / "logs").is_dir():
        raise ExportError(f"{settings.output_dir} is no output of bids_app; run the participant level first", NO_INPUT)
    source = _source(settings, export)
    _FORMATS[export.format].check(export, settings)
    sessions = frozenset(label.removeprefix("ses-") for label in settings.session_label)
    studies = list_studies(settings.output_dir, subjects, sessions)
    if dry_run:
        return _tell(_survey(source, iter(studies), export, settings), export, console)
    with Journal(export.export_dir) as journal, _progress(console) as bar:
        task = bar.add_task("looking at the studies", total=len(studies))
        seen = _survey(source, _counted(studies, bar, task), export, settings)
        if not seen.entries:
            console.print(f"no finished series of {len(studies)} studies can be exported")
            return _nothing(console, journal, seen.left_out)
        for line in seen.told:
            console.print(line, soft_wrap=True)
        export = replace(export, export_images=tuple(str(one) for one in seen.wanted))
        form = _FORMATS[export.format](source, export, settings, seen)
        failed = _make(form, journal, bar, settings.nprocs)
        units = [unit for unit in form.units if unit not in failed]
        if not units and not failed:
            return _nothing(console, journal, form.left_out)
        _write_tables(form, journal, units)
        code = form.afterwards(journal, console)
    _tell_left_out(console, form.left_out)
    for unit, reason in sorted(failed.items()):
        console.print(f"{unit} failed: {reason}", style="red", soft_wrap=True)
    console.print(f"{len(units)} {form.noun} in {export.export_dir}", soft_wrap=True)
    return SOME_FAILED if failed else code


def _survey(
    source: Source, studies: Iterator[tuple[str, str | None]], export: ExportSettings, settings: Settings
) -> Survey:
    before = _splits_before(export, settings.random_seed)
    return survey(source, studies, export.stratify, export.split, settings.random_seed, export.wanted(), before)


def _splits_before(export: ExportSettings, seed: int) -> dict[str, str]:
    """The splits of the export that is there, if they were asked for in the same way."""
    try:
        about = json.loads((export.export_dir / "export.json").read_text(encoding="utf-8"))
        made = (about["Settings"]["split"], about["Settings"]["stratify"], about["Seed"])
        if made != (list(export.split), list(export.stratify), seed):
            return {}
        with (export.export_dir / _SPLITS).open(newline="", encoding="utf-8") as file:
            return {row["patient"]: row["split"] for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, TypeError):  # none, or one of an older version
        return {}


def _nothing(console: Console, journal: Journal, left_out: tuple[tuple[str, str, str], ...]) -> int:
    """Tell why there is nothing to export; an export that is there stays, as one may have mistyped."""
    _tell_left_out(console, left_out)
    if journal.is_empty:
        console.print(f"nothing is written to {journal.root}", soft_wrap=True)
    else:
        console.print(f"the export in {journal.root} is left as it was", soft_wrap=True)
    return NOTHING_MATCHES


def _tell(seen: Survey, export: ExportSettings, console: Console) -> int:
    """What an export would take."""
    _tell_left_out(console, seen.left_out)
    for line in seen.told:
        console.print(line, soft_wrap=True)
    for split, count in sorted(Counter(entry.split for entry in seen.entries).items()):
        patients = len({entry.patient for entry in seen.entries if entry.split == split})
        console.print(f"{split}: {count} studies of {patients} patients")
    console.print(f"{len(seen.entries)} studies would be exported to {export.export_dir}", soft_wrap=True)
    return ALL_WELL if seen.entries else NOTHING_MATCHES


def _source(settings: Settings, export: ExportSettings) -> Source:
    key = read_date_key(export.export_key, settings.output_dir, "--export-key")
    if key is not None and export.export_key is not None:
        read_date_key(export.export_key, export.export_dir, "--export-key")  # it must not leave with the files
    if export.format == "mr-rate" and key is None:
        raise ExportError(
            "--format mr-rate needs --export-key FILE: the secret by which its pseudonyms are made; make one with "
            "`head -c 32 /dev/urandom | base64 > FILE`, outside the output, and keep it"
        )
    inside = export.export_dir.resolve().is_relative_to
    if inside(settings.bids_dir.resolve()) and not inside(settings.output_dir.resolve()):
        raise ExportError(f"--export-dir {export.export_dir} lies in the dataset, which is never written to")
    date_key = read_date_key(settings.date_key, settings.output_dir)
    names = Names(key, date_key)
    return Source(settings.bids_dir, settings.output_dir, names, not settings.deface, settings.allow_face)


def _make(form: Export, journal: Journal, bar: Progress, nprocs: int) -> dict[str, str]:
    """Make what is not there yet; the units that failed, with the reason."""
    failed: dict[str, str] = {}
    told = [time.monotonic()]
    task = bar.add_task(f"writing {form.noun}", total=form.total)

    def unfinished() -> Iterator[Job]:
        for job in form.jobs():
            if journal.finished(job.unit, job.key):
                bar.advance(task)
            else:
                journal.begin(job.unit, job.places)
                yield job

    def done(unit: str, record: Record | None, problem: str) -> None:
        bar.advance(task)
        now = time.monotonic()
        if not bar.console.is_terminal and now - told[0] > _TELL_EVERY_S:
            told[0] = now
            bar.console.print(f"{int(bar.tasks[-1].completed)} {form.noun} of {form.total or 'all'}", soft_wrap=True)
        if record is None:
            failed[unit] = problem
        else:
            journal.add(record)

    work(unfinished(), journal.root, nprocs, done)
    bar.update(task, total=form.total, completed=form.total)
    return failed


def _write_tables(form: Export, journal: Journal, units: list[str]) -> None:
    """The tables of all studies together, what was left out, and how the export was made; then the manifest."""
    files = [file_record(journal.root, path, pieces) for path, pieces in form.tables(journal, units)]
    left_out = csv_pieces(("study", "contrast", "reason"), form.left_out)
    about = {
        "GeneratedBy": {"Name": "bids_app", "Version": __version__},
        "Settings": form.export.public(),
        "Seed": form.settings.random_seed,
        "Pseudonyms": "HMAC-SHA-256" if form.source.names.key else "none: the labels of the derivatives",
        "Manifest": f"{MANIFEST}: the sha256 of every file",
    }
    splits = dict(sorted((entry.patient, entry.split) for entry in form.seen.entries))
    files.append(file_record(journal.root, _SPLITS, csv_pieces(("patient", "split"), splits.items())))
    files.append(file_record(journal.root, "left_out.csv", left_out))
    files.append(file_record(journal.root, "export.json", [json_bytes(about)]))
    files.append(file_record(journal.root, "README.md", [form.readme().encode()]))
    key = unit_key([vars(file) for file in files])
    journal.add(Record(_TABLES, key, tuple(files), {}))
    journal.close((*units, _TABLES))


def _tell_left_out(console: Console, left_out: tuple[tuple[str, str, str], ...]) -> None:
    for reason, count in sorted(Counter(reason for *_, reason in left_out).items()):
        console.print(f"left out, {count} times: {reason}", soft_wrap=True)


def _counted(studies: list[tuple[str, str | None]], bar: Progress, task: object) -> Iterator[tuple[str, str | None]]:
    for one in studies:
        yield one
        bar.advance(task)  # type: ignore[arg-type]


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
