"""What passes from a raw sidecar into an output, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from bids_app.outputs.sidecars import acquisition_fields

PASSES = {
    "EchoTime": 0.003,
    "FlipAngle": [8, 9.5],
    "MRAcquisitionType": "3D",
    "ScanningSequence": "GR\\IR",
    "SequenceVariant": ["SK", "SP"],
    "ContrastBolusIngredient": "GADOLINIUM",
}


def test_numbers_and_defined_terms_pass() -> None:
    assert acquisition_fields(PASSES) == PASSES


def test_makers_are_written_in_one_way_and_bring_their_model() -> None:
    raw = {"Manufacturer": "SIEMENS Healthineers, ward 3", "ManufacturersModelName": "MAGNETOM Prisma Fit"}
    assert acquisition_fields(raw) == {"Manufacturer": "Siemens", "ManufacturersModelName": "MAGNETOM Prisma Fit"}


@pytest.mark.parametrize(
    "model",
    [
        "TrioTim",
        "Prisma_fit",
        "SIGNA Premier",
        "DISCOVERY MR750w",
        "Ingenia Elition X",
        "Achieva dStream",
        "uMR 780",
        "Discovery MR750w 3.0T",
    ],
)
def test_names_of_models_pass(model: str) -> None:
    raw = {"Manufacturer": "GE", "ManufacturersModelName": model}
    assert acquisition_fields(raw)["ManufacturersModelName"] == model


@pytest.mark.parametrize(
    "raw",
    [
        {"PatientName": "Doe^Jane"},
        {"AcquisitionDateTime": "2020-01-02T03:04:05"},
        {"InstitutionName": "St. Elsewhere"},
        {"DeviceSerialNumber": "12345"},
        {"SeriesDescription": "T1 Jane Doe"},
        {"Manufacturer": "JANEDOE hospital 1970"},
        {"ManufacturersModelName": "Jane Doe"},
        {"Manufacturer": "Siemens", "ManufacturersModelName": "Prisma 19700101"},
        {"Manufacturer": "Siemens", "ManufacturersModelName": "Jane Doe"},
        {"Manufacturer": "Siemens", "ManufacturersModelName": "Skyra 123 456 789"},
        {"Manufacturer": "Siemens", "ManufacturersModelName": "12-05-80"},
        {"Manufacturer": "Siemens", "ManufacturersModelName": "Prisma of Jane"},
        {"EchoTime": 19700101},
        {"FlipAngle": [9, 19700101]},
        {"ScanOptions": "JANEDOE^1970-01-01"},
        {"ScanningSequence": "JANE"},
        {"ContrastBolusIngredient": "JANEDOE"},
        {"PulseSequenceType": "Jane Doe"},
        {"EchoTime": "Jane Doe"},
        {"FlipAngle": ["Jane Doe"]},
        {"RepetitionTime": True},
        {"InversionTime": {"Jane": "Doe"}},
    ],
)
def test_nothing_else_does(raw: dict[str, Any]) -> None:
    kept = acquisition_fields(raw)
    assert not any(name in str(kept).lower() for name in ("jane", "1970", "elsewhere", "2020", "12345", "true"))
