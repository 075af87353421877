"""The generator of training heads: it follows its seed, and its truth lies where the image shows it."""

from __future__ import annotations

import numpy as np
import pytest
import synth_heads
import torch
from label_maps import TISSUES, LabelMap

from bids_app.steps.brain_mask.synth_network import BOX_VOXELS, CLASSES, SynthNetwork


@pytest.fixture(scope="module")
def source() -> LabelMap:
    """A ball of brain (left white matter, right cortex) in a shell of fluid in a head of fat."""
    x, y, z = np.meshgrid(*(np.arange(160) - 80.0,) * 3, indexing="ij")
    distance = np.sqrt(x**2 + y**2 + z**2)
    names = TISSUES
    tissue = np.zeros((160,) * 3, np.uint8)
    classes = np.zeros((160,) * 3, np.uint8)
    tissue[distance < 75] = names.index("fat")
    tissue[distance < 60] = names.index("csf")
    classes[distance < 60] = CLASSES.index("cerebrospinal fluid")
    for side, tissue_name, label in ((x < 0, "wm", "left white matter"), (x >= 0, "gm", "right cortex")):
        tissue[(distance < 50) & side] = names.index(tissue_name)
        classes[(distance < 50) & side] = CLASSES.index(label)
    signed = [np.clip(10 * (radius - distance), -120, 120).astype(np.int8) for radius in (50, 60)]
    arrays = [torch.from_numpy(a) for a in (tissue, classes, *signed)]
    return LabelMap("ball", *arrays, torch.tensor([80.0, 80.0, 80.0]))


def test_a_head_follows_from_its_seed_and_number(source: LabelMap) -> None:
    one, again, other = (synth_heads.synthetic_head(source, 1, number) for number in (4, 4, 5))
    assert torch.equal(one.image, again.image)
    assert torch.equal(one.masks, again.masks)
    assert not torch.equal(one.image, other.image)


def test_the_truth_is_that_of_the_picture(source: LabelMap) -> None:
    """Masks hold each other, classes lie in them, and both sides are told apart by where they are."""
    whole = 4 / 3 * np.pi * 50**3 / 1000
    volumes = []
    for number in range(12):
        head = synth_heads.synthetic_head(source, 2, number)
        assert head.image.shape == (1, *BOX_VOXELS)
        assert 0 <= float(head.image.min()) <= float(head.image.max()) <= 1
        assert float(head.image[0][~head.seen].abs().sum()) == 0
        brain, inside = head.masks
        assert bool((brain <= inside + 1e-6).all())
        sides = [head.classes == CLASSES.index(f"{side} white matter") for side in ("left", "right")]
        mirrored = bool(sides[1].any())
        labelled = sides[mirrored]
        if labelled.sum() < 500:
            continue  # no head, or far from the middle
        volumes.append(float(brain.sum()) * 8 / 1000)
        other = head.classes == CLASSES.index("left cortex" if mirrored else "right cortex")
        assert float((brain[labelled] > 0.3).float().mean()) > 0.97
        left, right = (where.nonzero().float().mean(0)[0] for where in (labelled, other))
        assert abs(float(left - right)) > 10
    assert len(volumes) >= 8
    assert 0.6 * whole < np.mean(volumes) < 1.5 * whole


def test_mirroring_swaps_the_sides() -> None:
    names = [CLASSES[int(index)] for index in synth_heads._OTHER_SIDE]
    assert names[CLASSES.index("left cortex")] == "right cortex"
    assert names[CLASSES.index("right cerebellum")] == "left cerebellum"
    assert names[CLASSES.index("brain stem")] == "brain stem"


def test_the_network_gives_every_voxel_its_own_answer() -> None:
    """Cells and voxels change into each other without mixing places."""
    from bids_app.steps.brain_mask import synth_network

    image = torch.arange(4 * 6 * 8.0).reshape(1, 1, 4, 6, 8)
    assert torch.equal(synth_network._from_cells(synth_network._to_cells(image)), image)
    with torch.inference_mode():
        assert SynthNetwork()(torch.zeros(1, 1, 32, 48, 64)).shape == (1, 16, 32, 48, 64)
