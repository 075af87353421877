"""JSON sidecars: what of the raw sidecar is passed on, and what every derivative says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Acquisition fields that are passed on from the raw sidecar, with the type that each must have. Everything else is
#: dropped: an allow-list cannot leak a name, a date, a place or a serial number that nobody thought of.
#: (BIDS 1.10, "MRI scanner hardware", "sequence specifics", "timing", "contrast".)
ALLOWED_FIELDS: Mapping[str, tuple[type, ...]] = {
    "Modality": (str,),
    "MagneticFieldStrength": (int, float),
    "Manufacturer": (str,),
    "ManufacturersModelName": (str,),
    "MRAcquisitionType": (str,),
    "ScanningSequence": (str, list),
    "SequenceVariant": (str, list),
    "ScanOptions": (str, list),
    "PulseSequenceType": (str,),
    "NonlinearGradientCorrection": (bool,),
    "EchoTime": (int, float, list),
    "RepetitionTime": (int, float),
    "RepetitionTimePreparation": (int, float),
    "InversionTime": (int, float),
    "FlipAngle": (int, float, list),
    "NumberOfAverages": (int, float),
    "PixelBandwidth": (int, float),
    "SliceThickness": (int, float),
    "SpacingBetweenSlices": (int, float),
    "ParallelReductionFactorInPlane": (int, float),
    "PartialFourier": (int, float),
    "ContrastBolusIngredient": (str,),
}
_MAX_TEXT = 64  # a code, a brand or a model; longer text is free text, and free text is dropped


def acquisition_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a raw sidecar that may be passed on, in the order of the allow-list."""
    result = {}
    for name, types in ALLOWED_FIELDS.items():
        value = metadata.get(name)
        if isinstance(value, types) and not (isinstance(value, bool) and bool not in types) and _is_plain(value):
            result[name] = value
    return result


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return (
            len(value) <= 64
            and all(_is_plain(item) for item in value if not isinstance(item, list))
            and not any(isinstance(item, list) for item in value)
        )
    if isinstance(value, str):
        return 0 < len(value) <= _MAX_TEXT
    return isinstance(value, int | float)
