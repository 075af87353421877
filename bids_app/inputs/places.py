"""Places on disk: whether something is there (not where a link leads into a forbidden folder), and `[NAME=]DIR`."""

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


def named_folder(word: str) -> tuple[str, Path]:
    """The name (may be empty) and the folder of `[NAME=]DIR`; an equals sign in a folder's own name is part of it."""
    if Path(word).is_dir():  # such as /data/x=1
        return "", Path(word)
    name, equals, folder = word.partition("=")  # the first: a folder can have one in its name, a name cannot
    return (name, Path(folder)) if equals else ("", Path(word))
