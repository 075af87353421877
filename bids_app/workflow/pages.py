"""The participants' pages: made when all sessions of a participant that a run has are finished, from what is on disk.

A page says in its head what it was made from, so that it is made again when that has changed, and only then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from bids_app.assets import AssetError, Space, find_space
from bids_app.inputs.series import Session
from bids_app.outputs.leftovers import sweep_root
from bids_app.outputs.lock import Locks
from bids_app.outputs.manifest import read_manifest, record_table
from bids_app.outputs.writer import write_if_changed
from bids_app.reports.contents import atlas_names, session_folders
from bids_app.reports.participant import page_key, participant_page
from bids_app.reports.ratings import Rating, kept_ratings
from bids_app.reports.rendering import key_of
from bids_app.workflow.context import RunContext
from bids_app.workflow.profile import TaskTime

log = logging.getLogger("bids_app")

_HEAD_BYTES = 2048  # the key of a page stands in them


@dataclass(frozen=True)
class Page:
    """A page to be written, as a job for a worker."""

    subject: str

    @property
    def label(self) -> str:
        """Its name at the output's root, which is its lock's, too."""
        return f"sub-{self.subject}.html"


@dataclass
class Pages:
    """Which pages are to be written in a run; each is given out once its lock is held.

    Attributes
    ----------
    open
        Sessions that are not finished yet, by participant; the walk adds to it and the run takes from it.
    given
        Names of the pages that workers have.
    """

    context: RunContext
    locks: Locks
    open: dict[str, set[str]] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    _latest: str | None = None

    def walked(self, session: Session) -> None:
        """The walk came to a session."""
        self.open.setdefault(session.subject, set()).add(session.label)
        self._latest = session.subject

    def finished(self, label: str) -> None:
        """A session has come to its end."""
        self.open.get(label.removeprefix("sub-").partition("_ses-")[0], set()).discard(label)

    def ready(self) -> Iterator[Page]:
        """The pages of participants whom the walk has left behind and whose sessions are all finished."""
        for subject in [one for one, left in self.open.items() if not left and one != self._latest]:
            page = Page(subject)
            if not self._is_due(page):
                del self.open[subject]
            elif self._takes(page, 0.0):
                del self.open[subject]
                yield page

    def rest(self, patience_s: float) -> Iterator[Page]:
        """All others, at the end of a run; what another run writes is waited for so long."""
        pages, self.open = [Page(subject) for subject in self.open], {}
        for page in pages:
            if self._is_due(page) and self._takes(page, patience_s):
                yield page

    def _is_due(self, page: Page) -> bool:
        output = self.context.settings.output_dir
        if "report" not in self.context.settings.steps:
            return False
        return not is_current(output, page, self._ratings, atlases_of(output, page, self.context))

    def _takes(self, page: Page, patience_s: float) -> bool:
        """Whether this run has the lock of a page now."""
        try:
            if self.locks.wait(page.label, patience_s) is not None:
                return False
            sweep_root(self.context.settings.output_dir, (page.label,))
        except OSError as error:  # a full disk: the page is due in the next run
            log.warning("the page of %s is not written: %s", page.label, error.strerror or error)
            return False
        self.given.add(page.label)
        return True

    def ended(self, page: Page) -> None:
        """A worker has come to the end of a page."""
        self.given.discard(page.label)
        self.locks.release(page.label)

    @cached_property
    def _ratings(self) -> Mapping[str, Rating]:
        return kept_ratings(self.context.settings.output_dir)


def is_current(output: Path, page: Page, ratings: Mapping[str, Rating], atlases: Iterable[str]) -> bool:
    """Whether a page is there, whole, and made from what there is now; also where there is nothing to be told."""
    if not session_folders(output, page.subject):
        return True
    record = read_manifest(_manifest(output, page)).tables.get(page.label)
    try:
        if record is None or (output / page.label).stat().st_size != record.size:
            return False
        with (output / page.label).open("rb") as stream:
            key = key_of(stream.read(_HEAD_BYTES))
    except OSError:
        return False
    return key == page_key(output, page.subject, ratings, atlases)


def write_page(page: Page, context: RunContext, threads: int) -> TaskTime:
    """Write a page and record it, in a worker; how long that took.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    from bids_app.reports.atlases import atlas_edges

    began, cpu = time.monotonic(), time.process_time()
    output = context.settings.output_dir
    edges = atlas_edges(atlases_of(output, page, context).items())
    content = participant_page(output, page.subject, kept_ratings(output), edges, threads)
    drawn = time.monotonic()
    write_if_changed(output / page.label, content)
    record_table(_manifest(output, page), page.label, content)
    wrote = time.monotonic()
    return TaskTime(f"report/sub-{page.subject}", drawn - began, wrote - drawn, time.process_time() - cpu)


def atlases_of(output: Path, page: Page, context: RunContext) -> Mapping[str, Space]:
    """The atlases that a participant was brought to, by the names of their spaces; those that are at hand.

    They are those of the outputs, not of this run's options, so that the pages alone can be made without those.
    """
    settings = context.settings
    given = {
        one.label + (f"_res-{one.output.resolution}" if one.output.resolution else ""): one for one in context.spaces
    }
    found = {}
    for name in atlas_names(output, page.subject):
        space = given[name].space if name in given else _by_name(name, settings.app_home, settings.templateflow_home)
        if space is not None:
            found[name] = space
    return found


@cache
def _by_name(name: str, home: Path | None, templateflow_home: Path | None) -> Space | None:
    label, _, resolution = name.partition("_res-")
    try:
        return find_space(f"{label}:res-{resolution}", home or Path("/nonexistent"), templateflow_home)
    except (AssetError, OSError) as error:
        log.debug("no edges of %s in the pages: %s", name, error)
        return None


def _manifest(output: Path, page: Page) -> Path:
    """Where a page is listed: with what else is the participant's and no session's."""
    return output / "logs" / f"sub-{page.subject}" / "manifest.json"
