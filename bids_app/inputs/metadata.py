"""Sidecars by the BIDS inheritance principle; a bad one is a warning, never an error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bids_app.inputs.series import BadNameError, ParsedName, parse_entities

#: A sidecar is a few kilobytes; a larger file is something else.
_MAX_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Sidecar:
    """A JSON file that may apply to several images; it is read once, when the first image needs it."""

    path: Path
    entities: frozenset[tuple[str, str]]
    suffix: str

    def applies_to(self, name: ParsedName) -> bool:
        """Whether its suffix is the image's and its entities are among the image's."""
        return self.suffix == name.suffix and self.entities <= set(name.entities)

    @cached_property
    def content(self) -> tuple[dict[str, Any], str | None]:
        """The JSON object, and what is wrong with the file."""
        return read_json_object(self.path)


def read_json_object(path: Path) -> tuple[dict[str, Any], str | None]:
    """The object in a JSON file, and what is wrong with the file (then the object may be empty); never raises.

    UTF-8 (with or without byte order mark), UTF-16 and UTF-32 are read; any other encoding is read as Latin-1.
    """
    warning = None
    try:
        if path.stat().st_size > _MAX_BYTES:
            return {}, "it is far larger than a sidecar can be"
        raw = path.read_bytes()
        if not raw.strip():
            return {}, "it is empty"
        try:
            value = json.loads(raw)
        except UnicodeDecodeError:
            value = json.loads(raw.decode("latin-1"))
            warning = "it is not in UTF-8; read as Latin-1"
    except OSError as error:
        if path.is_symlink() and not path.exists():
            return {}, "it is a link to content that is not here; fetch it with `datalad get` or `git annex get`"
        return {}, f"it cannot be read: {error.strerror or error}"
    except json.JSONDecodeError as error:
        return {}, f"it is not valid JSON (line {error.lineno}: {error.msg})"
    except (ValueError, RecursionError):
        return {}, "it is not valid JSON"
    if not isinstance(value, dict):
        return {}, "it holds no JSON object"
    return value, warning


def sidecars_in(folder: Path, names: Iterable[str]) -> tuple[Sidecar, ...]:
    """The sidecars among the files of one folder that have a BIDS name, fewer entities first."""
    found = []
    for name in names:
        if not name.endswith(".json"):
            continue
        try:
            entities, suffix = parse_entities(name.removesuffix(".json"))
        except BadNameError:  # dataset_description.json, or the sidecar of a file that is rejected for its name
            continue
        found.append(Sidecar(folder / name, frozenset(entities), suffix))
    return tuple(sorted(found, key=lambda sidecar: (len(sidecar.entities), sidecar.path.name)))


def inherit(name: ParsedName, levels: Sequence[Sequence[Sidecar]], root: Path) -> tuple[dict[str, Any], list[str]]:
    """The metadata of an image from the sidecars of every level above it (root first), and the warnings.

    A deeper level overrides a higher one; within a level, the sidecar with more entities overrides
    (BIDS specification, "The inheritance principle").
    """
    metadata: dict[str, Any] = {}
    warnings = []
    for level in levels:
        for sidecar in level:
            if not sidecar.applies_to(name):
                continue
            content, warning = sidecar.content
            metadata.update(content)
            if warning:
                warnings.append(f"{sidecar.path.relative_to(root).as_posix()}: {warning}")
    return metadata, warnings
