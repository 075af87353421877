"""What a run tells while it runs: live lines on a terminal, plain lines anywhere else."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bids_app.workflow.session import SessionResult

log = logging.getLogger("bids_app")

#: What a step is called while it runs.
DOING = {
    "mask": "brain mask",
    "deface": "defacing",
    "denoise": "denoising",
    "bias": "bias field",
    "coregister": "co-registration",
    "atlas": "atlas registration",
    "resample": "resampling",
    "normalize": "normalising",
    "measure": "measuring quality",
}


@dataclass
class _Running:
    began: float
    task: str = "reading"
    ended: int = 0
    since: dict[str, float] = field(default_factory=dict)


@dataclass
class Progress:
    """A line for each running session and one for the total.

    Parameters
    ----------
    console
        Where to write; whether it is a terminal decides between live and plain lines.
    participants
        How many participants there are: sessions are found on the way, so this is the known total.
    """

    console: Console
    participants: int
    _running: dict[str, _Running] = field(default_factory=dict)
    _finished: int = 0
    _seen: set[str] = field(default_factory=set)
    _began: float = field(default_factory=time.monotonic)
    _live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self._render, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def started(self, label: str) -> None:
        """A session was given to a worker."""
        self._running[label] = _Running(time.monotonic())

    def task(self, label: str, name: str, status: str) -> None:
        """A task of a session started or ended."""
        session = self._running.get(label)
        if session is None:
            return
        if status == "start":
            step, series, *space = name.split("/")
            what = series.removeprefix(f"{label}_")
            session.task = f"{DOING.get(step, step)} of {what}" + (f" in {space[0]}" if space else "")
            session.since[name] = time.monotonic()
        else:
            session.ended += 1
            seconds = time.monotonic() - session.since.pop(name, session.began)
            log.debug("%s: %s %s, %.1f s", label, name, "done" if status == "end" else "failed", seconds)

    def finished(self, result: SessionResult) -> None:
        """A session came to its end."""
        self._running.pop(result.label, None)
        self._finished += 1
        self._seen.add(result.label.split("_")[0])
        parts = [f"{result.done} done"] if result.done else []
        parts += [f"{result.unchanged} unchanged"] if result.unchanged else []
        parts += [f"{result.rejected} series rejected"] if result.rejected else []
        parts += [f"{len(result.failures)} failed"] if result.failures else []
        mark = "failed" if result.failures else "unchanged" if not result.done else "done"
        line = f"{result.label}: {mark} in {result.seconds:.0f} s ({', '.join(parts) or 'nothing to do'})"
        style = "red" if result.failures else "dim" if not result.done else ""
        self.console.print(Text(f"[{len(self._seen)}/{self.participants}] {line}", style=style), soft_wrap=True)

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for label, session in sorted(self._running.items()):
            table.add_row(f"  {label}", session.task, f"{session.ended} tasks", f"{now - session.began:.0f} s")
        total = Text(
            f"{self._finished} sessions finished, {len(self._seen)} of {self.participants} participants, "
            f"{now - self._began:.0f} s",
            style="bold",
        )
        return Group(table, total)
