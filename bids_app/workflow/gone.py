"""What an output still has of participants and sessions that the dataset no longer has.

Nothing of it is removed: a folder that was not mounted, or that is renamed, must not cost a result. But a participant
who has withdrawn would stay in tables and group results unseen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bids_app.inputs.dataset import Selection, shard_of
from bids_app.inputs.series import Session
from bids_app.reports.contents import session_folders

_SHOWN = 10


@dataclass
class Gone:
    """Compares the walk with the output, a participant at a time; what the selection leaves out is not missed."""

    output: Path
    selection: Selection
    found: list[str] = field(default_factory=list)
    _subject: str | None = None
    _sessions: set[str] = field(default_factory=set)

    def walked(self, session: Session) -> None:
        """The walk came to a session; those of one participant come one after another."""
        if session.subject != self._subject:
            self._compare()
            self._subject, self._sessions = session.subject, set()
        self._sessions.add(session.label)

    def rest(self, begun: set[str]) -> None:
        """The walk came to its end, having met these participants."""
        self._compare()
        if self.selection.participants or self._is_partial():
            return
        index, count = self.selection.shard
        for folder in sorted(self.output.glob("sub-*")):
            label = folder.name.removeprefix("sub-")
            if label not in begun and folder.is_dir() and shard_of(label, count) == index:
                self.found.append(folder.name)

    def in_words(self) -> str:
        """What to tell at the end of a run; empty where nothing is gone."""
        if not self.found:
            return ""
        more = f" and {len(self.found) - _SHOWN} more" if len(self.found) > _SHOWN else ""
        return (
            f"Note: in the output and its tables, but without an image in the dataset (any more): "
            f"{', '.join(self.found[:_SHOWN])}{more}; docs/robustness.md says how to remove them"
        )

    def _is_partial(self) -> bool:
        """Whether sessions of a participant are left out by choice."""
        return bool(self.selection.sessions or self.selection.filters)

    def _compare(self) -> None:
        if self._subject is None or self._is_partial():
            return
        for folder in session_folders(self.output, self._subject):
            label = "_".join(folder.parts)
            if label not in self._sessions:
                whole = f"sub-{self._subject}"  # the participant has sessions: what is gone lies beside them
                self.found.append(f"{label} (without a session)" if label == whole else label)
