"""Numbers as they are collected: each one finite, or None with the reason."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_DIGITS = 5  # significant; more than any of the numbers is worth
_NOTHING = 1e-9


class CannotMeasureError(ValueError):
    """A number that this image has not; the message says why, in a few words for a user."""


class Once(Generic[_T]):
    """Something that several numbers need: computed when it is first asked for; a reason against it is kept as well."""

    def __init__(self, compute: Callable[[], _T]) -> None:
        self._compute = compute
        self._found: _T | None = None
        self._problem: CannotMeasureError | None = None

    def __call__(self) -> _T:
        if self._problem is None and self._found is None:
            try:
                self._found = self._compute()
            except CannotMeasureError as error:
                self._problem = error
        if self._problem is not None:
            raise CannotMeasureError(str(self._problem))
        return cast(_T, self._found)


@dataclass
class Measured:
    """Numbers by name, and why those that are None could not be had."""

    numbers: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def add_one(self, name: str, compute: Callable[[], float]) -> None:
        """Compute one number, as `add` does."""
        self.add([name], lambda: {name: compute()})

    def add(self, names: Iterable[str], compute: Callable[[], Mapping[str, float | None]]) -> None:
        """Compute some numbers; whatever goes wrong makes them None, never an error.

        Memory that runs out is an error nevertheless: it says nothing about the image.
        """
        names = tuple(names)
        found: Mapping[str, float | None] = {}
        reason = "it was not found"
        try:
            found = compute()
        except MemoryError:
            raise
        except CannotMeasureError as error:
            reason = str(error)
        except Exception as error:  # a number is never worth a series
            log.debug("%s: %s", ", ".join(names), error, exc_info=True)
            reason = f"the computation failed ({type(error).__name__})"
        for name in names:
            value = found.get(name)
            if value is not None and not math.isfinite(value):
                value, reason = None, "it has no finite value"
            self.numbers[name] = None if value is None else rounded(value)
            if value is None:
                self.reasons[name] = reason


def rounded(value: float) -> float:
    """A number with as many digits as it is worth; what is left of a sum that should be 0 is 0."""
    if abs(value) < _NOTHING:
        return 0.0
    return float(f"{value:.{_DIGITS}g}")
