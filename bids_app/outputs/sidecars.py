"""JSON sidecars: what of the raw sidecar is passed on. An allow-list, of fields and of what each may hold.

Everything else is dropped: an allow-list cannot leak a name, a date, a place or a serial number that nobody thought of.
Text passes only as one of the terms that the standard defines (DICOM PS3.3 C.8.3.1 for the codes, BIDS 1.10 for the
contrast agents), a maker of scanners, or, from one of these, what looks like a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_NUMBERS = (
    "MagneticFieldStrength", "EchoTime", "RepetitionTime", "RepetitionTimePreparation", "InversionTime", "FlipAngle",
    "NumberOfAverages", "PixelBandwidth", "SliceThickness", "SpacingBetweenSlices", "ParallelReductionFactorInPlane",
    "PartialFourier",
)  # fmt: skip
_CODES: Mapping[str, frozenset[str]] = {
    "Modality": frozenset({"MR"}),
    "MRAcquisitionType": frozenset({"1D", "2D", "3D"}),
    "ScanningSequence": frozenset({"SE", "IR", "GR", "EP", "RM"}),
    "SequenceVariant": frozenset({"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"}),
    "ContrastBolusIngredient": frozenset({"IODINE", "GADOLINIUM", "CARBON DIOXIDE", "BARIUM", "XENON"}),
}
#: Makers of MR scanners: what their names contain, and how they are written here.
_MAKERS: Mapping[str, str] = {
    "siemens": "Siemens", "philips": "Philips", "ge medical": "GE", "ge healthcare": "GE", "general electric": "GE",
    "toshiba": "Toshiba", "canon": "Canon", "hitachi": "Hitachi", "fujifilm": "Fujifilm", "bruker": "Bruker",
    "united imaging": "UIH", "uih": "UIH", "hyperfine": "Hyperfine", "neusoft": "Neusoft", "esaote": "Esaote",
}  # fmt: skip
_MODEL = re.compile(r"(?!.*\d{4})[A-Za-z][A-Za-z0-9 .+_-]{1,23}")  # no four digits in a row: no year, no serial number


def acquisition_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a raw sidecar that may be passed on, in a fixed order."""
    tests: dict[str, Callable[[Any], Any]] = dict.fromkeys(_NUMBERS, _number)
    tests |= {name: _coded(terms) for name, terms in _CODES.items()}
    tests["Manufacturer"] = _maker
    tests["ManufacturersModelName"] = lambda value: _model(value, metadata)
    result = {name: test(metadata.get(name)) for name, test in tests.items()}
    return {name: value for name, value in sorted(result.items()) if value is not None}


def _number(value: Any) -> Any:
    """A number, or a short list of numbers."""
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > 64:
        return None
    return value if all(isinstance(one, int | float) and not isinstance(one, bool) for one in values) else None


def _coded(terms: frozenset[str]) -> Callable[[Any], Any]:
    """A defined term, or several, as a list or joined by DICOM's backslash."""

    def test(value: Any) -> Any:
        if not isinstance(value, str | list):
            return None
        parts = value.split("\\") if isinstance(value, str) else value
        return value if parts and all(isinstance(one, str) and one.upper() in terms for one in parts) else None

    return test


def _maker(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    if text == "ge":
        return "GE"
    return next((name for part, name in _MAKERS.items() if part in text), None)


def _model(value: Any, metadata: Mapping[str, Any]) -> str | None:
    if _maker(metadata.get("Manufacturer")) is None or not isinstance(value, str):
        return None
    return value.strip() if _MODEL.fullmatch(value.strip()) else None
