"""The page of all participants: `group.html`, a table of every series with every number, to be sorted and judged."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.outputs.measures import load_measures
from bids_app.reports.contents import SeriesContent, read_participant, read_table, subjects_of
from bids_app.reports.outliers import FEWEST, LIMIT, is_outlier, usual
from bids_app.reports.ratings import COLUMNS, LEVELS, Rating
from bids_app.reports.rendering import render

VERSION = "1"
#: Numbers that are in the table at first; the others can be chosen.
_SHOWN = ("mask_volume_ml", "snr_total", "cnr", "cjv", "coregister_nmi", "face_skin_left")


def group_page(output: Path, ratings: Mapping[str, Rating]) -> bytes:
    """The page of all participants in an output, made from their tables and manifests alone."""
    pages = [path.stem for path in output.glob("sub-*.html")]
    people = {
        row.get("participant_id", ""): ", ".join(
            f"{name} {value}" for name, value in row.items() if name != "participant_id" and value != "n/a"
        )
        for row in read_table(output / "participants.tsv")
    }
    return render_group(list(_all_series(output)), ratings, pages, people)


def render_group(
    series: Sequence[tuple[str, str, SeriesContent]],
    ratings: Mapping[str, Rating],
    pages: Iterable[str] = (),
    people: Mapping[str, str] | None = None,
) -> bytes:
    """The page of some series.

    Parameters
    ----------
    series
        (participant_id, session_id or "", series) for each.
    pages
        The participants that have a page of their own.
    people
        What the table of participants says of each, in words.
    """
    data = {**group_data(series, ratings, pages), "people": dict(sorted((people or {}).items()))}
    key = hashlib.sha256(f"{__version__} {VERSION} {json.dumps(data, sort_keys=True)}".encode()).hexdigest()
    counts = {name: sum(one.cell("status") == name for _, _, one in series) for name in ("done", "failed", "rejected")}
    return render(
        "group.html.j2",
        "group.js",
        key,
        {**data, "key": key},
        counts=counts,
        participants=len({subject for subject, _, _ in series}),
        sessions=len({(subject, session) for subject, session, _ in series}),
        contrasts=data["contrasts"],
        levels=LEVELS,
        limit=LIMIT,
        fewest=FEWEST,
        version=__version__,
    )


def group_data(
    series: Sequence[tuple[str, str, SeriesContent]], ratings: Mapping[str, Rating], pages: Iterable[str]
) -> dict[str, Any]:
    """What the page's script is given: rows, numbers, what is usual in each contrast, and what stands out.

    `values[row]` and `rows` have the order of `series`; `flags[row]` are indices into `measures`;
    `usual[contrast][measure]` is (count, median, robust standard deviation).
    """
    listed = sorted(series, key=lambda one: (one[0], one[1], one[2].name))
    known = {name for _, _, one in listed for name, value in one.measures.items() if value is not None}
    measures = [measure for name, measure in load_measures().items() if name in known]
    contrasts = sorted({_contrast(one) for _, _, one in listed})
    values = [[_rounded(one.measures.get(measure.name)) for measure in measures] for _, _, one in listed]
    of_contrast = [contrasts.index(_contrast(one)) for _, _, one in listed]
    found = [
        [
            usual([row[index] for row, contrast in zip(values, of_contrast, strict=True) if contrast == which])
            for index in range(len(measures))
        ]
        for which in range(len(contrasts))
    ]
    flags = [
        [
            index
            for index, measure in enumerate(measures)
            if is_outlier(row[index], found[contrast][index], measure.better)
        ]
        for row, contrast in zip(values, of_contrast, strict=True)
    ]
    with_page = set(pages)
    return {
        "measures": [
            [one.name, one.label, one.unit.replace("cm2", "cm²"), one.better, one.group, one.meaning]
            for one in measures
        ],
        "shown": [name for name in _SHOWN if name in known],
        "contrasts": contrasts,
        "rows": [
            [
                subject,
                session,
                one.name,
                contrast,
                one.cell("status"),
                one.cell("reason"),
                one.warnings,
                subject in with_page,
            ]
            for (subject, session, one), contrast in zip(listed, of_contrast, strict=True)
        ],
        "values": values,
        "flags": flags,
        "usual": [[[each.count, _rounded(each.median), _rounded(each.sd)] for each in row] for row in found],
        "ratings": {name: [one.rating, one.note] for name, one in sorted(ratings.items())},
        "levels": list(LEVELS),
        "columns": list(COLUMNS),
    }


def _all_series(output: Path) -> Iterable[tuple[str, str, SeriesContent]]:
    for subject in subjects_of(output):
        participant = read_participant(output, subject)
        for session in participant.sessions:
            for series in session.series:
                yield participant.label, session.name, series


def _contrast(series: SeriesContent) -> str:
    """Suffix, and whether a contrast agent was given."""
    name = series.cell("suffix") or "unknown"
    return f"{name} with contrast agent" if series.cell("contrast_agent") == "1" else name


def _rounded(value: float | None) -> float | None:
    """Five digits are more than a person compares, and half the size; what is no number is none."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")
