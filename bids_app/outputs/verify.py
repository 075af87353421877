"""Comparing an output with its manifests: what is missing, truncated, altered, half-written, or nobody's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from bids_app.outputs.manifest import Manifest, damaged_files, read_manifest
from bids_app.outputs.writer import PARTIAL

#: Files of the app in `logs/` and at the root that no manifest lists: they say what happened, or who is at work.
_UNLISTED = re.compile(r"manifest\.json|errors\.txt|\.manifest\.lock|profile(_shard-\d+of\d+)?\.tsv")


def verify_output(output: Path) -> tuple[int, list[tuple[str, str]]]:
    """Check every file that a manifest lists by its hash, and every file of a participant for being listed.

    Pictures and pages of reports are not looked at, nor what a user put beside the participants' folders.

    Returns
    -------
    How many files were checked, and (path, what is wrong) for each problem.
    """
    listed: set[str] = set()
    problems: list[tuple[str, str]] = []
    manifests = sorted((output / "logs").rglob("manifest.json"))
    if output / "logs" / "manifest.json" not in manifests:
        problems.append(("logs/manifest.json", "missing"))
    for path in manifests:
        manifest = read_manifest(path)
        if manifest == Manifest() and not _is_json(path):
            problems.append((path.relative_to(output).as_posix(), "unreadable manifest"))
        files = [file for task in manifest.tasks.values() for file in task.files] + list(manifest.tables.values())
        listed.update(file.path for file in files)
        problems.extend(damaged_files(output, files))
    folders = {path.relative_to(output / "logs").parent.as_posix() for path in manifests}
    for path in _files(output):
        name = path.relative_to(output)
        if path.name.startswith(PARTIAL):
            problems.append((name.as_posix(), "left half-written by a killed run"))
        elif name.as_posix() not in listed and _ours(name):
            problems.append((name.as_posix(), "in no manifest"))
        elif path.name.endswith("_series.tsv") and name.parent.as_posix() not in folders:
            problems.append((f"logs/{name.parent.as_posix()}/manifest.json", "missing"))
    return len(listed), problems


def _files(output: Path) -> Iterator[Path]:
    """All files, but for the locks of runs that are at work or were killed."""
    for path in sorted(output.rglob("*")):
        if path.is_file() and path.parent.name != ".locks":
            yield path


def _ours(name: Path) -> bool:
    """Whether only the app should put a file there."""
    if name.parts[0] == "logs":
        return (
            _UNLISTED.fullmatch(name.name) is None and name.parts[1] != "group"
        )  # what the group level keeps for the next time
    return name.parts[0].startswith("sub-") and "figures" not in name.parts and name.suffix != ".html"


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
