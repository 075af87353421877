"""What is flagged, and what is not."""

from __future__ import annotations

import pytest

from bids_app.steps.quality import flags

GOOD = {
    "mask_volume_ml": 1400.0, "mask_reference_dice": 0.97, "coregister_nmi": 1.15, "coregister_gamma_osbm": 0.05,
    "coregister_gamma_isbm": 0.05, "anisotropy_ratio": 1.0, "fov_cut_inferior_cm2": 4.0, "fov_cut_superior_cm2": 0.0,
}  # fmt: skip


def test_a_good_series_and_an_unmeasured_one_have_no_flags() -> None:
    assert flags(GOOD) == []
    assert flags({}) == []
    assert flags(dict.fromkeys(GOOD)) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mask_volume_ml": 300.0}, ["implausibly small (300 ml)"]),
        ({"mask_volume_ml": 2900.0}, ["implausibly large (2900 ml)"]),
        ({"mask_reference_dice": 0.7}, ["disagrees with the reference's (Dice 0.70)"]),
        ({"coregister_nmi": 1.01}, ["little in common"]),
        ({"coregister_gamma_osbm": 0.4}, ["reaches beyond the reference's"]),
        ({"coregister_gamma_isbm": 0.4}, ["leaves gaps in the reference's"]),
        ({"fov_cut_superior_cm2": 30.0}, ["touches the upper edge"]),
        ({"fov_cut_superior_cm2": 30.0, "fov_cut_inferior_cm2": 40.0}, ["touches the lower and upper edge"]),
        # a slab of a brain is small for a reason
        ({"mask_volume_ml": 300.0, "fov_cut_superior_cm2": 30.0}, ["touches the upper edge"]),
        ({"fov_cut_superior_cm2": 15.0}, []),  # the dome's last few millimetres, between two thick slices
        ({"anisotropy_ratio": 5.5, "slice_thickness_mm": 5.5}, []),  # a fact with a column of its own, no fault
    ],
)
def test_each_flag(changes, told) -> None:
    found = flags({**GOOD, **changes})
    assert len(found) == len(told)
    for text, part in zip(found, told, strict=True):
        assert part in text
