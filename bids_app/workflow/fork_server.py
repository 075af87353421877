"""The process from which a session's nodes are forked, started while the session is still planned.

It imports once what every node needs. Its children have it at once and share it in memory, where each would take a
second and 100 MB for it.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from multiprocessing import forkserver

#: The server listens at a socket in the work folder, whose path has at most 107 characters (unix(7), sun_path); Python
#: adds `/pymp-xxxxxxxx/listener-xxxxxxxx`.
_LONGEST_SOCKET_FOLDER = 107 - 32

#: Nothing of it may start a thread when it is imported: a fork would lose the thread and keep its locks.
_NEEDED_BY_ALL = ["bids_app.workflow.in_fork_server", "bids_app.workflow.interfaces"]


def start_method() -> str:
    """How the processes of nodes are started: `forkserver`, or `spawn` where its socket would have too long a name."""
    return "forkserver" if len(tempfile.gettempdir()) <= _LONGEST_SOCKET_FOLDER else "spawn"


def start_fork_server() -> None:
    """Start the server and return at once.

    It has to be called by a thread that lasts as long as its process: to the kernel, that thread is its parent.
    """
    if start_method() != "forkserver":
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(_NEEDED_BY_ALL)
    forkserver.ensure_running()
