"""What a file in `dwi/` is: b0, trace or ADC, by the filters, its suffix, its entities, its b-value or its sidecar."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from bids_app.inputs.filters import matches
from bids_app.steps.diffusion import B0_MAX

if TYPE_CHECKING:
    from bids_app.inputs.series import ParsedName, Series

Role = Literal["b0", "trace", "adc"]

#: Suffixes in `dwi/`, those of BIDS 1.10 and what else is found, and what they are; "dwi" is told by other means.
_ROLE_OF_SUFFIX: Mapping[str, Role] = {
    **dict.fromkeys(("S0map", "S0", "b0", "B0", "b0map"), "b0"),
    **dict.fromkeys(("trace", "TRACE", "tracew", "TRACEW", "isoDWI"), "trace"),
    **dict.fromkeys(("ADC", "adc", "ADCmap"), "adc"),
}
#: The suffixes that BIDS has for what each is.
SUFFIX_OF_ROLE: Mapping[Role, str] = {"b0": "S0map", "trace": "trace", "adc": "ADC"}
#: Kinds of a filter file that say what an image is, whatever its name says.
ROLE_OF_KIND: Mapping[str, Role] = {"b0": "b0", "trace": "trace", "adc": "adc"}
_DWI = frozenset({"dwi", "DWI"})
_REFUSED: Mapping[str, str] = {
    "sbref": "a single-band reference of a diffusion run, not processed",
    **dict.fromkeys(("FA", "colFA"), "a map of fractional anisotropy, not processed"),
    "expADC": "an exponential ADC map, not processed",
}
_MASKS = frozenset({"mask", "roi", "dseg", "probseg"})
#: All that are known in `dwi/`, processed or not.
DIFFUSION_SUFFIXES = frozenset({*_ROLE_OF_SUFFIX, *_DWI, *_REFUSED, *_MASKS})
#: `acq-b1000`, `acq-DWIb0`, `rec-trace`, `acq-ADC` and the like.
_B_VALUE = re.compile(r"(?<![a-z0-9])b(?:val|eq|=)?(\d{1,5})(?!\d)|(?<=[A-Z])b(\d{1,5})(?!\d)|(?<=dwi)b(\d{1,5})", re.I)
_WORDS: Mapping[Role, re.Pattern[str]] = {
    "adc": re.compile("adc", re.I),
    "trace": re.compile("trace|isodwi", re.I),
}
_SAYING = ("acq", "rec", "dir", "part")
#: Fields of a sidecar that may hold the b-value; the first is DICOM's name, as converters write it.
_B_FIELDS = ("DiffusionBValue", "DiffusionB-value", "BValue", "b_value", "bval", "bvalue")


def diffusion_name_rejection(name: ParsedName) -> str | None:
    """Why a file in `dwi/` is refused by its name alone, or None."""
    if name.suffix in _REFUSED:
        return _REFUSED[name.suffix]
    if name.suffix in _MASKS:
        return "a mask, not an image"
    if name.suffix not in _ROLE_OF_SUFFIX and name.suffix not in _DWI:
        return f"its suffix '{name.suffix}' is none of dwi, S0map (b0), trace, ADC"
    part = dict(name.entities).get("part", "mag")
    return None if part == "mag" else f"a {part} image (part-{part}), not a magnitude"


def role_of(series: Series, filters: Mapping[str, Mapping[str, Any]], b_value: float | None) -> Role:
    """What a 3-D image in `dwi/` is. Where nothing says it, a `_dwi` image is the trace, as stroke datasets have it."""
    for kind, role in ROLE_OF_KIND.items():
        if kind in filters and matches(series, {"datatype": "dwi", **filters[kind]}):
            return role
    if series.suffix in _ROLE_OF_SUFFIX:
        return _ROLE_OF_SUFFIX[series.suffix]
    words = [series.entity(key) or "" for key in _SAYING]
    tokens = _image_type(series.metadata)
    for role, pattern in _WORDS.items():
        if any(pattern.search(word) for word in words):
            return role
    if b_value is None:
        b_value = b_value_of_name(series)
    if b_value is not None:
        return "b0" if b_value <= B0_MAX else "trace"
    if "ADC" in tokens:
        return "adc"
    return "b0" if "B0" in tokens else "trace"


def saying(series: Series) -> tuple[str, ...]:
    """The entities whose values say what the image is, and so tell nothing of the acquisition that it belongs to."""
    found = []
    for key in _SAYING:
        value = series.entity(key)
        if value and (_named_b(value) is not None or any(word.search(value) for word in _WORDS.values())):
            found.append(key)
    return tuple(found)


def b_value_of_sidecar(metadata: Mapping[str, Any]) -> float | None:
    """The b-value that a sidecar says, in s/mm^2; of a list the largest."""
    for field in _B_FIELDS:
        value = metadata.get(field)
        values: Sequence[Any] = value if isinstance(value, list) else [value]
        numbers = [number for one in values if (number := _number(one)) is not None]
        if numbers:
            return max(numbers)
    return None


def b_value_of_name(series: Series) -> float | None:
    """The b-value in `acq-b1000` and the like, in s/mm^2."""
    values = (_named_b(series.entity(key) or "") for key in _SAYING)
    return next((value for value in values if value is not None), None)


def _named_b(text: str) -> float | None:
    found = _B_VALUE.search(text)
    return float(next(group for group in found.groups() if group is not None)) if found else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _image_type(metadata: Mapping[str, Any]) -> list[str]:
    value = metadata.get("ImageType")
    if isinstance(value, str):
        value = value.replace("\\", "/").split("/")
    return [str(token).strip().upper() for token in value] if isinstance(value, list) else []
