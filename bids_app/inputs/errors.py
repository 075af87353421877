"""What can be wrong with the input as a whole, and the exit code that says so."""

from __future__ import annotations

#: Exit codes of the BIDS-Apps execution draft and of sysexits.h that an input can cause.
INVALID_BIDS = 16
NOTHING_MATCHES = 18
USAGE = 64
NO_INPUT = 66
IO_ERROR = 74


class InputError(Exception):
    """An input that stops the run (or the session): `message` says which file, what is wrong and what to do."""

    def __init__(self, message: str, code: int = INVALID_BIDS) -> None:
        super().__init__(message, code)  # both, so that the error survives pickling between processes
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message
