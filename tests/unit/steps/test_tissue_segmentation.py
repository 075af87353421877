"""Tissue of nested shells whose shares in every voxel are known, and the gate that says of what there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from bids_app.assets import EMBEDDED, find_space
from bids_app.assets.tissue_maps import tissue_priors
from bids_app.steps.images import array_of, mask_of, new_image
from bids_app.steps.tissue import (
    TISSUES,
    TissueGateError,
    check_contrast,
    check_coverage,
    check_grid,
    segment_tissue,
)
from bids_app.steps.tissue.mixture import PURE, Mixture

NAMES = ["background", "left white matter", "right white matter", "left cortex", "right cortex",
         "left deep grey matter", "right deep grey matter", "left lateral ventricle", "right lateral ventricle",
         "third and fourth ventricle", "cerebrospinal fluid", "left cerebellum", "right cerebellum",
         "brain stem"]  # fmt: skip
FINE = 2  # samples along each edge of a voxel
N = 48
INTENSITY = {"cerebrospinal fluid": 20, "cortex": 65, "deep grey matter": 72, "white matter": 90, "ventricle": 18}


def _fine() -> Any:
    """Indices of NAMES on a grid twice as fine: shells of fluid, cortex, white matter, deep grey matter, ventricles."""
    x, y, z = np.indices((N * FINE,) * 3) / FINE - N / 2 + 0.25
    fold = 1.5 * np.sin(x / 3) * np.sin(y / 3)
    far = np.sqrt(x**2 + y**2 + z**2) + fold
    left = x < 0
    labels = np.zeros(x.shape, np.uint8)
    for radius, name in ((22, "cerebrospinal fluid"), (20, "cortex"), (16.5, "white matter"), (8, "deep grey matter"),
                         (5, "lateral ventricle")):  # fmt: skip
        for side in (False, True):
            full = name if name == "cerebrospinal fluid" else f"{'left' if side else 'right'} {name}"
            labels[(far < radius) & (left == side)] = NAMES.index(full)
    return labels


def _blocks(array: Any) -> Any:
    return array.reshape(N, FINE, N, FINE, N, FINE).mean(axis=(1, 3, 5))


def _head(seed: int = 0, intensity: dict[str, float] = INTENSITY, sd: float = 3.0) -> dict[str, Any]:
    """An image with partial volume and noise, its true shares, and what `synth` and an atlas would say, a voxel off."""
    fine = _fine()
    levels = np.array([next((v for k, v in intensity.items() if name.endswith(k)), 2.0) for name in NAMES])
    noise = np.random.default_rng(seed).normal(0, sd, (N,) * 3)
    affine = np.eye(4)
    shares = {
        "GM": _blocks(np.isin(fine, [3, 4, 5, 6])), "WM": _blocks(np.isin(fine, [1, 2])),
        "CSF": _blocks(np.isin(fine, [7, 8, 10])),
    }  # fmt: skip
    coarse = fine[1::FINE, 1::FINE, 1::FINE]
    brain = np.isin(coarse, [*range(1, 9)])
    off = np.roll(coarse, 1, axis=1)
    return {
        "image": new_image((_blocks(levels[fine]) + noise).astype(np.float32), affine),
        "brain": new_image(brain.astype(np.uint8), affine),
        "inside": new_image((coarse > 0).astype(np.uint8), affine),
        "regions": new_image(off, affine),
        "atlas": {name: new_image(np.roll(one, 2, axis=0).astype(np.float32), affine) for name, one in shares.items()},
        "shares": shares,
        "ventricles": _blocks(np.isin(fine, [7, 8])),
    }


def _segmented(head: dict[str, Any]) -> Any:
    return segment_tissue(head["image"], head["brain"], head["inside"], head["regions"], NAMES, head["atlas"])


def _dice(one: Any, other: Any) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_tissue_and_volumes_are_those_that_the_head_was_made_of() -> None:
    head = _head()
    found = _segmented(head)
    labels, inside = np.asarray(found.labels.dataobj), mask_of(head["inside"])
    for number, tissue in enumerate(TISSUES, 1):
        share = head["shares"][tissue]
        assert _dice(labels == number, share > 0.5) > {"GM": 0.90, "WM": 0.95, "CSF": 0.85}[tissue], tissue
        assert array_of(found.probabilities[tissue]).sum() == pytest.approx(share[inside].sum(), rel=0.05), tissue
    assert _dice(mask_of(found.ventricles), head["ventricles"] > 0.5) > 0.90
    left, right, inner = found.ventricle_ml.values()
    assert left + right == pytest.approx(head["ventricles"].sum() / 1000, rel=0.08)
    assert left == pytest.approx(right, rel=0.1)
    assert inner == 0
    means = dict(zip(PURE, found.mixture.means, strict=True))
    assert means["fluid"] < means["cortex"] < means["white"]


def test_shares_are_probabilities_inside_the_skull_and_nothing_outside() -> None:
    head = _head()
    found = _segmented(head)
    total = sum(array_of(part) for part in found.probabilities.values())
    inside = mask_of(head["inside"])
    assert total.min() >= 0
    assert total.max() <= 1 + 1e-5
    assert (total[~inside] == 0).all()
    assert total[mask_of(head["brain"])].mean() > 0.99
    assert np.array_equal(np.asarray(found.labels.dataobj), np.where(
        total > 0.5, np.stack([array_of(found.probabilities[name]) for name in TISSUES]).argmax(axis=0) + 1, 0
    ))  # fmt: skip


def test_no_class_takes_another_s_place_whatever_the_noise_and_the_contrast() -> None:
    """Levels of tissue that differ from head to head, up to fluid as bright as half of grey matter."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        intensity = {name: value * rng.uniform(0.85, 1.15) for name, value in INTENSITY.items()}
        intensity["white matter"] = max(intensity["white matter"], 1.2 * intensity["cortex"])
        head = _head(seed, intensity, sd=rng.uniform(2, 5))
        labels = np.asarray(_segmented(head).labels.dataobj)
        for number, tissue in enumerate(TISSUES, 1):
            pure = head["shares"][tissue] == 1
            assert (labels[pure] == number).mean() > 0.8, (seed, tissue)


def test_the_same_head_gives_the_same_bytes() -> None:
    head = _head()
    one, other = _segmented(head), _segmented(head)
    for tissue in TISSUES:
        assert array_of(one.probabilities[tissue]).tobytes() == array_of(other.probabilities[tissue]).tobytes()


def test_white_matter_with_the_brightness_of_grey_matter_stays_white_matter_where_no_grey_matter_is_expected() -> None:
    head = _head()
    array = array_of(head["image"]).copy()
    pure = np.argwhere(head["shares"]["WM"] == 1)
    far = np.linalg.norm(pure - N / 2 + 0.5, axis=1)
    deep = pure[(far > 10.5) & (far < 13)][:300]
    array[tuple(deep.T)] = INTENSITY["cortex"]
    found = _segmented({**head, "image": new_image(array, np.eye(4))})
    assert array_of(found.probabilities["WM"])[tuple(deep.T)].mean() > 0.6


def _mask(spacing: float, radius_mm: float = 60.0) -> Any:
    n = round(160 / spacing)
    far = np.sqrt(sum(((np.indices((n, n, n))[axis] - n / 2 + 0.5) * spacing) ** 2 for axis in range(3)))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -n / 2 * spacing
    return new_image((far < radius_mm).astype(np.uint8), affine)


def test_the_gate_refuses_thick_voxels_and_fragments() -> None:
    check_grid(_mask(3.0))
    with pytest.raises(TissueGateError, match="its voxels are 4 mm long"):
        check_grid(_mask(4.0))
    with pytest.raises(TissueGateError, match=r"its brain mask has 1[0-9][0-9] ml only"):
        check_grid(_mask(3.0, radius_mm=30))


def test_the_gate_refuses_a_brain_that_is_cut() -> None:
    atlas = _mask(2.0)
    image = new_image(np.zeros((80, 80, 80), np.uint8), np.asarray(atlas.affine))
    assert check_coverage(image, atlas, [sitk.TranslationTransform(3, (4.0, 0.0, 0.0))]) == 1
    with pytest.raises(TissueGateError, match=r"its field of view has [78][0-9] % of the brain"):
        check_coverage(image, atlas, [sitk.TranslationTransform(3, (0.0, 0.0, 55.0))])


@pytest.mark.parametrize(
    ("means", "sds", "reason"),
    [
        ((0.8, 0.5, 0.4, 0.3), (0.05,) * 4, "not T1-like"),
        ((0.1, 0.5, 0.55, 0.56), (0.05,) * 4, "grey and white matter differ by 1.2 standard deviations"),
        ((0.45, 0.5, 0.6, 0.9), (0.05,) * 4, "fluid and grey matter differ by 1.0 standard deviations"),
    ],
)
def test_the_gate_refuses_tissue_that_is_not_apart(means: Any, sds: Any, reason: str) -> None:
    with pytest.raises(TissueGateError, match=reason):
        check_contrast(Mixture(np.array(means), np.array(sds), 0.0, 1.0))
    good = check_contrast(Mixture(np.array((0.1, 0.6, 0.7, 0.9)), np.full(4, 0.05), 0.0, 1.0))
    assert good == (pytest.approx(6.0), pytest.approx(10.0))


def test_a_head_of_t2_contrast_is_segmented_and_then_refused() -> None:
    found = _segmented(_head(intensity={name: 110 - value for name, value in INTENSITY.items()}))
    with pytest.raises(TissueGateError, match="not T1-like"):
        check_contrast(found.mixture)


def test_priors_hold_in_mni_s_world_alone(tmp_path: Any) -> None:
    space = find_space(EMBEDDED, tmp_path, None)
    sharp, soft = tissue_priors(space, blurred=False), tissue_priors(space, blurred=True)
    assert sharp is not None
    assert soft is not None
    for name in TISSUES:
        assert array_of(soft[name]).sum() == pytest.approx(array_of(sharp[name]).sum(), rel=0.01)
        assert array_of(soft[name]).std() < array_of(sharp[name]).std()
    brain = array_of(sharp["GM"]) + array_of(sharp["WM"]) + array_of(sharp["CSF"])
    assert brain.max() == pytest.approx(1, abs=0.01)
