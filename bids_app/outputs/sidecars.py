"""JSON sidecars: what of the raw sidecar is passed on. An allow-list, of fields and of what each may hold.

Everything else is dropped: an allow-list cannot leak a name, a date, a place or a serial number that nobody thought of.
Text passes only as one of the terms that the standard defines (DICOM PS3.3 C.8.3.1 for the codes, BIDS 1.10 for the
contrast agents), a maker of scanners, or the name of a model; numbers only where they are too small for a date or a
number of a patient.
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
#: No number of an acquisition is as large; dates and the numbers of patients are.
_TOO_LARGE = 100_000
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
#: Words in the names of MR scanners, as their makers call them; beside them stand short numbers (MR750w, 3T).
_MODEL_WORDS = frozenset(
    """achieva aera airis allegra altaire altea altus ambition architect area artist ascent avanto avantofit biograph
    biomatrix biospec cima concerto connectom creator cx discovery dream dstream echelon elan elition embrace essenza
    espree excelart excite explorer express fit flow free galan genesis gyroscan harmony hd hdx hdxt hero high horizon
    impact infinion ingenia ingenuity intera jupiter lumina lx magnetom max mmr mobilett mr mrt nova novus oasis omega
    open optima orian panorama pet pharmascan pioneer plus premier prisma prismafit prodiva pulsar quantum quasar
    signa skyra skyrafit sola solo sonata spectra swoop symphony symphonytim system terra tim tim+dot titan trillium
    trio triotim twinspeed vantage verio vida viva voyager xr xt champion ultra elite power fortian velocity epiq umr
    upmr universal""".split()  # noqa: SIM905 (a list of words reads better as text)
)
#: Of a scanner's name ("Discovery MR750w 3.0T"); six are a date.
_MOST_DIGITS = 5
_MODEL_CODE = re.compile(r"[a-z]{0,3}\d{1,3}(\.\d)?[a-z]{0,2}|[a-z]")


def acquisition_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a raw sidecar that may be passed on, in a fixed order."""
    result = {name: _TESTS[name](metadata[name]) for name in sorted(_TESTS.keys() & metadata.keys())}
    if "Manufacturer" not in result or result["Manufacturer"] is None:  # what makes a model's name known as one
        result.pop("ManufacturersModelName", None)
    return {name: value for name, value in result.items() if value is not None}


def _number(value: Any) -> Any:
    """A number, or a short list of numbers."""
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > 64:
        return None
    good = all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < _TOO_LARGE for one in values)
    return value if good else None


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


def _model(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    words = re.split(r"[\s_-]+", value.strip())
    known = all(word.lower() in _MODEL_WORDS or _MODEL_CODE.fullmatch(word.lower()) for word in words)
    few = len(words) <= 5 and sum(one.isdigit() for one in value) <= _MOST_DIGITS
    return value.strip() if known and few else None


_TESTS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_NUMBERS, _number),
    **{name: _coded(terms) for name, terms in _CODES.items()},
    "Manufacturer": _maker,
    "ManufacturersModelName": _model,
}
