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
    """Hold the signals back for a moment in which nothing may be left half-done; a process started in it, too.

    The mask is what a process started in it inherits. It is not enough for our own: a library's thread that was started
    before would take the signal. In a thread other than the first, where Python allows no more, it is all there is.
    """
    if threading.current_thread() is not threading.main_thread():
        with _masked():
            yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    held = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in held:
        signal.signal(number, lambda which, _frame: came.append(which))
    try:
        with _masked():
            yield
    finally:
        for number in held:
            signal.signal(number, before[number])
        for which in dict.fromkeys(came):
            signal.raise_signal(which)


@contextmanager
def _masked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(number: int, _frame: Any) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated
