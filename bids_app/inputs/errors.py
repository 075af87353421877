"""What can be wrong with the input as a whole."""

from __future__ import annotations

from bids_app.exit_codes import INVALID_BIDS


class InputError(Exception):
    """An input that stops the run (or the session): `message` says which file, what is wrong and what to do."""

    def __init__(self, message: str, code: int = INVALID_BIDS) -> None:
        super().__init__(message, code)  # both, so that the error survives pickling between processes
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message


class HeaderError(ValueError):
    """A file that is no usable NIfTI image; the message says why, for a user."""
