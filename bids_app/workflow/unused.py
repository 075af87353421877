"""Masks of `--masks` and `--lesions` that belong to no image of the dataset: most likely they are misnamed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bids_app.inputs.dataset import Selection
from bids_app.inputs.lesions import lesions_in, lesions_of
from bids_app.inputs.series import Session
from bids_app.workflow.context import RunContext

_SHOWN = 10


@dataclass
class Unused:
    """The given files that the walk has met no image of so far."""

    folder: Path | None
    masks: dict[str, Path] = field(default_factory=dict)
    lesions: set[Path] = field(default_factory=set)

    @classmethod
    def of(cls, context: RunContext, selection: Selection) -> Unused:
        """All files that were given; none where the walk leaves images out by choice, which may be theirs."""
        if selection.participants or selection.sessions or selection.filters or selection.shard != (1, 1):
            return cls(None)
        folder = context.settings.lesions
        return cls(folder, dict(context.given_masks), set(lesions_in(folder)) if folder is not None else set())

    def walked(self, session: Session) -> None:
        """The walk came to a session."""
        for series in (*session.series, *session.rejected):
            self.masks.pop(series.name, None)
        if self.folder is not None:
            self.lesions.difference_update(lesions_of(self.folder, session.subject, session.session))

    def in_words(self) -> list[str]:
        """What to tell at the end of a run, a line for each option."""
        given = {"--masks": list(self.masks.values()), "--lesions": sorted(self.lesions)}
        return [_line(option, paths) for option, paths in given.items() if paths]


def _line(option: str, paths: list[Path]) -> str:
    names = ", ".join(path.name for path in paths[:_SHOWN])
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"Note: of {option}, by their names of no image in the dataset and not used: {names}{more}"
