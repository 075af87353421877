"""Whose images go into a map, and what its files are called: conditions, columns and values of participants.tsv.

Names of files and sidecars go on to others, so that only values that may be passed on are in them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from bids_app.exit_codes import USAGE
from bids_app.group.people import public_cell
from bids_app.inputs.participants import participant_rows
from bids_app.outputs.manifest import Manifest, read_manifest
from bids_app.settings import Settings

#: The column that every participant has: whether a lesion mask was given and is not empty (1), is empty (0), or none
#: was given (n/a).
LESION = "lesion"
#: What a table has for a value that is not known.
UNKNOWN = "n/a"
#: The most characters of a name that tell of conditions, as names of files have an end.
_LONGEST = 48
_CONDITION = re.compile(r"([^=<>!]+)=(.*)")
_People = Mapping[str, Mapping[str, str | None]]


class MapsError(Exception):
    """Maps that cannot be made; `code` is the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


class Condition(NamedTuple):
    """That a column has one of several values, which may all be passed on."""

    column: str
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        """As a user writes it."""
        return f"{self.column}={','.join(self.values)}"


def participants(settings: Settings) -> dict[str, dict[str, str | None]]:
    """What participants.tsv (of the dataset, else of the output) says of every participant in the output.

    Columns are in small letters. A cell that may not be passed on is None; an empty one, or an age that is none,
    "n/a". `lesion` is added where the table has no such column.
    """
    rows: dict[str, dict[str, str | None]] = {}
    for root in (settings.output_dir, settings.bids_dir):
        for label, row in participant_rows(root).items():
            # The reader says an empty age of a table without ages: that is no column.
            known = {name: text for name, text in row.items() if name != "participant_id" and (text or name != "age")}
            told = {name: _cell(name, text) for name, text in known.items()}
            rows.setdefault(label, {}).update(told)
    result: dict[str, dict[str, str | None]] = {}
    for subject, lesion in _with_lesion(settings.output_dir).items():
        result[subject] = {LESION: lesion, **rows.get(subject, {})}
    return result


def _cell(column: str, text: str) -> str | None:
    if text in ("", UNKNOWN):
        return UNKNOWN
    return public_cell(column, text) or (UNKNOWN if column == "age" else None)


def conditions_of(table: _People, written: Sequence[str]) -> list[Condition]:
    """The conditions that were written, in one order (`group=control`; several values: `site=A,B`)."""
    result = set()
    for text in written:
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise MapsError(f"--maps-where {text}: write COLUMN=VALUE, such as group=control or {LESION}=0")
        column = known_column(found[1].strip(), table)
        values = {_cell(column, value.strip()) for value in found[2].split(",")}
        public = {value for value in values if value is not None}
        if public != values:  # else it would be in the names of files
            raise MapsError(f"--maps-where {text}: a value is more than a word or a number")
        result.add(Condition(column, tuple(sorted(public))))
    return sorted(result)


def answering(table: _People, conditions: Sequence[Condition]) -> frozenset[str]:
    """The participants that answer all conditions."""
    return frozenset(
        subject
        for subject, row in table.items()
        if all(row.get(condition.column, UNKNOWN) in condition.values for condition in conditions)
    )


def where_word(conditions: Sequence[Condition]) -> str:
    """What stands in the name of a map for its conditions, such as `_where-siteIsA`.

    Where letters and digits alone would not tell the conditions from all others, a hash of them follows.
    """
    if not conditions:
        return ""
    word = "And".join(f"{_word(one.column)}Is{'Or'.join(map(_word, one.values))}" for one in conditions)
    if [one.text for one in conditions] == [word.replace("Is", "=", 1)] and len(word) <= _LONGEST:
        return f"_where-{word}"
    told = json.dumps([one.text for one in conditions])
    return f"_where-{word[:_LONGEST]}{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def with_public(table: _People, chosen: frozenset[str], column: str, tell: Callable[[str], object]) -> frozenset[str]:
    """The chosen participants whose cell of a column may be written into names of files."""
    hidden = {subject for subject in chosen if table[subject].get(column, UNKNOWN) is None}
    if hidden:
        who = "1 participant is" if len(hidden) == 1 else f"{len(hidden)} participants are"
        tell(f"{who} in no map by {column}: what the column says of them is more than a word or a number")
    return chosen - hidden


def known_column(column: str, table: _People) -> str:
    """A column's name as the table has it."""
    known = sorted({name for row in table.values() for name in row})
    if column.lower() not in known:
        raise MapsError(f"participants.tsv has no column {column}; it has {', '.join(known)}")
    return column.lower()


def _with_lesion(output: Path) -> dict[str, str]:
    """Whether each participant has a lesion: "1", "0" (an empty mask) or "n/a" (no mask)."""
    result: dict[str, str] = {}
    for folder, manifest in manifests(output):
        subject = subject_of(folder)
        volumes = [task.facts.get("lesion_ml") for name, task in manifest.tasks.items() if name.startswith("lesion/")]
        here = "n/a" if not volumes else "1" if any(volumes) else "0"
        before = result.get(subject, "n/a")
        result[subject] = max(before, here) if "n/a" not in (before, here) else here if before == "n/a" else before
    return result


def manifests(output: Path) -> Iterator[tuple[Path, Manifest]]:
    """Each session's folder below the output, and its manifest."""
    logs = output / "logs"
    found = [*logs.glob("sub-*/manifest.json"), *logs.glob("sub-*/ses-*/manifest.json")]
    for path in sorted(found, key=lambda one: one.parts):
        yield path.parent.relative_to(logs), read_manifest(path)


def subject_of(folder: Path) -> str:
    """The label of the participant whose a session's folder is."""
    return folder.parts[0].removeprefix("sub-")


def group_words(table: _People, column: str) -> dict[str, str]:
    """What stands in the name of a map for each value of a column, such as `_site-A`."""
    of_column = _words({name for row in table.values() for name in row})[column]
    # All values of the column and not the chosen ones alone: a value has one word whoever is chosen.
    values = {row.get(column) or UNKNOWN for row in table.values()}
    return {value: f"_{of_column}-{word}" for value, word in _words(values).items()}


def _words(texts: Collection[str]) -> dict[str, str]:
    """A word of letters and digits for each text; those of which it would be the same, or nothing, are numbered."""
    plain = {text: _word(text) for text in sorted(texts)}
    # Small and capital letters are one to some file systems.
    shared = Counter(word.lower() for word in plain.values())
    words = {text: word for text, word in plain.items() if word and shared[word.lower()] == 1}
    taken = {word.lower() for word in words.values()}
    for text, word in plain.items():
        if text not in words:
            numbered = (f"{word}value{number}" for number in count(1))
            words[text] = next(name for name in numbered if name.lower() not in taken)
            taken.add(words[text].lower())
    return words


def _word(text: str) -> str:
    return re.sub("[^A-Za-z0-9]", "", text)
