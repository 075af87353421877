"""Tissues found from priors and intensities, against the tissues that the image was made of."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.assets import EMBEDDED, find_space
from bids_app.assets.tissue_maps import tissue_maps
from bids_app.steps.images import array_of, mask_of, new_image
from bids_app.steps.quality import CannotMeasureError, Head, Measured, carried_priors, measure_bias, measure_image
from bids_app.steps.quality.tissue import TISSUES, find_tissues

SHAPE = (50, 50, 50)
CONTRASTS = {
    "T1w": {"csf": 30, "gm": 70, "wm": 110},
    "T2w": {"csf": 200, "gm": 110, "wm": 80},
    "FLAIR": {"csf": 25, "gm": 110, "wm": 90},
}


def _truth(shift: int = 0):
    """Nested boxes: white matter, grey matter around it, fluid around that; and a brain mask."""
    labels = np.zeros(SHAPE, int)
    for label, margin in ((1, 4), (2, 8), (3, 15)):
        inside = slice(margin + shift, 50 - margin + shift)
        labels[inside, margin : 50 - margin, margin : 50 - margin] = label
    return labels


def _priors(labels, brain):
    return {tissue: (labels[brain] == index + 1).astype(np.float32) for index, tissue in enumerate(TISSUES)}


def _image(labels, contrast: str, sd: float = 5.0):
    levels = np.array([0, *(CONTRASTS[contrast][tissue] for tissue in TISSUES)], float)
    return (levels[labels] + np.random.default_rng(0).normal(0, sd, SHAPE)).astype(np.float32)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_priors_three_voxels_off_still_find_the_tissues_of_any_contrast(contrast: str) -> None:
    labels = _truth()
    image, brain = _image(labels, contrast), labels > 0
    found = find_tissues(image, brain, _priors(_truth(shift=3), brain))
    for index, tissue in enumerate(TISSUES):
        indices = found.indices[tissue]
        right = (labels.ravel()[indices] == index + 1).mean()
        assert right > 0.93, tissue  # grey and white matter of FLAIR are 4 SD apart
        assert len(indices) > 0.6 * (labels == index + 1).sum()
        assert np.median(found.values(image, tissue)) == pytest.approx(CONTRASTS[contrast][tissue], abs=2)


def test_numbers_of_a_head_made_of_known_levels_and_noise() -> None:
    """Grey 70, white 110, noise of SD 5; a bias field that is known doubles the image at one end."""
    labels = _truth()
    clean = _image(labels, "T1w")
    ramp = np.broadcast_to(np.linspace(0.7, 1.4, 50, dtype=np.float32)[:, None, None], SHAPE).copy()
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    mask = new_image((labels > 0).astype(np.uint8), affine)
    head = Head(new_image(clean * ramp, affine), mask, new_image(ramp, affine), lambda: _priors(labels, labels > 0))
    measured = Measured()
    measure_image(measured, head)
    measure_bias(measured, head)
    numbers = measured.numbers
    assert numbers["snr_gm"] == pytest.approx(70 / 5, rel=0.05)
    assert numbers["snr_wm"] == pytest.approx(110 / 5, rel=0.05)
    assert numbers["cjv"] == pytest.approx((5 + 5) / 40, rel=0.05)
    assert numbers["cv_wm"] == pytest.approx(5 / 110, rel=0.05)
    assert numbers["bias_range"] == pytest.approx(1.33 / 0.77, rel=0.05)
    assert numbers["bias_snr_after"] == numbers["snr_total"]
    assert numbers["bias_snr_before"] < 0.6 * numbers["bias_snr_after"]
    assert numbers["bias_cv_before"] > numbers["bias_cv_after"]
    assert numbers["bias_cv_after"] == pytest.approx(clean[labels > 0].std() / clean[labels > 0].mean(), rel=1e-3)


def test_without_field_or_tissue_there_are_reasons_and_the_rest() -> None:
    def none() -> dict[str, np.ndarray]:
        raise CannotMeasureError("no map")

    labels = _truth()
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    mask = new_image((labels > 0).astype(np.uint8), affine)
    measured = Measured()
    head = Head(new_image(_image(labels, "T1w"), affine), mask, None, none)
    measure_image(measured, head)
    measure_bias(measured, head)
    assert measured.numbers["snr_gm"] is None
    assert measured.reasons["snr_gm"] == measured.reasons["cjv"] == "no map"
    assert measured.reasons["bias_cv_before"] == "there is no bias field"
    assert measured.numbers["sharpness"] is not None
    assert measured.numbers["efc"] is not None


def test_a_number_that_breaks_or_is_not_finite_is_none_and_the_others_stay() -> None:
    measured = Measured()
    measured.add_one("broken", lambda: [][1])
    measured.add_one("infinite", lambda: float("inf"))
    measured.add_one("good", lambda: 1.23456789)
    measured.add_one("nothing", lambda: 1e-12)
    assert measured.numbers == {"broken": None, "infinite": None, "good": 1.2346, "nothing": 0.0}
    assert "IndexError" in measured.reasons["broken"]
    with pytest.raises(MemoryError):
        measured.add_one("large", lambda: (_ for _ in ()).throw(MemoryError()))


def test_the_atlas_maps_have_their_tissues_where_anatomy_has_them(tmp_path) -> None:
    maps = tissue_maps(find_space(EMBEDDED, tmp_path, None))
    assert maps is not None
    for point, tissue in (((-28, -30, 30), "wm"), ((-26, -2, -22), "gm"), ((0, -130, 0), None)):
        at = {name: _at(image, point) for name, image in maps.priors.items()}
        if tissue is None:
            assert max(at.values()) < 0.01
        else:
            assert max(at, key=at.get) == tissue, point
    volume = float(mask_of(maps.ventricles).sum()) / 1000
    assert 10 < volume < 25  # ml; 14 in FreeSurfer's average over MNI152NLin6Asym
    centre = maps.ventricles.affine @ [*np.argwhere(mask_of(maps.ventricles)).mean(axis=0), 1]
    assert abs(centre[0]) < 1


def test_maps_are_carried_to_the_voxels_of_a_brain(tmp_path) -> None:
    maps = tissue_maps(find_space(EMBEDDED, tmp_path, None))
    assert maps is not None
    affine = np.array([[1.5, 0, 0, -90], [0, 1.5, 0, -120], [0, 0, 5, -60], [0, 0, 0, 1.0]])
    everywhere = new_image(np.ones((121, 141, 30), np.uint8), affine)  # odd: the last voxel fills no block
    priors = carried_priors((maps.priors, []), everywhere)
    voxel = tuple(np.rint(np.linalg.inv(affine) @ [-28, -30, 30, 1]).astype(int)[:3])
    white = priors["wm"].reshape(everywhere.shape)
    assert white[voxel] == pytest.approx(_at(maps.priors["wm"], (-28, -30, 30)), abs=0.15)
    assert (white[-1] == white[-2]).all()


def test_a_segmentation_gives_three_tissues_and_leaves_out_what_mixes_them() -> None:
    from bids_app.steps.brain_mask.synth import classes_table
    from bids_app.workflow.interfaces.measure import _tissues_of

    names = [name for _, name in classes_table()]
    labels = np.arange(len(names), dtype=np.uint8).reshape(-1, 1, 1)
    brain = new_image(np.ones(labels.shape, np.uint8), np.eye(4))
    found = _tissues_of(new_image(labels, np.eye(4)), brain)
    chosen = {tissue: [name for name, there in zip(names, found[tissue], strict=True) if there] for tissue in found}
    assert chosen == {
        "csf": [
            "left lateral ventricle",
            "right lateral ventricle",
            "third and fourth ventricle",
            "cerebrospinal fluid",
        ],
        "gm": ["left cortex", "right cortex"],
        "wm": ["left white matter", "right white matter"],
    }


def _at(image, point) -> float:
    index = np.rint(np.linalg.inv(image.affine) @ [*point, 1]).astype(int)[:3]
    return float(array_of(image)[tuple(index)])
