"""Comparing an output with its manifests: what is missing, altered, half-written, or nobody's."""

from __future__ import annotations

from pathlib import Path

from bids_app.outputs.manifest import damaged_files, read_manifest
from bids_app.outputs.writer import PARTIAL


def verify_output(output: Path) -> tuple[int, list[tuple[str, str]]]:
    """Check every file that a manifest lists by its hash, and every image for being listed.

    Returns
    -------
    How many files were checked, and (path, what is wrong) for each problem.
    """
    listed: set[str] = set()
    problems: list[tuple[str, str]] = []
    for path in sorted((output / "logs").rglob("manifest.json")):
        manifest = read_manifest(path)
        if not manifest.tasks and not manifest.inputs:
            problems.append((path.relative_to(output).as_posix(), "unreadable manifest"))
        for task in manifest.tasks.values():
            listed.update(file.path for file in task.files)
            problems.extend(damaged_files(output, task))
    for path in sorted(output.glob("sub-*/**/*")):
        name = path.relative_to(output).as_posix()
        if path.name.startswith(PARTIAL):
            problems.append((name, "left half-written by a killed run"))
        elif path.is_file() and path.parent.name == "anat" and name not in listed:
            problems.append((name, "in no manifest"))
    return len(listed), problems
