from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from bids_app.inputs.series import BadNameError, Series, Session, in_bids_order, parse_name, split_extension


def series(name: str, **changes: object) -> Series:
    parsed = parse_name(name, "01", "1" if "_ses-1_" in name else None)
    values: dict[str, object] = {
        "path": Path("/data/sub-01/anat") / name,
        "relative": f"sub-01/anat/{name}",
        "entities": parsed.entities,
        "suffix": parsed.suffix,
        "datatype": "anat",
        "extension": parsed.extension,
    }
    return Series(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "subject", "session", "entities", "suffix"),
    [
        ("sub-01_T1w.nii.gz", "01", None, (("sub", "01"),), "T1w"),
        (
            "sub-01_ses-1_acq-x_ce-gadolinium_run-1_T1w.nii",
            "01",
            "1",
            (("sub", "01"), ("ses", "1"), ("acq", "x"), ("ce", "gadolinium"), ("run", "1")),
            "T1w",
        ),
        ("sub-A+b_part-mag_swi.nii.gz", "A+b", None, (("sub", "A+b"), ("part", "mag")), "swi"),
        ("sub-01_chunk-02_FLAIR.nii.gz", "01", None, (("sub", "01"), ("chunk", "02")), "FLAIR"),
    ],
)
def test_a_name_is_parsed(
    name: str, subject: str, session: str | None, entities: tuple[tuple[str, str], ...], suffix: str
) -> None:
    parsed = parse_name(name, subject, session)
    assert parsed.entities == entities
    assert parsed.suffix == suffix
    assert parsed.extension == split_extension(name)[1]


@pytest.mark.parametrize(
    ("name", "session", "message"),
    [
        ("T1w.nii.gz", None, "does not begin with sub-01"),
        ("sub01_T1w.nii.gz", None, "'sub01' in its name is not a key-value pair"),
        ("sub-02_T1w.nii.gz", None, "named for sub-02"),
        ("sub-01_T1w.nii.gz", "1", "named without ses-"),
        ("sub-01_ses-2_T1w.nii.gz", "1", "named for ses-2"),
        ("sub-01_ses-2_T1w.nii.gz", None, "a folder without ses-"),
        ("sub-01_run-a_T1w.nii.gz", None, "'run-a' in its name must be a number"),
        ("sub-01_run-1_run-2_T1w.nii.gz", None, "'run-' is in its name twice"),
        ("sub-01_desc-preproc_T1w.nii.gz", None, "'desc-'"),
        ("sub-01_acq-a b_T1w.nii.gz", None, "'acq-a b'"),
        ("sub-01_T1w copy.nii.gz", None, "suffix"),
        ("sub-01_acq-é_T1w.nii.gz", None, "'acq-é'"),
        ("sub-01_.nii.gz", None, "suffix"),
    ],
)
def test_a_bad_name_is_told(name: str, session: str | None, message: str) -> None:
    with pytest.raises(BadNameError, match=message):
        parse_name(name, "01", session)


@pytest.mark.parametrize(
    ("name", "metadata", "contrast", "agent"),
    [
        ("sub-01_T1w.nii.gz", {}, "T1w", False),
        ("sub-01_ce-gd_T1w.nii.gz", {}, "T1w", True),
        ("sub-01_T1w.nii.gz", {"ContrastBolusIngredient": "GADOLINIUM"}, "T1w", True),
        ("sub-01_T1w.nii.gz", {"ContrastBolusIngredient": "none"}, "T1w", False),
        ("sub-01_T1w.nii.gz", {"ContrastBolusIngredient": ["x"]}, "T1w", False),
        ("sub-01_UNIT1.nii.gz", {}, "UNIT1", False),
        ("sub-01_swi.nii.gz", {}, "SWI", False),
        ("sub-01_SWI.nii.gz", {}, "SWI", False),
        ("sub-01_acq-SWI_T2starw.nii.gz", {}, "SWI", False),
        ("sub-01_rec-swi_GRE.nii.gz", {}, "SWI", False),
        ("sub-01_PD.nii.gz", {}, "PDw", False),
        ("sub-01_T2star.nii.gz", {}, "T2starw", False),
    ],
)
def test_contrast_and_agent(name: str, metadata: dict[str, object], contrast: str, agent: bool) -> None:
    one = series(name, metadata=metadata)
    assert (one.contrast, one.contrast_agent) == (contrast, agent)


def test_names_labels_and_runs() -> None:
    one = series("sub-01_ses-1_run-02_T1w.nii.gz")
    assert one.name == "sub-01_ses-1_run-02_T1w"
    assert one.run == 2
    assert one.entity("ses") == "1"
    assert one.entity("acq") is None
    assert series("sub-01_T1w.nii").name == "sub-01_T1w"
    assert Session("01", "1", (one,), ()).label == "sub-01_ses-1"
    assert Session("01", None, (), ()).label == "sub-01"


def test_a_session_goes_to_another_process() -> None:
    session = Session("01", None, (series("sub-01_T1w.nii.gz", metadata={"EchoTime": 0.1}),), ())
    assert pickle.loads(pickle.dumps(session)) == session


def test_order_of_entities() -> None:
    assert in_bids_order(parse_name("sub-01_acq-x_run-1_T1w.nii.gz", "01", None).entities)
    assert not in_bids_order(parse_name("sub-01_run-1_acq-x_T1w.nii.gz", "01", None).entities)
