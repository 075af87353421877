"""What became of the sessions of a run, and how that is told at its end."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bids_app.exit_codes import ALL_WELL, NOTHING_MATCHES, SOME_FAILED, TRY_AGAIN
from bids_app.inputs.series import Session
from bids_app.outputs.lock import Holder
from bids_app.settings import Settings
from bids_app.workflow.failures import Failure
from bids_app.workflow.session import SessionResult


@dataclass
class Account:
    """What became of the sessions so far: counts and failures, nothing that grows with what went well.

    Attributes
    ----------
    begun
        The participants that the walk came to.
    latest
        The sessions so far of the participant that the walk is at.
    running
        The sessions that a worker has.
    waiting
        The sessions that another run has.
    stopped
        Whether a failure ended the run (`--stop-on-first-crash`).
    """

    sessions: int = 0
    series: int = 0
    failures: list[Failure] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    latest: list[Session] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    waiting: dict[str, tuple[Any, Holder]] = field(default_factory=dict)
    stopped: bool = False

    def walked(self, session: Session) -> None:
        """The walk came to a session."""
        if self.latest and self.latest[-1].subject != session.subject:
            self.latest.clear()
        self.latest.append(session)
        self.begun.add(session.subject)
        self.series += len(session.series)
        broken = [series for series in session.rejected if series.unreadable]
        self.failures += [Failure(session.label, series.name, "read", series.rejection or "") for series in broken]

    def add(self, result: SessionResult) -> None:
        """Count a session in."""
        self.sessions += 1
        self.failures.extend(result.failures)


def not_done(account: Account, subjects: list[str], settings: Settings) -> str:
    """The sessions that were under way and those that had not begun, in words."""
    names = [*account.running, *account.waiting, *_later_sessions(account, settings)]
    names += [f"sub-{label}" for label in subjects if label not in account.begun]
    more = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return f"Not finished: {', '.join(names[:30]) or 'nothing'}{more}."


def _later_sessions(account: Account, settings: Settings) -> list[str]:
    """The sessions of the participant that the walk is at which it did not come to."""
    if not account.latest:
        return []
    subject = account.latest[-1].subject
    found: list[str] = []
    with contextlib.suppress(OSError):
        found = [path.name for path in (settings.bids_dir / f"sub-{subject}").glob("ses-*") if path.is_dir()]
    wanted = {f"ses-{label.removeprefix('ses-')}" for label in settings.session_label} or set(found)
    last = account.latest[-1].session
    return [f"sub-{subject}_{name}" for name in sorted(found) if name in wanted and name > f"ses-{last or ''}"]


def nothing_code(settings: Settings) -> int:
    """The exit code where nothing is selected: all is well in one shard of several, whose others have the images."""
    return ALL_WELL if settings.shard[1] > 1 else NOTHING_MATCHES


def closing(account: Account, subjects: list[str], settings: Settings, console: Console) -> int:
    """The last words of a run that came to its end, and its exit code."""

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    if account.series == 0 and not account.failures:
        where = " in this shard" if settings.shard[1] > 1 else ""
        say(f"Nothing to process{where}: no structural series is selected; --dry-run lists what was found and why not")
        return nothing_code(settings)
    if account.stopped:
        say(not_done(account, subjects, settings))
    for label, (_, holder) in account.waiting.items():
        say(f"Not done: {label}: {holder} works on it; run again when that has ended")
    if account.failures:
        _tell_failures(account, console)
        say(
            f"{len(account.failures)} failures in {account.sessions} sessions; everything else is in "
            f"{settings.output_dir}. Details: errors.txt under its logs"
        )
        return SOME_FAILED
    say(f"{account.sessions} sessions finished. Results: {settings.output_dir}")
    return TRY_AGAIN if account.waiting else ALL_WELL


def _tell_failures(account: Account, console: Console) -> None:
    rows = [
        (failure.session, failure.series.removeprefix(f"{failure.session}_"), failure.step, failure.message)
        for failure in account.failures
    ]
    if console.is_terminal:
        table = Table("session", "series", "step", "why", title="Failed", title_justify="left", show_edge=False)
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)
    else:  # one line each, to be searched in a log
        for row in rows:
            line = "Failed: " + " ".join(cell for cell in row[:3] if cell) + f": {row[3]}"
            console.print(line, soft_wrap=True, markup=False)
