"""The group level's own error."""

from __future__ import annotations

from bids_app.exit_codes import USAGE


class GroupError(Exception):
    """A group level that cannot start, or a column that is not there; `code` is the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code
