"""The group level's account of a collection: profile, summaries, changes, shift, landmarks, cards, and their page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from bids_app.assets import find_densenet
from bids_app.group.card import cards
from bids_app.group.change import CHANGE_COLUMNS, Change, change_rows, collect
from bids_app.group.columns import COLUMNS
from bids_app.group.datasets import Source, sources
from bids_app.group.profile import NAME, Profile, gather, table_pieces, write_profile
from bids_app.group.regions import REGION_COLUMNS, regions_of
from bids_app.group.summaries import (
    DISTRIBUTION_COLUMNS,
    SUMMARY_COLUMNS,
    TEST_COLUMNS,
    Count,
    counts,
    distributions,
    group_tests,
    levels_of,
)
from bids_app.group.volumes import VOLUME_COLUMNS, corrected_volumes
from bids_app.group.voxels import foreground_cells
from bids_app.group.weights import balance
from bids_app.inputs.dataset import Selection
from bids_app.outputs.landmarks import landmarks_bytes
from bids_app.outputs.writer import remove_partial_files, write_if_changed, write_pieces
from bids_app.reports.collection_page import Collection, collection_page
from bids_app.settings import Settings

PAGE = "group_collection.html"
#: What each table is, for the page and for its data dictionary.
MEANINGS = {
    f"{NAME}.tsv": "one row a series: geometry, contrast, acquisition, participant, intensities, sampling weight",
    f"{NAME}.parquet": "the same, for programs",
    "group_summary.tsv": "every count: contrasts, anisotropy, orientation, scanners, cohorts, what a session has",
    "group_distributions.tsv": "spacing, intensity and other numbers by dataset and contrast",
    "group_tests.tsv": "Kruskal-Wallis tests of these numbers between the groups",
    "group_change.tsv": "numbers before and after each step, paired by series",
    "group_shift.tsv": "distances between the groups, for each contrast and normalisation",
    "group_embedding.tsv": "where each participant lies on the first two principal components of the features",
    "group_volumes.tsv": "volumes corrected for the size of the head",
    "group_regions.tsv": "volumes and cortical thickness of regions, with the steps regions and thickness",
    "group_nyul.json": "landmarks for --normalize nyul --nyul-landmarks",
    "group_cards.yaml": "a card of each dataset",
}
#: The tables that there are of processed participants only.
OF_PROCESSED = ("group_change.tsv", "group_shift.tsv", "group_embedding.tsv", "group_volumes.tsv", "group_regions.tsv")


@dataclass
class _Account:
    """What is gathered on the way to the page."""

    settings: Settings
    sources: Sequence[Source]
    profile: Profile
    notes: list[str] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.settings.output_dir

    @property
    def cache(self) -> Path:
        return self.output / "logs" / "group"

    @property
    def compared(self) -> str | None:
        """The column whose groups are compared."""
        return self.settings.compare or ("dataset" if len(self.sources) > 1 else None)

    def write(self, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """A table, as its rows come; one without a row is no file."""
        coming = iter(rows)
        first = next(coming, None)
        if first is not None:
            write_pieces(self.output / name, table_pieces(columns, chain((first,), coming)))
        else:
            (self.output / name).unlink(missing_ok=True)


def run_collection(settings: Settings, console: Console) -> None:
    """Write the tables of a collection and its page.

    Raises
    ------
    GroupError, InputError, OutputError
        A dataset, a column or a file of weights cannot be used, or an output not be written.
    """
    found = sources(settings)
    if settings.profile_only:
        found = [Source(one.label, one.raw, None) if one.raw else one for one in found]
    further = list(settings.participant_columns)
    for name in (settings.compare, *settings.balance):
        if name is not None and name not in COLUMNS:
            further.append(name)
    cache = settings.output_dir / "logs" / "group"
    remove_partial_files(cache)
    measured = foreground_cells if settings.read_voxels else None
    selection = Selection(acceptance=settings.acceptance)
    profile = gather(found, selection, cache, tuple(dict.fromkeys(further)), measured)
    account = _Account(settings, found, profile)
    shares, balanced = _weigh(account)
    for said in write_profile(profile, account.output):
        console.print(f"Note: {said}", soft_wrap=True, markup=False)
    change = Change((), ()) if settings.profile_only else collect(found)
    page = _summaries(account, change.orientations) | _changes(account, change)
    if settings.profile_only:
        for name in OF_PROCESSED:  # an earlier run's: the page would list them as its own
            account.write(name, (), ())
    else:
        page |= _shift(account)
        account.write("group_volumes.tsv", VOLUME_COLUMNS, corrected_volumes(found))
        account.write("group_regions.tsv", REGION_COLUMNS, regions_of(found))
    if settings.learn_nyul:
        _landmarks(account)
    write_if_changed(account.output / "group_cards.yaml", cards(profile, found))
    collection = Collection(
        **_numbers(profile, found), **page, shares=shares, balanced=balanced, notes=tuple(account.notes),
        files=tuple((name, what) for name, what in MEANINGS.items() if (account.output / name).is_file()),
    )  # fmt: skip
    write_if_changed(account.output / PAGE, collection_page(collection, not settings.profile_only))
    for note in account.notes:
        console.print(f"Note: {note}", soft_wrap=True, markup=False)
    console.print(
        f"{len(profile)} series of {collection.participants} participants: {account.output / PAGE}", soft_wrap=True
    )


def _numbers(profile: Profile, found: Sequence[Source]) -> dict[str, Any]:
    columns = profile.columns
    people = set(zip(columns["dataset"], columns["participant_id"], strict=True))
    sessions = set(zip(columns["dataset"], columns["participant_id"], columns["session_id"], strict=True))
    return {
        "datasets": tuple(one.label for one in found), "series": len(profile), "used": len(profile.used()),
        "participants": len(people), "sessions": len(sessions),
    }  # fmt: skip


def _weigh(account: _Account) -> tuple[dict[str, dict[str, float]], bool]:
    """Fill the column of sampling weights; the shares that they reach."""
    profile, used = account.profile, account.profile.used()
    if not used:
        account.notes.append("no series is used: there are no sampling weights")
        return {}, True
    names = account.settings.balance or ("dataset", "contrast", *((account.compared,) if account.compared else ()))
    factors = {}
    for name in dict.fromkeys(names):
        levels = levels_of(profile.column(name))
        chosen = [levels[index] for index in used]
        if len(set(chosen)) > 1:
            factors[name] = chosen
    weights = balance(factors or {"dataset": [account.sources[0].label] * len(used)})
    for index, weight in zip(used, weights.values.tolist(), strict=True):
        profile.columns["sampling_weight"][index] = round(weight, 6)
    if not weights.balanced:
        account.notes.append("sampling weights cannot make all levels equal; the shares that they reach are below")
    return {name: dict(weights.shares[name]) for name in factors}, weights.balanced


def _summaries(account: _Account, turned: Sequence[Count]) -> dict[str, Any]:
    profile = account.profile
    further = [name for name in (*account.settings.participant_columns, account.compared) if name]
    counted = [*counts(profile, further), *turned]
    spread = distributions(profile)
    by = account.compared or "dataset"
    tested = group_tests(profile, by) if len(set(profile.column(by))) > 1 else []
    if len(account.sources) == 1 and account.compared is None:
        account.notes.append(
            "one dataset and no column to compare: nothing is tested; --compare COLUMN or --also DIR does"
        )
    account.write("group_summary.tsv", SUMMARY_COLUMNS, [vars(one) for one in counted])
    account.write("group_distributions.tsv", DISTRIBUTION_COLUMNS, [one.row() for one in spread])
    account.write("group_tests.tsv", TEST_COLUMNS, tested)
    several = len(account.sources) > 1
    drawn = [
        (one.measure, f"{one.dataset}, {one.contrast}" if several else one.contrast, one.values)
        for one in spread
        if one.values
    ]
    full = [{name: row.get(name) for name in TEST_COLUMNS} for row in tested]
    return {"counts": [vars(one) for one in counted], "distributions": drawn, "tests": full}


def _changes(account: _Account, change: Change) -> dict[str, Any]:
    rows = [{name: row.get(name) for name in CHANGE_COLUMNS} for row in change_rows(change)]
    account.write("group_change.tsv", CHANGE_COLUMNS, rows)
    several = len(account.sources) > 1
    drawn = [
        (one.step, one.measure, f"{one.dataset}, {one.contrast}" if several else one.contrast, one.before, one.after)
        for one in change.pairs
    ]
    return {"changes": rows, "pairs": drawn}


def _shift(account: _Account) -> dict[str, Any]:
    """Compare the groups of a column, by every descriptor at hand."""
    column = account.compared
    if column is None:
        account.write("group_shift.tsv", (), ())
        account.write("group_embedding.tsv", (), ())
        return {}
    from bids_app.group.shift_table import EMBEDDING_COLUMNS, SHIFT_COLUMNS, shift_tables
    from bids_app.group.slices import Extractor, slices

    columns = account.profile.columns
    levels = levels_of(account.profile.column(column))
    groups = dict(zip(zip(columns["dataset"], columns["series"], strict=True), levels, strict=True))
    found = slices(account.sources)
    if not found:
        account.notes.append(f"no series is processed: nothing is compared by {column} but the profile")
    weights = find_densenet(account.settings.densenet_weights, account.settings.app_home or Path("/nonexistent"))
    rows: list[Any] = []
    places: list[Any] = []
    for file in dict.fromkeys((None, weights)) if found else ():
        extractor = Extractor(account.cache, file)
        tables = shift_tables(found, groups, column, extractor, account.settings.random_seed)
        extractor.save()
        rows += tables.rows
        places += tables.places
        account.notes += [note for note in tables.notes if note not in account.notes]
    account.write("group_shift.tsv", SHIFT_COLUMNS, rows)
    account.write("group_embedding.tsv", EMBEDDING_COLUMNS, places)
    return {"compared": column, "shifts": rows, "places": places} if rows else {}


def _landmarks(account: _Account) -> None:
    from bids_app.group.landmarks import learn

    learnt = learn(account.sources, account.cache)
    account.notes += [f"{name}: no landmarks, {reason}" for name, reason in learnt.failures.items()]
    if not learnt.standards:
        account.notes.append("no series has its bias field removed: no landmarks were learnt")
        return
    write_if_changed(account.output / "group_nyul.json", landmarks_bytes(learnt.standards))
