"""Locks: one holder at a time, none after its death, whatever the file system can do."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bids_app.outputs import lock
from bids_app.outputs.leftovers import remove_leftovers, session_folders, sweep
from bids_app.outputs.lock import Holder, Locks
from bids_app.outputs.writer import PARTIAL

NAME = "sub-01_ses-1"


def _file(output: Path) -> Path:
    return output / "logs" / ".locks" / NAME


def _left_by(output: Path, machine: str, beats: int = 3) -> None:
    """A lock's file as the run of some machine writes it."""
    _file(output).parent.mkdir(parents=True, exist_ok=True)
    _file(output).write_text(json.dumps({"machine": machine, "process": 12, "beats": beats}))


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with Locks(tmp_path) as one, Locks(tmp_path) as other:
        assert one.take(NAME) is None
        holder = other.take(NAME)
        assert holder is not None
        assert str(holder) == f"another run (process {os.getpid()} of this machine)"
        assert other.take("sub-02") is None
        one.release(NAME)
        assert other.take(NAME) is None
        assert one.take(NAME) is not None
    assert not _file(tmp_path).parent.exists(), "nothing of it stays"


@pytest.mark.parametrize("kernel", [True, False])
def test_a_killed_holder_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from bids_app.outputs.lock import Locks; "
        "locks = Locks(Path(sys.argv[1])); assert locks.take(sys.argv[2]) is None; os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), NAME], check=False)
    assert _file(tmp_path).exists()
    if not kernel:
        _without_kernel_locks(monkeypatch)
    with Locks(tmp_path) as locks:
        if kernel:
            assert locks.take(NAME) is None
        else:
            assert locks.take(NAME) is not None, "its beat was seen once"
            assert locks.wait(NAME, 5) is None


def test_a_run_of_another_machine_is_waited_for_while_it_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's lock is free, as where it does not reach other machines; the beat says that somebody is there."""
    monkeypatch.setattr(lock, "STALE_S", 0.3)
    with Locks(tmp_path) as locks:
        for beats in range(4):
            _left_by(tmp_path, "elsewhere", beats)
            assert locks.take(NAME) == Holder("elsewhere", 12)
            time.sleep(0.15)
        time.sleep(0.3)
        assert locks.take(NAME) is None


def _without_kernel_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuses)
    monkeypatch.setattr(lock, "STALE_S", 0.3)
    monkeypatch.setattr(lock, "BEAT_S", 0.1)
    monkeypatch.setattr(lock, "_SETTLE_S", 0.05)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_kernel_locks(monkeypatch)
    with Locks(tmp_path) as one, Locks(tmp_path) as other:
        assert one.take(NAME) is None
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert other.take(NAME) is not None
            time.sleep(0.05)
        one.release(NAME)
        assert other.take(NAME) is None


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(OSError, match="logs"), Locks(tmp_path) as locks:
        locks.take(NAME)


def test_only_sessions_that_nobody_holds_are_swept(tmp_path: Path) -> None:
    _left_by(tmp_path, lock._machine())
    halves = []
    for label in (NAME, "sub-02"):
        for folder in session_folders(label):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            halves.append(tmp_path / folder / f"{PARTIAL}x-a.json")
            halves[-1].write_text("half")
    with Locks(tmp_path) as other, Locks(tmp_path) as locks:
        assert other.take("sub-02") is None
        sweep(tmp_path, locks)
        assert [path.exists() for path in halves] == [False, False, True, True]
        assert list(locks.left()) == ["sub-02"]
        remove_leftovers(tmp_path, "sub-02")
        assert not any(path.exists() for path in halves)


@pytest.mark.parametrize(
    ("label", "folder"), [("sub-01", "sub-01"), ("sub-01_ses-1", "sub-01/ses-1"), ("sub-a_ses-b_c", "sub-a/ses-b_c")]
)
def test_folders_of_a_session(label: str, folder: str) -> None:
    assert session_folders(label) == (Path(folder), Path("logs") / folder)
