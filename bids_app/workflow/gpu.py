"""One warm process for each GPU: it holds HD-BET's network, and predicts for all workers of a run, one at a time.

The workers read, prepare, put back and write the images of their sessions, each in its own process, while the GPUs
predict for others: so the preparation of one series, the prediction of another and the export of a third overlap, each
series stays a task of its own that fails and is recorded alone, and a GPU holds one network however many workers there
are. The GPUs' processes wait at one socket in the private work folder, and the kernel gives the next series to one that
is free. They are started when the first series comes. One that ends costs the series that it had; another takes its
place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.brain_mask.hd_bet_model import HdBetError
from bids_app.workflow.pool import die_with_parent

log = logging.getLogger("bids_app")

#: How often the process of a GPU may end before the GPU is given up: once is bad luck, three times is a broken driver.
_MOST_DEATHS = 3
_PATIENCE_S = 5.0

#: Makes what predicts, in a GPU's process: the scores of a preprocessed volume (z, y, x).
Loader = Callable[[], Callable[[NDArray[np.float32]], NDArray[np.float32]]]


def predict_on_gpu(place: Path, data: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores of a preprocessed volume, by one of the processes that wait at a socket.

    Raises
    ------
    HdBetError
        The prediction failed there, or its process ended under it.
    """
    try:
        with socket.socket(socket.AF_UNIX) as caller, _address(place) as address:
            caller.connect(address)
            with Connection(caller.detach()) as pipe:
                pipe.send(data)
                error, scores = pipe.recv()
    except (OSError, EOFError) as broken:
        raise HdBetError("the process that predicts on the GPU has ended; run again, or use --device cpu") from broken
    if error is not None:
        raise HdBetError(error)
    return np.asarray(scores)


@contextlib.contextmanager
def gpu_processes(place: Path, loaders: Sequence[Loader], prepare: Callable[[], Any]) -> Iterator[None]:
    """While this lasts, `predict_on_gpu(place, …)` is answered, by one process for each loader.

    Parameters
    ----------
    place
        Where the socket is made, in a folder that is private to this user.
    loaders
        One for each GPU; importable. An error that it raises is the answer to whatever is asked.
    prepare
        Called once in each process before anything else; importable.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        with _address(place) as address:
            listener.bind(address)
        listener.listen(1024)
        waking, woken = os.pipe()
        # a thread that lasts as long as the processes that it starts: to the kernel it is their parent
        keeper = threading.Thread(target=_keep, args=(listener, loaders, prepare, waking), name="gpu", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            os.close(woken)  # tells the keeper
            keeper.join()
            os.close(waking)
            place.unlink(missing_ok=True)


def _keep(listener: socket.socket, loaders: Sequence[Loader], prepare: Callable[[], Any], waking: int) -> None:
    """Start the processes when the first series comes, start them again when they end, and end them at last."""
    context = get_context("spawn")

    def start(index: int) -> Any:
        process = context.Process(target=_serve, args=(listener, loaders[index], prepare), daemon=True)
        process.start()
        return process

    if waking in wait([listener, waking]):
        return
    running = {start(index): index for index in range(len(loaders))}
    deaths = [0] * len(loaders)
    while running:
        ended = wait([waking, *(process.sentinel for process in running)])
        if waking in ended:
            break
        for process in [process for process in running if process.sentinel in ended]:
            index = running.pop(process)
            process.join()
            deaths[index] += 1
            log.debug("the process of GPU %d ended with %s", index, process.exitcode)
            if deaths[index] < _MOST_DEATHS:
                running[start(index)] = index
    else:
        _refuse(listener, waking)
    for process in running:
        process.kill()
    end = time.monotonic() + _PATIENCE_S
    for process in running:
        process.join(max(0.0, end - time.monotonic()))


def _refuse(listener: socket.socket, waking: int) -> None:
    """Hang up on whoever asks: no process is left that would answer."""
    while True:
        if waking in wait([listener, waking]):
            return
        listener.accept()[0].close()


def _serve(listener: socket.socket, loader: Loader, prepare: Callable[[], Any]) -> None:
    """The life of a GPU's process."""
    import signal

    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the run, which ends this process
    prepare()
    predict = None
    while True:
        caller, _ = listener.accept()
        with Connection(caller.detach()) as pipe, contextlib.suppress(OSError, EOFError):  # the worker is gone
            data = pipe.recv()
            try:
                predict = predict or loader()
                pipe.send((None, predict(data)))
            except HdBetError as error:
                pipe.send((str(error), None))
            except Exception as error:  # after an error of CUDA, all that follows fails in the same process
                pipe.send((f"on the GPU: {type(error).__name__}: {error}", None))
                raise SystemExit(1) from error


@contextlib.contextmanager
def _address(place: Path) -> Iterator[str]:
    """A name of a socket that is short enough whatever its folder's is (a socket's has at most 107 characters)."""
    folder = os.open(place.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{folder}/{place.name}"
    finally:
        os.close(folder)


def hd_bet_loader(weights: Path, device: str, engine: str, mirroring: bool, threads: int) -> Loader:
    """What loads HD-BET on a device."""
    return partial(_load, weights, device, engine, mirroring, threads)


def _load(weights: Path, device: str, engine: str, mirroring: bool, threads: int) -> Any:
    from bids_app.steps.brain_mask.hd_bet import Predictor

    return Predictor(weights, device=device, engine=engine, mirroring=mirroring, threads=threads)
