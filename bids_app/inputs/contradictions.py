"""What a sidecar says of a series that contradicts its suffix: not refused, but told in the series table.

A wrong suffix is a mistake of the one who named the file, and the sidecar can be wrong, too (a copied protocol keeps
its name): so the series is processed as its suffix says, and a person is told to look. Nothing of the sidecar's text is
quoted: it can name a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bids_app.inputs.series import Series

#: Words for contrasts in protocols, as the makers of scanners call their sequences.
_WORDS: Mapping[str, re.Pattern[str]] = {
    kind: re.compile(rf"(?<![a-z])({words})(?![a-z0-9])", re.I)
    for kind, words in {
        "T1w": r"t1(w|wi)?|mp2?-?rage|me-?mpr(age)?|mpr|spgr|f?spgr|bravo|ir-?fspgr|uni-?den|uni",
        "T2w": r"t2(w|wi)?|haste|fiesta|ciss",
        "FLAIR": r"flair|dark-?fluid|tirm",
        "T2starw": r"t2[_ -]?star|t2\*|gre|hemo|fl2d|merge|medic",
        "SWI": r"swi|swan|venobold|ven_bold|susceptibility",
        "PDw": r"pd(w|wi)?|proton",
        "angio": r"tof|angio|mra|cow|mrv|venogram",
        "diffusion": r"dwi|dti|diff(usion)?|adc|ep2d_diff|trace",
        "functional": r"bold|fmri|rest(ing)?[-_ ]?state|asl|pcasl|perfusion|dsc",
    }.items()
}
#: Words that may stand in the description of a suffix besides its own: T1 FLAIR is a T1w, T2 FLAIR a FLAIR.
_ALSO: Mapping[str, frozenset[str]] = {
    "T1w": frozenset({"FLAIR"}),
    "UNIT1": frozenset({"T1w"}),
    "FLAIR": frozenset({"T2w"}),
    "SWI": frozenset({"T2starw", "T2w"}),
    "T2starw": frozenset({"T2w", "SWI"}),
    "angio": frozenset({"T2starw"}),
    "PDw": frozenset({"T2w"}),
    "FLASH": frozenset({"T1w", "T2starw", "PDw"}),
}
#: Seconds. Conventional T1w has an echo time under 30 ms, T2w of 60 ms and more (30 where a long train of variable
#: angles makes the effective one shorter than the nominal), FLAIR an inversion time over 1.5 s at any field strength.
_LONGEST_T1W_ECHO, _SHORTEST_T2W_ECHO, _SHORTEST_FLAIR_INVERSION = 0.05, 0.03, 1.0


def contradictions(series: Series) -> tuple[str, ...]:
    """In words, what of the sidecar's SeriesDescription, EchoTime and InversionTime contradicts the suffix."""
    contrast = series.contrast
    found = [*_by_words(contrast, series.metadata), *_by_times(contrast, series.metadata)]
    return tuple(f"its {field} is that of {what}, its suffix says {series.suffix}" for field, what in found)


def _by_words(contrast: str, metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    description = metadata.get("SeriesDescription")
    if not isinstance(description, str):
        return []
    text = description.replace("_", " ")
    said = [kind for kind, words in _WORDS.items() if words.search(text) or words.search(description)]
    if not said or contrast in said or set(said) & _ALSO.get(contrast, frozenset()):
        return []
    return [("SeriesDescription", said[0])]


def _by_times(contrast: str, metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    echo, inversion = _seconds(metadata.get("EchoTime")), _seconds(metadata.get("InversionTime"))
    if contrast in ("T1w", "UNIT1") and echo is not None and echo > _LONGEST_T1W_ECHO:
        return [("EchoTime", "T2w")]
    if contrast == "T2w" and echo is not None and echo < _SHORTEST_T2W_ECHO:
        return [("EchoTime", "T1w or PDw")]
    if contrast == "FLAIR" and inversion is not None and inversion < _SHORTEST_FLAIR_INVERSION:
        return [("InversionTime", "T1w")]
    return []


def _seconds(value: Any) -> float | None:
    """A time of a sidecar; BIDS has seconds, and what is over 20 can only be milliseconds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e5:
        return None
    return value / 1000 if value > 20 else float(value)
