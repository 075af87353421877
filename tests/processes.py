"""Runs of the command as processes of their own, which tests watch and kill."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_app.workflow.plugin import NODE

#: Generous: what is waited for takes seconds, on a machine that has nothing else to do.
PATIENCE = 300.0
#: An environment variable by which all processes of a run are found, whoever their parent is by now.
MARK = "BIDS_APP_TEST_RUN"


def wait_for(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait for something to be true, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def _heed_ctrl_c() -> None:
    """Tests that run in the background ignore SIGINT, and what they start would, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Running:
    """A run under way."""

    process: subprocess.Popen[bytes]
    mark: str
    output: Path
    log: Path

    @classmethod
    def start(cls, source: Path, output: Path, *words: object, scratch: Path) -> Running:
        """Start the command on a dataset, at the participant level; `scratch` is its home and takes its words."""
        mark = uuid.uuid4().hex
        log = scratch / f"log-{mark}"
        environment = {**os.environ, MARK: mark, "BIDS_APP_HOME": str(scratch / "no-home"), "HOME": str(scratch)}
        command = [sys.executable, "-m", "bids_app", source, output, "participant", *map(str, words)]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, env=environment, preexec_fn=_heed_ctrl_c
            )
        return cls(process, mark, output, log)

    def end(self, seconds: float = PATIENCE) -> tuple[int, str]:
        """Wait for its end: the exit code and what it said."""
        code = self.process.wait(seconds)
        return code, self.log.read_text()

    def processes(self) -> dict[int, str]:
        """The processes of the run that are alive, and their commands."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # ended in between
                continue
        return found

    def workers(self) -> list[int]:
        """The processes that have a session each."""
        return sorted(pid for pid, command in self.processes().items() if "spawn_main" in command)

    def nodes(self) -> list[int]:
        """The processes that have a node each, by the name that they give themselves."""
        return sorted(pid for pid in self.processes() if name_of(pid) == NODE)

    def signal_all(self, number: int) -> None:
        """Signal every process of the run, as a cluster's scheduler does."""
        for pid in self.processes():
            signal_one(pid, number)

    def published(self) -> list[Path]:
        """The images that are in the output."""
        return list(self.output.glob("sub-*/**/*.nii.gz"))

    def partial(self) -> list[Path]:
        """What is half-written in the output."""
        return list(self.output.rglob(".partial-*"))

    def clear(self) -> None:
        """Let nothing of it live on."""
        self.process.kill()
        self.process.wait()
        self.signal_all(signal.SIGKILL)


def signal_one(pid: int, number: int) -> None:
    """Signal a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def name_of(pid: int) -> str:
    """What a process calls itself; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    """The parent of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def tree_of(folder: Path) -> dict[str, str]:
    """The hash of every file, by its path; the whole tree, logs and all."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
