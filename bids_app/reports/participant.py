"""A participant's page: `sub-01.html`, one file with everything in it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.outputs.measures import load_measures
from bids_app.reports.atlases import AtlasEdges
from bids_app.reports.contents import (
    SeriesContent,
    SessionContent,
    page_sources,
    read_participant,
    sidecar,
)
from bids_app.reports.figures import Figure, SessionImages, series_figures
from bids_app.reports.individual import template_view
from bids_app.reports.ratings import LEVELS, Rating
from bids_app.reports.rendering import render

#: Of what a page shows and how: a change of it makes pages again.
VERSION = "1"
#: Bytes of a session's pictures. A page has at most 6 MB a session; the rest is for text.
_MOST_BYTES = 5_000_000

#: What can be done when a step failed, beside what its own message says.
ADVICE: Mapping[str, str] = {
    "read": "Look at the raw file: copy it again from its source, or leave the series out with a filter.",
    "mask": "Look at the raw image. A brain mask of your own can be given with --masks DIR.",
    "lesion": "Look at the lesion mask over the image that it was drawn on; without it the same command goes on.",
    "deface": "Look at the brain mask that the face is cut from; a better one can be given with --masks DIR.",
    "denoise": "Look at the brain mask and the image; the step is left out without --denoise.",
    "bias": "Look at the brain mask and the image: the field is fitted inside the mask.",
    "coregister": "Look at the field of view and the masks of this series and of the reference; another reference can "
    "be named with --reference.",
    "template": "Look at the field of view and the masks of the references of all sessions; a session can be left out "
    "with a filter.",
    "atlas": "Look at the brain mask of the reference; another reference can be named with --reference.",
    "resample": "Look at the space on the disk and the memory, then run the same command again.",
    "normalize": "Look at the intensities in the brain mask; another method can be named with --normalize.",
    "segment": "Run the same command again; the other outputs do not need it.",
    "vbm": "Look at the alignment to the atlas and the tissue segmentation.",
    "regions": "Is the parcellation in the space of the atlas? Look at it over the atlas' image.",
    "thickness": "Look at the tissue segmentation; the other outputs do not need it.",
    "measure": "Run the same command again; the images do not need it.",
}

#: Sidecar fields that tell how a series was acquired, with what they are called here and their factor and unit.
_ACQUISITION = (
    ("MagneticFieldStrength", "field", 1.0, "T"),
    ("RepetitionTime", "TR", 1000.0, "ms"),
    ("EchoTime", "TE", 1000.0, "ms"),
    ("InversionTime", "TI", 1000.0, "ms"),
    ("FlipAngle", "flip angle", 1.0, "°"),
)


@dataclass(frozen=True)
class Number:
    """A number with its meaning."""

    name: str
    label: str
    value: float | None
    unit: str
    meaning: str
    better: str
    source: str


@dataclass(frozen=True)
class Block:
    """A figure and the numbers that go with it."""

    key: str
    title: str
    figure: Figure | None
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class SeriesView:
    """A series as the template shows it."""

    content: SeriesContent
    anchor: str
    short: str
    status: str
    reason: str
    advice: str
    acquisition: str
    rating: Rating | None
    blocks: tuple[Block, ...]

    @property
    def attention(self) -> int:
        """0 failed, 1 warned of or rated badly, 2 nothing to look at, 3 rejected."""
        if self.status == "failed":
            return 0
        if self.status == "rejected":
            return 3
        badly = self.rating is not None and self.rating.rating != "pass"
        return 1 if self.content.warnings or badly else 2


@dataclass(frozen=True)
class SessionView:
    """A session as the template shows it; `ran` says what was done, in words."""

    content: SessionContent
    series: tuple[SeriesView, ...]
    ran: tuple[str, ...]


def page_key(output: Path, subject: str, ratings: Mapping[str, Rating], atlases: Iterable[str]) -> str:
    """Hash of everything that a participant's page is made from; it changes when the page would."""
    digest = hashlib.sha256(f"{__version__} {VERSION} {sorted(atlases)}".encode())
    for name, content in page_sources(output, subject):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    for series, rating in sorted(_of_subject(ratings, subject).items()):
        digest.update(f"\0{series}\0{rating}".encode())
    return digest.hexdigest()


def participant_page(
    output: Path, subject: str, ratings: Mapping[str, Rating], atlases: Mapping[str, AtlasEdges], threads: int = 1
) -> bytes:
    """The page of a participant, made from the output alone.

    Parameters
    ----------
    subject
        Label without `sub-`.
    ratings
        A reviewer's, by the name of the series.
    threads
        Series that are drawn side by side.
    """
    key = page_key(output, subject, ratings, atlases)
    content = read_participant(output, subject)
    sessions = [_session_view(output, one, ratings, atlases, threads) for one in content.sessions]
    views = [series for session in sessions for series in session.series]
    return render(
        "participant.html.j2",
        "participant.js",
        key,
        participant=content,
        individual=template_view(output, subject),
        sessions=sessions,
        attention=sorted((one for one in views if one.attention < 2), key=lambda one: one.attention),
        counts={name: sum(one.status == name for one in views) for name in ("done", "failed", "rejected")},
        flagged=sum(one.attention == 1 for one in views),
        methods=methods_blocks(output / "docs" / "methods.md"),
        levels=LEVELS,
        version=__version__,
    )


def _session_view(
    output: Path,
    session: SessionContent,
    ratings: Mapping[str, Rating],
    atlases: Mapping[str, AtlasEdges],
    threads: int,
) -> SessionView:
    figures = _figures(output, session, atlases, threads)
    views = []
    for series in session.series:
        reason = series.cell("reason")
        status = series.cell("status") or "done"
        step = reason.partition(":")[0] if status == "failed" else "read"
        views.append(
            SeriesView(
                series,
                anchor=re.sub(r"[^A-Za-z0-9_-]", "-", series.name),
                short=series.name.removeprefix(f"{session.label}_"),
                status=status,
                reason=reason,
                advice=ADVICE.get(step, ADVICE["read"]) if status == "failed" else "",
                acquisition=_acquisition(output, series),
                rating=ratings.get(series.name),
                blocks=_blocks(series, figures.get(series.name, ())),
            )
        )
    return SessionView(session, tuple(views), _ran(session))


def _figures(
    output: Path, session: SessionContent, atlases: Mapping[str, AtlasEdges], threads: int
) -> Mapping[str, tuple[Figure, ...]]:
    """The figures of each series; drawn coarser when they are too large together."""
    drawn = [series for series in session.series if series.tasks]
    coarser = 1.0
    while True:
        images = SessionImages.of(output, session, atlases, coarser)
        images.load_shared()
        with ThreadPoolExecutor(max(1, threads)) as pool:
            figures = list(pool.map(partial(series_figures, images=images), drawn))
        size = sum(len(one.uri) + len(one.lines) for each in figures for figure in each for one in figure.pictures)
        if size <= _MOST_BYTES or coarser > 6:
            return {series.name: each for series, each in zip(drawn, figures, strict=True)}
        coarser *= 1.5


def _blocks(series: SeriesContent, figures: Iterable[Figure]) -> tuple[Block, ...]:
    """The figures with their numbers, and the groups of numbers that have no figure."""
    titles = {
        "image": "Image", "mask": "Brain mask", "face": "Defacing", "bias": "Bias field",
        "registration": "Alignment to the reference", "atlas": "Alignment to the atlas",
        "tissue": "Tissue and structures", "normalization": "Normalised intensities",
        "morphometry": "Regions, thickness, grey matter",
    }  # fmt: skip
    numbers: dict[str, list[Number]] = {}
    for name, value in series.measures.items():
        one = load_measures()[name]
        group = "atlas" if name.startswith("atlas_") else one.group
        number = Number(name, one.label, value, one.unit, one.meaning, one.better, one.source)
        numbers.setdefault(group, []).append(number)
    by_key = {figure.key: figure for figure in figures}
    keys = [*titles, *sorted(set(numbers) - set(titles))]
    return tuple(
        Block(key, titles.get(key, key), by_key.get(key), tuple(numbers.get(key, ())))
        for key in keys
        if key in by_key or key in numbers
    )


def _acquisition(output: Path, series: SeriesContent) -> str:
    """How the series was acquired, in one line, as far as the sidecar says."""
    path = series.file("bias", "desc-preproc") or series.file("deface", "desc-defaced")
    fields: Mapping[str, Any] = sidecar(output, path) if path else {}
    parts = [part for part in (_spacing(series), series.cell("plane")) if part]
    for field, name, factor, unit in _ACQUISITION:
        value = fields.get(field)
        if isinstance(value, int | float) and not isinstance(value, bool):
            parts.append(f"{name} {value * factor:.4g} {unit}".replace(" °", "°"))
    maker = " ".join(str(fields[name]) for name in ("Manufacturer", "ManufacturersModelName") if fields.get(name))
    return " · ".join([*parts, maker] if maker else parts)


def _spacing(series: SeriesContent) -> str:
    spacing = series.cell("spacing_mm").replace("x", " × ")
    return f"{spacing} mm" if spacing else ""


def _ran(session: SessionContent) -> tuple[str, ...]:
    """What was done in a session, told by the tasks that stand."""
    steps = {name.split("/")[0] for series in session.series for name in series.tasks}
    methods = sorted({series.cell("mask_method") for series in session.series} - {""})
    atlases = sorted({space.partition("_")[0] for series in session.series for space in series.atlases()})
    variants = sorted({variant for series in session.series for variant, _ in series.normalized()})
    words = {
        "mask": f"brain masks by {', '.join(methods)}" if methods else "brain masks",
        "deface": "faces removed and checked",
        "denoise": "noise removed",
        "bias": "bias field removed",
        "coregister": "aligned to the reference",
        "atlas": f"aligned to {', '.join(atlases)}" if atlases else "aligned to an atlas",
        "normalize": f"normalised: {', '.join(variants)}" if variants else "normalised",
        "segment": "tissue segmented",
        "measure": "quality measured",
    }
    return tuple(text for step, text in words.items() if step in steps)


def methods_blocks(path: Path) -> list[tuple[str, str | list[str]]]:
    """The methods text as (kind, text): heading, paragraph, or list of references."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    result: list[tuple[str, str | list[str]]] = []
    for part in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in part.splitlines() if line.strip()]
        if not lines:
            continue
        if lines[0].startswith("#"):
            result.append(("heading", lines[0].lstrip("# ")))
        elif re.match(r"\d+\. ", lines[0]):
            result.append(("references", [re.sub(r"^\d+\. ", "", line) for line in lines]))
        else:
            result.append(("paragraph", " ".join(lines)))
    return result


def _of_subject(ratings: Mapping[str, Rating], subject: str) -> dict[str, Rating]:
    return {series: one for series, one in ratings.items() if series.startswith(f"sub-{subject}_")}
