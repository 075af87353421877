"""What can be wrong with the words of the command line or of its TOML file."""

from __future__ import annotations

from bids_app.exit_codes import USAGE


class UsageError(Exception):
    """Words that cannot be understood; `code` is the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
