from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from bids_app.inputs.acceptance import content_flags, name_rejection, rejection
from bids_app.inputs.series import Header, ParsedName, Series


def header(shape: tuple[int, ...] = (256, 256, 180), spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Header:
    x, y, z = (size * edge for size, edge in zip(shape[:3], spacing, strict=True))
    return Header(shape, spacing, "RAS", "axial", (x, y, z), "int16")


def series(suffix: str = "T1w", head: Header | None = None, **metadata: object) -> Series:
    path = Path(f"sub-01_{suffix}.nii.gz")
    return Series(path, path.name, (("sub", "01"),), suffix, "anat", ".nii.gz", metadata, head or header())


@pytest.mark.parametrize(
    ("suffix", "entities", "datatype", "reason"),
    [
        *[
            (suffix, {}, "anat", None)
            for suffix in ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1", "swi", "SWI", "angio", "PD", "T2star")
        ],
        ("swi", {"part": "mag"}, "anat", None),
        ("GRE", {"acq": "SWI"}, "swi", None),
        ("GRE", {}, "swi", "suffix 'GRE'"),
        ("T1w", {"part": "phase"}, "anat", "part-phase"),
        ("T2starw", {"part": "real"}, "anat", "part-real"),
        ("defacemask", {"mod": "T1w"}, "anat", "defacing"),
        ("inplaneT1", {}, "anat", "localizer"),
        ("inplaneT2", {}, "anat", "localizer"),
        ("MP2RAGE", {"inv": "1"}, "anat", "set of images"),
        ("T1w", {"inv": "2"}, "anat", "inversion"),
        ("PDT2", {}, "anat", "split"),
        ("T1map", {}, "anat", "map"),
        ("MEGRE", {"echo": "1"}, "anat", "set of images"),
        *[(suffix, {}, "anat", None) for suffix in ("TOF", "MRA", "SWAN", "FLASH")],
        ("GRE", {"rec": "SWAN"}, "anat", None),
        ("minIP", {}, "swi", "projection"),
        ("dwi", {}, "dwi", None),
        ("ADC", {}, "dwi", None),
        ("S0map", {}, "dwi", None),
        ("FA", {}, "dwi", "anisotropy"),
        ("sbref", {}, "dwi", "single-band"),
        ("T1w", {}, "dwi", "none of dwi"),
        ("ADC", {}, "anat", "outside of dwi/"),
        ("photo", {}, "anat", "suffix 'photo'"),
    ],
)
def test_names(suffix: str, entities: dict[str, str], datatype: str, reason: str | None) -> None:
    found = name_rejection(ParsedName((("sub", "01"), *entities.items()), suffix, ".nii.gz"), datatype)
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")


@pytest.mark.parametrize(
    ("head", "lenient", "mr_rate"),
    [
        (header(), None, None),
        (header((512, 512, 26), (0.45, 0.45, 5.5)), None, None),
        (header((256, 256, 4), (1, 1, 5)), "4 slice", "4 slice"),
        (header((256, 256, 1), (1, 1, 5)), "1 slice", "1 slice"),
        (header((256, 1, 256)), "1 slice", "1 slice"),
        (header((64, 64, 30, 5), (3, 3, 4)), "5 volumes", "5 volumes"),
        (header((256, 256, 10), (1, 1, 16)), "16 mm", "16 mm"),
        (header((70, 70, 180)), "field of view", "field of view"),
        (header((256, 256, 60)), None, "field of view"),  # a slab: lenient
        (header((256, 256, 15), (1, 1, 10)), None, "fewer than 16"),
        (header((256, 256, 16), (1, 1, 10)), None, None),
        (header((256, 256, 139)), None, "field of view"),
        (header((256, 256, 140)), None, None),
        (header((351, 256, 180)), None, "field of view"),
        (header((350, 256, 180)), None, None),
    ],
)
def test_headers(head: Header, lenient: str | None, mr_rate: str | None) -> None:
    for rule, expected in (("lenient", lenient), ("mr-rate", mr_rate)):
        found = rejection(series(head=head), rule)  # type: ignore[arg-type]
        assert (found is None) == (expected is None), (rule, found)
        assert (expected or "") in (found or "")


@pytest.mark.parametrize(
    ("suffix", "age", "accepted"),
    [
        ("T1w", 13.0, True),
        ("T1w", 12.9, False),
        ("T1w", None, True),
        ("swi", 40.0, True),
        ("angio", 40.0, True),
        ("PDw", 40.0, False),
        ("UNIT1", 40.0, False),
        ("T2starw", 40.0, False),
    ],
)
def test_mr_rate_contrasts_and_ages(suffix: str, age: float | None, accepted: bool) -> None:
    assert (rejection(series(suffix), "mr-rate", age) is None) == accepted
    assert rejection(series(suffix), "lenient", age) is None


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, None),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]}, None),
        ({"ImageType": "ORIGINAL\\PRIMARY\\LOCALIZER"}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SUBTRACTION"]}, "subtraction"),
        ({"ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE", "MIP"]}, "projection"),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "phase"),
        ({"SeriesDescription": "3-plane localizer"}, "localizer"),
        ({"SeriesDescription": "AAHead_Scout_64ch"}, "localizer"),
        ({"SeriesDescription": "3 Plane Loc"}, "localizer"),
        ({"SeriesDescription": "SUB T1 POST - PRE"}, "subtraction"),
        ({"SeriesDescription": "Subtraction"}, "subtraction"),
        ({"SeriesDescription": "SAG T1 C-SPINE"}, "spine"),
        ({"SeriesDescription": "T2 cervical"}, "spine"),
        ({"BodyPartExamined": "LSPINE"}, "spine"),
        ({"SeriesDescription": "mIP_Images(SW)"}, "projection"),
        ({"SeriesDescription": "PJN: COL MRA"}, "projection"),
        ({"SeriesDescription": "Pha_Images"}, "phase"),
        ({"SeriesDescription": "AX rCBV"}, "map"),
        ({"SeriesDescription": "T1_Map"}, "map"),
        ({"SeriesDescription": "AX T1 INVERTED"}, "inverted contrast"),
        # words of good series that look like the above
        ({"SeriesDescription": "T1 inversion recovery"}, None),
        ({"SeriesDescription": "mag_images"}, None),
        ({"SeriesDescription": "T1 mapping brain lab"}, None),
        ({"SeriesDescription": "t1_mprage_sag_p2_iso"}, None),
        ({"SeriesDescription": "T1 MPR SAG"}, None),
        ({"SeriesDescription": "subject 12 T1"}, None),
        ({"SeriesDescription": "velocity flow"}, None),
        ({"SeriesDescription": "block T2 TSE"}, None),
        ({"BodyPartExamined": "BRAIN"}, None),
        # wrong types
        ({"ImageType": 3, "SeriesDescription": ["x"], "BodyPartExamined": None}, None),
        ({"ImageType": [1, None, {"a": 2}]}, None),
    ],
)
def test_content_by_sidecar(metadata: dict[str, object], reason: str | None) -> None:
    found = rejection(series(**metadata))
    assert (found is None) == (reason is None), found
    assert (reason or "") in (found or "")


def test_derived_and_reformatted_are_refused_by_mr_rate_only() -> None:
    for image_type in (["DERIVED", "PRIMARY"], ["ORIGINAL", "PRIMARY", "MPR"]):
        one = series(ImageType=image_type)
        assert rejection(one) is None
        assert "derived" in (rejection(one, "mr-rate") or "")


def test_flags() -> None:
    flags = content_flags({"ImageType": ["DERIVED", "SECONDARY", "MPR"]})
    true = {name for name, value in asdict(flags).items() if value}
    assert true == {"derived", "reformat"}
