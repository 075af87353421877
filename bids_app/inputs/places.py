"""Whether something is there, where links can lead into folders that this user may not enter: then it is not."""

from __future__ import annotations

from pathlib import Path


def is_there(path: Path) -> bool:
    """Whether a path leads to something that can be seen."""
    try:
        return path.exists()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether a path leads to a file that can be seen."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder that can be seen."""
    try:
        return path.is_dir()
    except OSError:
        return False
