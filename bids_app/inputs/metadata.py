"""Sidecars by the BIDS inheritance principle; a bad one is a warning, never an error."""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bids_app.inputs.places import is_there
from bids_app.inputs.series import BadNameError, ParsedName, parse_entities

#: A sidecar is a few kilobytes; a larger file is something else.
_MAX_BYTES = 16 * 2**20
#: No sidecar is nested more deeply.
_DEEPEST = 100
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')


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
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
            return {}, "it is not a file"
        if found.st_size > _MAX_BYTES:
            return {}, "it is far larger than a sidecar can be"
        raw = path.read_bytes()
        if not raw.strip():
            return {}, "it is empty"
        try:
            value = _loads(raw)
        except UnicodeDecodeError:
            value = _loads(raw.decode("latin-1"))
            warning = "it is not in UTF-8; read as Latin-1"
    except OSError as error:
        if path.is_symlink() and not is_there(path):
            return {}, "it is a link to content that is not here; fetch it with datalad get (or git annex get)"
        return {}, f"it cannot be read: {error.strerror or error}"
    except json.JSONDecodeError as error:
        return {}, f"it is not valid JSON (line {error.lineno}: {error.msg})"
    except (ValueError, RecursionError):
        return {}, "it is not valid JSON"
    if not isinstance(value, dict):
        return {}, "it holds no JSON object"
    return value, warning


def _loads(raw: bytes | str) -> Any:
    """Parse JSON; NaN and infinite numbers, which JSON does not have, become null."""

    def finite(text: str) -> float | None:
        number = float(text)
        return number if math.isfinite(number) else None

    if _depth(raw) > _DEEPEST:  # the parser would run out of stack, and so could whatever else runs just then
        raise ValueError("nested too deeply")
    return json.loads(raw, parse_constant=lambda _: None, parse_float=finite)


def _depth(raw: bytes | str) -> int:
    """How deeply the brackets outside of text are nested at most; 0 where there are too few of them to matter."""
    content = raw if isinstance(raw, bytes) else raw.encode("latin-1", "replace")
    depth = most = 0
    if content.count(b"[") + content.count(b"{") > _DEEPEST:
        for found in _BRACKETS.finditer(content):
            depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found[0], 0)
            most = max(most, depth)
    return most


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
