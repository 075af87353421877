"""The walk over dwi/: roles, groups, leaders, b-values, and what is said of what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from trees import Link, Nifti, oriented, write_tree

from bids_app.inputs.content import check_content
from bids_app.inputs.dataset import Selection, open_dataset, walk
from bids_app.inputs.diffusion import settled
from bids_app.inputs.diffusion_images import load_series
from bids_app.inputs.series import Series, Session

IMAGE = Nifti(dtype="int16")
COMPUTED = "sub-01_rec-computed_ADC"


def _walk(tmp_path: Path, files: dict[str, Any], **selection: Any) -> Session:
    root = write_tree(tmp_path / "data", {f"sub-01/dwi/sub-01_{name}": one for name, one in files.items()})
    (session,) = walk(open_dataset(root), Selection(**selection))
    return session


def _roles(session: Session) -> dict[str, tuple[str, str]]:
    return {one.name: (one.diffusion.role, one.diffusion.leader) for one in session.series if one.diffusion}


def _reasons(session: Session) -> dict[str, str]:
    return {one.name: one.rejection or "" for one in session.rejected}


def _four(b_values: list[float], adc: float = 0.8e-3) -> Nifti:
    """Volumes whose signals follow an ADC everywhere."""

    class Volumes(Nifti):
        def image(self) -> Any:
            base = np.random.default_rng(0).uniform(500, 1500, (20, 22, 20))
            data = np.stack([base * np.exp(-b * adc) for b in b_values], axis=-1)
            return nib.Nifti1Image(data.astype(np.float32), oriented("LAS", (8.0, 8.0, 8.0)))

    return Volumes()


@pytest.mark.parametrize(
    "names",
    [
        ("S0map", "trace", "ADC"),
        ("b0", "TRACE", "adc"),
        ("acq-b0_dwi", "acq-b1000_dwi", "acq-ADC_dwi"),
        ("acq-DWIb0_dwi", "acq-DWIb1000_dwi", "rec-ADC_dwi"),
        ("run-1_S0map", "run-2_trace", "run-3_ADC"),
    ],
)
def test_names_in_the_wild_make_one_group(tmp_path: Path, names: tuple[str, str, str]) -> None:
    session = _walk(tmp_path, {f"{name}.nii.gz": IMAGE for name in names}, b_value=1000.0)
    by_role = {one.diffusion.role: one for one in session.series if one.diffusion and not one.diffusion.made_of}
    assert sorted(by_role) == ["adc", "b0", "trace"]
    assert {one.suffix for one in session.series} == {"S0map", "trace", "ADC"}
    leader = by_role["b0"].name
    assert all(one.diffusion and one.diffusion.leader == leader for one in session.series)
    assert [one.follows for one in session.series if one.name != leader] == [True] * 3
    (computed,) = [one for one in session.series if one.diffusion and one.diffusion.made_of]
    assert computed.entity("rec") == "computed"
    assert set(computed.files) == {by_role["b0"].relative, by_role["trace"].relative}


def test_the_b_value_comes_from_the_sidecar_before_the_option(tmp_path: Path) -> None:
    files = {"S0map.nii.gz": IMAGE, "trace.nii.gz": IMAGE, "trace.json": {"DiffusionBValue": 800}}
    session = _walk(tmp_path, files, b_value=1000.0)
    (computed,) = [one for one in session.series if one.name == COMPUTED]
    assert computed.diffusion is not None
    assert computed.diffusion.b_value == 800


def test_without_a_b_value_it_is_asked_for_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = _walk(tmp_path, {"S0map.nii.gz": IMAGE, "trace.nii.gz": IMAGE})
    assert set(_roles(session)) == {"sub-01_S0map", "sub-01_trace"}
    assert "give --b-value" in _reasons(session)[COMPUTED]
    assert "give --b-value" in caplog.text


def test_a_4d_file_holds_b0_and_trace(tmp_path: Path) -> None:
    files = {
        "dwi.nii.gz": _four([0, 1000, 1000, 1000]),
        "dwi.bval": "0 1000 1000 1000\n",
        "dwi.bvec": "0 1 0 0\n0 0 1 0\n0 0 0 1\n",
    }
    session = _walk(tmp_path, files)
    assert _roles(session) == {
        "sub-01_S0map": ("b0", "sub-01_S0map"),
        "sub-01_trace": ("trace", "sub-01_S0map"),
        COMPUTED: ("adc", "sub-01_S0map"),
    }
    by_name = {one.name: one for one in session.series}
    assert all(one.header and one.header.shape == (20, 22, 20) for one in session.series)
    for one in session.series:
        assert check_content(one)[1] is None
    adc = np.asarray(load_series(by_name[COMPUTED]).dataobj)
    np.testing.assert_allclose(adc, 0.8e-3, rtol=1e-4)
    assert by_name[COMPUTED].files == ("sub-01/dwi/sub-01_dwi.nii.gz",)


@pytest.mark.parametrize(
    "place",
    [
        "sub-01/ses-1/dwi/sub-01_ses-1_acq-x_dwi",  # shared by the runs, or by magnitude and phase
        "sub-01/ses-1/dwi/sub-01_ses-1_run-1_dwi",
        "sub-01/ses-1/sub-01_ses-1_dwi",
        "sub-01/sub-01_acq-x_dwi",
        "acq-x_dwi",
        "dwi",
    ],
)
def test_gradient_tables_are_inherited(tmp_path: Path, place: str) -> None:
    image = "sub-01/ses-1/dwi/sub-01_ses-1_acq-x_run-1_part-mag_dwi.nii.gz"
    far = {"dwi.bval": "0 1\n", "dwi.bvec": "0 1\n0 0\n0 0\n"} if place != "dwi" else {}  # a nearer one wins
    near = {f"{place}.bval": "0 1000 1000 1000\n", f"{place}.bvec": "0 1 0 0\n0 0 1 0\n0 0 0 1\n"}
    other = {f"{Path(place).parent}/sub-01_acq-y_dwi.bval": "0 2\n", f"{place.removesuffix('dwi')}trace.bval": "0 3\n"}
    files = {image: _four([0, 1000, 1000, 1000]), **far, **other, **near}
    (session,) = walk(open_dataset(write_tree(tmp_path, files)), Selection())
    assert not session.rejected
    assert {one.diffusion.b_value for one in session.series if one.diffusion and one.suffix == "trace"} == {1000}


def test_a_single_image_whose_name_tells_its_b_value_takes_no_table_of_others(tmp_path: Path) -> None:
    files = {"acq-b0_dwi.nii.gz": IMAGE, "dwi.nii.gz": IMAGE, "dwi.bval": "1000\n"}
    assert _roles(_walk(tmp_path, files))["sub-01_acq-b0_S0map"] == ("b0", "sub-01_acq-b0_S0map")


def test_a_gradient_table_that_is_not_fetched_is_told(tmp_path: Path) -> None:
    session = _walk(tmp_path, {"dwi.nii.gz": _four([0, 1000, 1000, 1000]), "dwi.bval": Link("../.git/annex/x")})
    assert "datalad get" in _reasons(session)["sub-01_dwi"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no .bval file"),
        ({"dwi.bval": "0 1000"}, "2 b-values for 4 volumes"),
        ({"dwi.bval": "0 a b c"}, "does not hold rows of numbers"),
        ({"dwi.bval": "0 -1 1000 1000"}, "numbers from 0 on"),
        ({"dwi.bval": "0 1000 1000 1000", "dwi.bvec": "0 1\n0 0\n0 0\n"}, "a direction"),
    ],
)
def test_a_gradient_table_that_cannot_be_used_is_told(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    session = _walk(tmp_path, {"dwi.nii.gz": _four([0, 1000, 1000, 1000]), **files})
    assert not session.series
    assert reason in _reasons(session)["sub-01_dwi"]


def test_without_b0_the_trace_leads_and_says_so(tmp_path: Path) -> None:
    session = _walk(tmp_path, {"trace.nii.gz": IMAGE, "ADC.nii.gz": IMAGE}, b_value=1000.0)
    assert _roles(session) == {"sub-01_trace": ("trace", "sub-01_trace"), "sub-01_ADC": ("adc", "sub-01_trace")}
    (trace,) = [one for one in session.series if one.suffix == "trace"]
    assert any("no b0 image" in warning for warning in trace.warnings)


def test_an_adc_map_alone_is_refused(tmp_path: Path) -> None:
    session = _walk(tmp_path, {"ADC.nii.gz": IMAGE})
    assert not session.series
    assert "without the b0 or DWI" in _reasons(session)["sub-01_ADC"]


def test_a_dwi_of_one_slice_is_refused(tmp_path: Path) -> None:
    session = _walk(tmp_path, {"dwi.nii.gz": Nifti(shape=(64, 64, 1)), "S0map.nii.gz": IMAGE})
    assert "1 slice(s) only" in _reasons(session)["sub-01_dwi"]
    assert list(_roles(session)) == ["sub-01_S0map"]


def test_b0_and_trace_on_different_grids_make_no_adc(tmp_path: Path) -> None:
    files = {"S0map.nii.gz": IMAGE, "trace.nii.gz": Nifti(shape=(22, 22, 20), dtype="int16")}
    session = _walk(tmp_path, files, b_value=1000.0)
    assert "different grids" in _reasons(session)[COMPUTED]


def test_a_filter_says_what_an_oddly_named_image_is(tmp_path: Path) -> None:
    files = {"acq-low_dwi.nii.gz": IMAGE, "acq-high_dwi.nii.gz": IMAGE}
    filters = {
        "b0": {"suffix": "dwi", "acquisition": "low"},
        "trace": {"suffix": "dwi", "acquisition": "high"},
    }
    session = _walk(tmp_path, files, filters=filters)
    assert {name: role for name, (role, _) in _roles(session).items()} == {
        "sub-01_acq-low_S0map": "b0",
        "sub-01_acq-high_trace": "trace",
    }


def test_two_images_that_would_have_one_name_are_told(tmp_path: Path) -> None:
    session = _walk(tmp_path, {"trace.nii.gz": IMAGE, "dwi.nii.gz": IMAGE})
    assert any("would be called sub-01_trace" in reason for reason in _reasons(session).values())


def test_who_leads_is_told_anew_when_the_b0_image_cannot_be_used(tmp_path: Path) -> None:
    session = _walk(tmp_path, dict.fromkeys(("S0map.nii.gz", "trace.nii.gz", "ADC.nii.gz"), IMAGE), b_value=1e3)
    broken = [_rejected(one) if one.suffix == "S0map" else one for one in session.series]
    after = {one.name: one for one in settled(broken)}
    assert after["sub-01_trace"].diffusion
    assert after["sub-01_trace"].diffusion.leader == "sub-01_trace"
    assert after["sub-01_ADC"].diffusion
    assert after["sub-01_ADC"].diffusion.leader == "sub-01_trace"
    assert "cannot be used" in (after[COMPUTED].rejection or "")


def _rejected(series: Series) -> Series:
    from dataclasses import replace

    return replace(series, rejection="broken")
