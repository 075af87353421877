"""The network that ships: true masks on heads of several contrasts, in any pose, and none on what is no head."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.inputs.demo import write_demo
from bids_app.steps import images
from bids_app.steps.brain_mask import synth, torch_threads
from bids_app.steps.brain_mask.synth_network import CLASSES


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "data"
    write_demo(folder, seed=3, spacing_mm=2)
    return folder


def _head(demo: Path, name: str = "T1w") -> tuple[images.Image, NDArray[np.bool_]]:
    """A conformed demo head and its true brain."""
    image = images.conform(nib.load(demo / "sub-01" / "anat" / f"sub-01_{name}.nii.gz"))
    *entities, suffix = name.split("_")
    stem = "_".join(["sub-01", *entities, "label-brain", f"desc-{suffix}", "mask.nii.gz"])
    truth = images.conform(nib.load(next((demo / "derivatives" / "truth").rglob(stem))))
    return image, images.mask_of(truth)


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("name", ["T1w", "ce-gadolinium_T1w", "T2w", "FLAIR"])
def test_the_brain_is_found_in_every_contrast(demo: Path, name: str) -> None:
    image, brain = _head(demo, name)
    found = synth.synth_mask(image)
    mask, inside = images.mask_of(found.brain), images.mask_of(found.intracranial)
    assert _dice(mask, brain) > 0.94
    assert not (mask & ~inside).any()  # all brain lies in the skull
    assert ndimage.label(mask)[1] == 1
    assert found.certainty > 0.9


def test_a_mirrored_head_has_the_mirrored_mask_and_its_sides_change_places(demo: Path) -> None:
    image, _ = _head(demo)
    mirrored = images.like(np.ascontiguousarray(images.array_of(image)[::-1]), image)
    mask = images.mask_of(synth.synth_mask(image).brain)
    assert _dice(images.mask_of(synth.synth_mask(mirrored).brain)[::-1], mask) > 0.99
    labels = images.array_of(synth.synth_segmentation(image).labels).astype(int)
    back = images.array_of(synth.synth_segmentation(mirrored).labels).astype(int)[::-1]
    for left, right in (("left cortex", "right cortex"), ("left cerebellum", "right cerebellum")):
        assert _dice(labels == CLASSES.index(left), back == CLASSES.index(right)) > 0.9


def test_left_is_left(demo: Path) -> None:
    image, _ = _head(demo)
    labels = images.array_of(synth.synth_segmentation(image).labels).astype(int)
    for name in ("white matter", "cortex", "cerebellum"):
        left, right = (np.argwhere(labels == CLASSES.index(f"{side} {name}")) for side in ("left", "right"))
        assert left[:, 0].mean() < right[:, 0].mean() - 10 / images.spacing_mm(image)[0]  # RAS+: x grows to the right


@pytest.mark.parametrize(
    ("low", "size"),
    [((90, 5, 80), (190, 190, 192)), ((0, 0, 28), (140, 140, 140)), ((40, 20, 0), (140, 140, 140))],
    ids=["wide field", "top of the usual field", "bottom of the usual field"],
)
def test_a_head_far_from_the_middle_is_found(demo: Path, low: tuple[int, int, int], size: tuple[int, int, int]) -> None:
    image, _ = _head(demo)
    before = images.mask_of(synth.synth_mask(image).brain)
    margin = tuple((a, whole - a - n) for a, whole, n in zip(low, size, image.shape, strict=True))
    affine = np.asarray(image.affine).copy()
    affine[:3, 3] -= affine[:3, :3] @ [low for low, _ in margin]
    wide = images.new_image(np.pad(images.array_of(image), margin), affine)
    mask = images.mask_of(synth.synth_mask(wide).brain)
    here = tuple(slice(low, size - high) for (low, high), size in zip(margin, mask.shape, strict=True))
    assert _dice(mask[here], before) > 0.98
    assert mask.sum() == mask[here].sum()


def test_thick_slices_and_a_missing_vertex(demo: Path) -> None:
    image, brain = _head(demo)
    count = image.shape[2] // 3
    thick = images.array_of(image)[:, :, : count * 3].reshape(*image.shape[:2], count, 3).mean(axis=-1)
    share = brain[:, :, : count * 3].reshape(*image.shape[:2], count, 3).mean(axis=-1)
    affine = np.asarray(image.affine).copy()
    affine[:3, 3] += affine[:3, 2]
    affine[:3, 2] *= 3
    keep = count - int(25 / images.spacing_mm(image)[2] / 3)  # the uppermost 25 mm are not in the scan
    mask = images.mask_of(synth.synth_mask(images.new_image(np.ascontiguousarray(thick[:, :, :keep]), affine)).brain)
    assert _dice(mask, share[:, :, :keep] > 0.5) > 0.92


@pytest.mark.parametrize(
    "kind", ["noise", "ball", "boxes", "upside down", "slope", "layers", "shell", "textured", "inserts", "halves"]
)
def test_what_is_no_head_gets_no_mask(demo: Path, kind: str) -> None:
    rng = np.random.default_rng(5)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (100, 110, 90)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    texture = ndimage.gaussian_filter(rng.normal(size=x.shape), 8)
    layers = [
        100.0 * ((x / a) ** 2 + (y / b) ** 2 + (z / a) ** 2 < 1) for a, b in ((0.65, 0.8), (0.5, 0.65), (0.2, 0.3))
    ]
    angles = np.arange(6) * np.pi / 3
    rods = [40.0 * k * (np.hypot(x - 0.35 * np.cos(a), y - 0.35 * np.sin(a)) < 0.11) for k, a in enumerate(angles)]
    array = {
        "layers": sum(layers) + rng.normal(0, 3, x.shape),
        "shell": 100.0 * (radius < 0.6) + 200.0 * ((radius > 0.68) & (radius < 0.75)) + rng.normal(0, 3, x.shape),
        "textured": (100 + 25 * texture / texture.std()) * (radius < 0.75) + rng.normal(0, 3, x.shape),
        "inserts": (100.0 + sum(rods)) * (np.hypot(x, y) < 0.6) * (np.abs(z) < 0.8) + rng.normal(0, 3, x.shape),
        "halves": (100.0 + 60 * (x > 0)) * (radius < 0.7) + rng.normal(0, 3, x.shape),
        "noise": rng.normal(100, 20, x.shape),
        "ball": 100.0 * (x**2 + y**2 + z**2 < 0.5) + rng.normal(0, 3, x.shape),
        "boxes": 50.0 * (np.abs(x) < 0.7) * (np.abs(y) < 0.6) * (np.abs(z) < 0.8) + 80.0 * (np.abs(x + y) < 0.2),
        "slope": 100 * (x + 2 * y + 5),
        "upside down": np.zeros(1),
    }[kind]
    image = images.new_image(array.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    if kind == "upside down":  # a header that lies: no brain is better than half of one
        head, brain = _head(demo)
        image = images.like(np.ascontiguousarray(images.array_of(head)[:, :, ::-1]), head)
        try:
            found = synth.synth_mask(image)
        except synth.NoBrainError:
            return
        assert found.certainty < 0.9 or _dice(images.mask_of(found.brain), brain[:, :, ::-1]) > 0.9
        return
    with pytest.raises(synth.NoBrainError, match="no brain was recognised"):
        synth.synth_mask(image)


def test_the_box_is_that_of_the_last_look_even_where_no_look_is_well_centred(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look finds the brain 10 voxels further to the right: the answer belongs to where the last one looked."""
    corners = []

    def cut(_array: NDArray[np.float32], centre: NDArray[np.float64], box: tuple[int, ...]) -> NDArray[np.float32]:
        corners.append(np.round(centre - (np.array(box) - 1) / 2))
        return np.zeros(box, np.float32)

    monkeypatch.setattr(synth, "_cut", cut)
    monkeypatch.setattr(synth, "_middle", lambda _brain, centre, _box: centre + np.array([10, 0, 0]))
    monkeypatch.setattr(synth, "_predicted", lambda cut, _threads, **_: np.zeros((2, *cut.shape), np.float32))
    image = images.new_image(np.ones((90, 100, 90), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    seen = synth._look(image, 1, classes=False)
    assert len(corners) > 2
    np.testing.assert_allclose(seen.box.affine[:3, 3], corners[-1] * 2)


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(synth._DATA, tmp_path / "synth")
    content = bytearray((tmp_path / "synth" / "synth.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "synth" / "synth.pt").write_bytes(content)
    monkeypatch.setattr(synth, "_DATA", tmp_path / "synth")
    synth._network.cache_clear()
    with pytest.raises(RuntimeError, match="damaged"):
        synth._network()
    synth._network.cache_clear()


def test_the_weights_are_small_and_say_what_they_are() -> None:
    assert (synth._DATA / "synth.pt").stat().st_size <= 5_000_000
    assert json.loads((synth._DATA / "synth.json").read_text())["sha256"] == synth.weights_sha256()
    assert "licence" in (synth._DATA / "README.md").read_text().lower()


def test_threads_are_given_back() -> None:
    import torch

    before = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_same_image_gives_the_same_bits(demo: Path) -> None:
    image, _ = _head(demo, "FLAIR")
    one, two = (images.mask_of(synth.synth_mask(image, threads=threads).brain) for threads in (1, 1))
    assert (one == two).all()


def test_real_heads_in_every_contrast(shared: Path) -> None:
    """One real head with a reference mask; the rest are in `benchmarks/brain_masks.py`."""
    data = shared / "data"
    image = images.conform(nib.load(data / "sub-tcga6692" / "anat" / "sub-tcga6692_ce-gadolinium_T1w.nii.gz"))
    folder = data / "derivatives" / "reference" / "sub-tcga6692" / "anat"
    truth = images.conform(nib.load(folder / "sub-tcga6692_ce-gadolinium_desc-brain_mask.nii.gz"))
    found = synth.synth_mask(image)
    masks = (found.brain, found.intracranial)
    assert max(_dice(images.mask_of(mask), images.mask_of(truth)) for mask in masks) > 0.94


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e9])
def test_what_the_network_is_shown_has_no_unit(unit: float) -> None:
    array = np.random.default_rng(0).gamma(2, 100, (20, 24, 18)).astype(np.float32)
    centre = (np.array(array.shape) - 1) / 2
    expected, found = (synth._cut(array * np.float32(one), centre, (32, 32, 32)) for one in (1, unit))
    assert np.nanmin(expected) == 0
    assert np.nanmax(expected) == 1
    np.testing.assert_allclose(found, expected, atol=1e-5)
