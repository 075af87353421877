from __future__ import annotations

from pathlib import Path

import pytest

from bids_app.inputs.errors import InputError
from bids_app.inputs.reference import choose_reference
from bids_app.inputs.series import Header, Series, parse_name


def series(name: str, edge: float = 1.0, fov: float = 240.0, number: object = None) -> Series:
    parsed = parse_name(f"sub-01_{name}.nii.gz", "01", None)
    path = Path(f"sub-01_{name}.nii.gz")
    head = Header((240, 240, round(fov / edge)), (1.0, 1.0, edge), "RAS", "axial", (fov, fov, fov), "int16")
    metadata = {} if number is None else {"SeriesNumber": number}
    return Series(path, path.name, parsed.entities, parsed.suffix, "anat", ".nii.gz", metadata, head)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        # the kind decides
        ([series("FLAIR"), series("T2w"), series("ce-gd_T1w"), series("T1w")], "T1w ce-gd_T1w T2w FLAIR"),
        ([series("angio"), series("swi"), series("T2starw"), series("PDw")], "PDw T2starw swi angio"),
        ([series("FLAIR"), series("UNIT1"), series("T1w")], "T1w UNIT1 FLAIR"),
        # a contrast agent is known from the sidecar, too: see test_series
        # slices over 3 mm and more than twice the best other series' stand behind
        ([series("T1w", 5.0), series("ce-gd_T1w", 1.0)], "ce-gd_T1w T1w"),
        ([series("T1w", 5.0), series("FLAIR", 1.0)], "FLAIR T1w"),
        ([series("T1w", 5.0), series("T2w", 5.0), series("FLAIR", 1.0)], "FLAIR T1w T2w"),
        ([series("T1w", 5.0), series("FLAIR", 2.5)], "T1w FLAIR"),  # exactly twice
        ([series("T1w", 3.0), series("FLAIR", 1.0)], "T1w FLAIR"),  # not over 3 mm
        ([series("T1w", 5.5), series("ce-gd_T1w", 5.5), series("FLAIR", 5.5)], "T1w ce-gd_T1w FLAIR"),
        ([series("run-1_T1w", 5.0), series("run-2_T1w", 1.0)], "run-2_T1w run-1_T1w"),
        # SWI and angiography do not push a thick T1w back
        ([series("T1w", 5.0), series("swi", 1.0), series("angio", 0.5)], "T1w swi angio"),
        ([series("T2starw", 5.0), series("swi", 1.0)], "swi T2starw"),
        # within a kind: edge, field of view, run, name
        ([series("acq-b_T1w", 1.2), series("acq-a_T1w", 1.3)], "acq-b_T1w acq-a_T1w"),
        ([series("acq-b_T1w", fov=256), series("acq-a_T1w", fov=220)], "acq-b_T1w acq-a_T1w"),
        ([series("run-10_T1w"), series("run-2_T1w")], "run-2_T1w run-10_T1w"),
        ([series("acq-b_T1w"), series("acq-a_T1w")], "acq-a_T1w acq-b_T1w"),
        ([series("acq-b_T1w", 1.001), series("acq-a_T1w", 1.0012)], "acq-a_T1w acq-b_T1w"),  # noise decides nothing
        ([series("FLAIR")], "FLAIR"),
    ],
)
def test_auto(candidates: list[Series], expected: str) -> None:
    for order in (candidates, candidates[::-1]):
        reference = choose_reference(order)
        found = [reference.series.name, *(name for name, _ in reference.runners_up)]
        assert found == [f"sub-01_{name}" for name in expected.split()]
        assert all(why for _, why in reference.runners_up)


def test_the_runners_up_say_why() -> None:
    candidates = [series("T1w"), series("acq-x_T1w", 1.2), series("run-3_T1w"), series("T2w", 5.0), series("FLAIR")]
    assert dict(choose_reference(candidates).runners_up) == {
        "sub-01_acq-x_T1w": "its largest voxel edge is 1.2 mm, not 1 mm",
        "sub-01_run-3_T1w": "a later run",
        "sub-01_T2w": "its voxels are 5 mm long, more than twice the best other series'",
        "sub-01_FLAIR": "FLAIR comes after T1w",
    }


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([series("run-1_T1w", number=9), series("run-2_T1w", number=3)], "run-2_T1w"),
        ([series("run-1_T1w", number="9"), series("run-2_T1w", number="10")], "run-1_T1w"),
        ([series("ce-gd_T1w", number=2), series("T1w", number=7)], "ce-gd_T1w"),
        ([series("T1w", 5.0, number=2), series("FLAIR", number=1)], "T1w"),
        ([series("run-1_T1w"), series("run-2_T1w", number=3)], "run-2_T1w"),
        ([series("run-1_T1w"), series("run-2_T1w")], "run-1_T1w"),
        ([series("run-1_T1w", number=[1]), series("run-2_T1w", number="x")], "run-1_T1w"),
    ],
)
def test_mr_rate(candidates: list[Series], expected: str) -> None:
    reference = choose_reference(candidates, "mr-rate")
    assert reference.series.name == f"sub-01_{expected}"
    assert reference.rule == "mr-rate"
    assert len(reference.runners_up) == len(candidates) - 1


def test_mr_rate_without_a_t1w_says_that_it_fell_back() -> None:
    reference = choose_reference([series("T2w"), series("FLAIR")], "mr-rate")
    assert reference.series.name == "sub-01_T2w"
    assert reference.rule == "auto (mr-rate finds no T1w)"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("suffix=T2w", "T2w"),
        ("acq=mprage,suffix=T1w", "acq-mprage_T1w"),
        ("acquisition=mprage", "acq-mprage_T1w"),
        ("acq=, suffix=T1w", "run-1_T1w"),
        ("run=2", "run-2_T1w"),
        ("run=02", "run-2_T1w"),
    ],
)
def test_by_filter(rule: str, expected: str) -> None:
    candidates = [series("acq-mprage_T1w"), series("run-1_T1w"), series("run-2_T1w"), series("T2w")]
    reference = choose_reference(candidates, rule)
    assert reference.series.name == f"sub-01_{expected}"
    assert reference.rule == rule
    assert len(reference.runners_up) == 3


@pytest.mark.parametrize(("rule", "code"), [("suffix=FLAIR", 18), ("first", 64), ("=T1w", 64), ("", 64)])
def test_a_bad_rule_is_told(rule: str, code: int) -> None:
    with pytest.raises(InputError) as error:
        choose_reference([series("T1w")], rule)
    assert error.value.code == code


def test_no_series() -> None:
    with pytest.raises(InputError, match="no accepted series"):
        choose_reference([])
