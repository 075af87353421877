from __future__ import annotations

from pathlib import Path

import pytest

from bids_app.inputs.contradictions import contradictions
from bids_app.inputs.series import Series


def _doubts(suffix: str, entities: dict[str, str], **metadata: object) -> tuple[str, ...]:
    path = Path(f"sub-01_{suffix}.nii.gz")
    return contradictions(Series(path, path.name, tuple(entities.items()), suffix, "anat", ".nii.gz", metadata))


@pytest.mark.parametrize(
    ("suffix", "description", "said"),
    [
        ("T1w", "AX T2 TSE", "T2w"),
        ("T1w", "ep2d_diff_trace", "diffusion"),
        ("T2w", "t1_mprage_sag_p2_iso", "T1w"),
        ("FLAIR", "SAG 3D BRAVO", "T1w"),
        ("T2w", "TOF_3D_multi-slab", "angio"),
        ("T1w", "rest_state bold", "functional"),
        ("swi", "t1_fl3d_tra", "T1w"),
        # the suffix' own words, and those that go with it
        ("T1w", "AX T1 FLAIR", None),
        ("FLAIR", "t2_tirm_tra_dark-fluid", None),
        ("FLAIR", "AX T2 FLAIR", None),
        ("swi", "t2_fl3d_tra_swi", None),
        ("T2starw", "T2_GRE_hemo", None),
        ("PDw", "PD/T2 dual echo", None),
        ("T1w", "UNI-DEN", None),
        ("UNIT1", "MP2RAGE UNI", None),
        # words that say no contrast
        ("T1w", "head first supine", None),
        ("T2w", "", None),
        ("T2w", 5, None),
    ],
)
def test_descriptions(suffix: str, description: object, said: str | None) -> None:
    found = _doubts(suffix, {}, SeriesDescription=description)
    expected = () if said is None else (f"its SeriesDescription is that of {said}, its suffix says {suffix}",)
    assert found == expected


@pytest.mark.parametrize(
    ("suffix", "metadata", "field"),
    [
        ("T1w", {"EchoTime": 0.09}, "EchoTime"),
        ("T1w", {"EchoTime": 90}, "EchoTime"),  # milliseconds, as some converters write
        ("T1w", {"EchoTime": 0.0029, "InversionTime": 0.9}, None),
        ("T2w", {"EchoTime": 0.0029}, "EchoTime"),
        ("T2w", {"EchoTime": 0.1}, None),
        ("FLAIR", {"EchoTime": 0.08, "InversionTime": 2.5}, None),
        ("FLAIR", {"InversionTime": 0.9}, "InversionTime"),
        ("T2w", {"EchoTime": True, "InversionTime": "x"}, None),
        ("T2w", {"EchoTime": 0}, None),
    ],
)
def test_times(suffix: str, metadata: dict[str, object], field: str | None) -> None:
    found = _doubts(suffix, {}, **metadata)
    assert len(found) == (field is not None)
    assert all(one.startswith(f"its {field} ") for one in found)


def test_what_was_given_a_name_by_acq_is_judged_by_its_contrast() -> None:
    assert _doubts("T2starw", {"acq": "swi"}, SeriesDescription="SWI_Images") == ()
    assert _doubts("T2starw", {"acq": "x"}, SeriesDescription="AX T1 SE") != ()


def test_nothing_of_the_text_is_quoted() -> None:
    assert "Smith" not in "".join(_doubts("T1w", {}, SeriesDescription="T2 TSE Smith"))
