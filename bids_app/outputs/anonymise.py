"""What keeps a person from being recognised in tables and logs: dates shifted, high ages capped, free text taken out.

An allow-list wherever that is possible (`sidecars`, `people`, the headers in `writer`): here is what is left.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from bids_app.exit_codes import NO_INPUT

#: Ages from here on are one class: 45 CFR 164.514(b)(2)(i)(C) has "over 89" as one category; BIDS writes "89+".
AGE_CAP = 89
#: Shifted dates lie before 1925, so that nobody takes them for real ones (BIDS 1.10, "Describing dates and
#: timestamps"): 140 years and, by participant, up to ten more.
_YEARS, _SPREAD_YEARS = 140, 10
_YEAR_S = 31_557_600
_MIN_KEY_BYTES = 16

_QUOTED = re.compile(r"""(?<!\w)[bu]?(?:'[^'\n]*'|"[^"\n]*"|`[^`\n]*`|‘[^’\n]*’|“[^”\n]*”)(?!\w)""")
_PATH = re.compile(r"(?<![\w.:/])~?/[^\s,;:'\"()]+")
_DATE = re.compile(
    r"(?<![A-Za-z0-9])\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:T[\d:.]+(?:Z|[+-]\d\d:?\d\d)?|(?![A-Za-z0-9]))"
    r"|\b\d{1,2}:\d{2}(:\d{2})?\b|(?<!\d)\d{6,}(?:T\d+)?"
)
_GONE = "…"
#: What Python itself writes between the frames of a traceback.
_TRACEBACK_LINES = (
    "Traceback (most recent call last):",
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)


class DateKeyError(Exception):
    """The key for shifting dates cannot be used; `code` is the exit code."""

    code = NO_INPUT


def read_date_key(path: Path | None, output: Path, option: str = "--date-key") -> bytes | None:
    """The secret in the file of an option, or None where there is none: then no date leaves.

    Raises
    ------
    DateKeyError
        It cannot be read, is shorter than 16 bytes, or lies in the output, beside what it protects.
    """
    if path is None:
        return None
    if output.resolve() in path.resolve().parents:
        raise DateKeyError(f"{option} {path} lies in the output: whoever has it can undo what it hides; move it")
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise DateKeyError(f"{option} {path}: {error.strerror}") from error
    if len(key) < _MIN_KEY_BYTES:
        raise DateKeyError(
            f"{option} {path}: at least {_MIN_KEY_BYTES} bytes are needed; make one with "
            "`head -c 32 /dev/urandom | base64 > FILE` and keep it"
        )
    return key


def date_shift(key: bytes, participant: str) -> timedelta:
    """How far back the dates of a participant are moved: 140 to 150 years, to the second, by HMAC-SHA-256 of the label.

    The same for all dates of a participant, so that their order and the time between them stay; without the key it
    can be told neither from the label nor from another participant's.
    """
    digest = hmac.new(key, b"date shift\0" + participant.encode(), hashlib.sha256).digest()
    seconds = int.from_bytes(digest[:8]) % (_SPREAD_YEARS * _YEAR_S)
    return timedelta(seconds=_YEARS * _YEAR_S + seconds)


def shifted(moment: str, shift: timedelta) -> str | None:
    """A date and time of BIDS (ISO 8601), moved and to the second; None where it is none, or a date alone."""
    try:
        if "T" not in moment.strip():
            return None
        when = datetime.fromisoformat(moment.strip()).replace(tzinfo=None, microsecond=0)
        return (when - shift).isoformat()
    except (ValueError, OverflowError):
        return None


def capped_age(text: str) -> str | None:
    """An age in years: whole from two years on, one decimal below, "89+" from 89 on; None where it is none."""
    found = re.fullmatch(r"(\d{1,3}(?:\.\d*)?)(\+?)", text.strip())
    if found is None:
        return None
    age = float(found[1])
    if age >= AGE_CAP:
        return f"{AGE_CAP}+"
    return f"{int(age)}" if age >= 2 else f"{int(age * 10) / 10:g}"


def safe_text(text: str, places: Mapping[Path, str] | None = None, values: Iterable[str] = ()) -> str:
    """A message without what it may quote of the data or of this machine.

    Taken out are folders (known ones by their names in `places`, so that what lies below stays readable, and every
    other absolute path), everything in quotation marks, dates, times and long numbers, and the given values.
    """
    names = {str(form): name for path, name in (places or {}).items() for form in (path, path.resolve())}
    for place in sorted(names, key=len, reverse=True):
        if len(place) > 1:
            text = text.replace(place, names[place])
    for value in sorted({value for value in values if len(value) > 3}, key=len, reverse=True):
        text = text.replace(value, _GONE)
    text = _QUOTED.sub(lambda found: found[0].lstrip("bu")[0] + _GONE + found[0][-1], text)
    return _DATE.sub(_GONE, _PATH.sub(_GONE, text))


def safe_traceback(text: str) -> str:
    """A traceback's frames and the types of its errors; their messages, which can quote anything, are left out.

    A frame's second line is source code, not data.
    """
    kept: list[str] = []
    code_follows = False
    for line in text.splitlines():
        frame = re.fullmatch(r'  File "[^"]*", line \d+, in \S+', line)
        if frame or line in _TRACEBACK_LINES or (code_follows and line.startswith("    ")):
            kept.append(line)
        elif found := re.match(r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning))\b", line):
            kept.append(found[1])
        code_follows = frame is not None
    return "\n".join(kept)
