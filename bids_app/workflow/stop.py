"""Ctrl-C and SIGTERM: the first one of them ends the run in order, further ones change nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(BaseException):
    """The run was asked to end by SIGTERM."""


@contextmanager
def stop_raises() -> Iterator[None]:
    """Raise KeyboardInterrupt or `Terminated` at the first signal, and ignore what follows: the end takes seconds.

    A signal that was ignored before (`nohup`, a job in the background) still is. Within another one, or in a thread
    other than the first, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _stop:
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_waits() -> Iterator[None]:
    """Hold the signals back for a moment in which nothing may be left half-done; a process started in it, too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(number: int, _frame: Any) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated
