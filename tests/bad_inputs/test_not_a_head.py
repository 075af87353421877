"""Images that are no head, and heads that were stripped or defaced before: what the template's mask makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from runs import dice

from bids_app.inputs.demo import write_demo
from bids_app.steps.brain_mask.template import template_mask
from bids_app.steps.images import array_of, conform, like, mask_of, spacing_mm
from bids_app.steps.registration import RegistrationError


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """A head of 3 mm, its true brain mask, and the distance of every voxel from the middle (mm)."""
    folder = tmp_path_factory.mktemp("head") / "demo"
    write_demo(folder, spacing_mm=3.0)
    image = conform(nib.load(next(folder.glob("sub-02/ses-1/anat/*T1w.nii.gz"))))
    brain = conform(
        nib.load(next(Path(folder, "derivatives/truth/sub-02/ses-1/anat").glob("*label-brain*T1w*.nii.gz")))
    )
    offsets = [(np.arange(n) - (n - 1) / 2) * edge for n, edge in zip(image.shape, spacing_mm(image), strict=True)]
    return image, mask_of(brain), np.sqrt(sum(grid**2 for grid in np.meshgrid(*offsets, indexing="ij")))


def rician(signal: Any) -> Any:
    chance = np.random.default_rng(0)
    return np.hypot(signal + chance.normal(0, 20, signal.shape), chance.normal(0, 20, signal.shape))


def no_heads(head: Any, brain: Any, far: Any) -> dict[str, Any]:
    """Images that are no head, from a head's voxels, its brain and the distance from the middle."""
    skin = head > 0.15 * np.median(head[brain])
    leg = np.broadcast_to(far[:, :, far.shape[2] // 2, None] < 50, far.shape)
    return {
        "a ball of water": rician(np.where(far < 80, 1000.0, 0)),
        "noise": rician(np.zeros(far.shape)),
        "a leg": rician(np.where(leg, 800.0, 0)),
        "one bright voxel": np.where(far == far.min(), 1000.0, 0),
        "a head upside down": head[:, :, ::-1],
        "a head the wrong way round": head[:, ::-1],
        "a head on its side": head.transpose(2, 0, 1),
        "CT of a head": rician(np.where(brain, 1040.0, np.where(skin, 1020.0, 0))),
    }


@pytest.mark.parametrize(
    "what",
    [
        "a ball of water",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("noise", "a leg", "one bright voxel")),
        *(pytest.param(f"a head {way}", marks=pytest.mark.slow) for way in ("upside down", "the wrong way round")),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("a head on its side", "CT of a head")),
    ],
)
def test_no_head_gets_no_mask(what: str, head: tuple[Any, Any, Any]) -> None:
    image, brain, far = head
    array = np.ascontiguousarray(no_heads(array_of(image), brain, far)[what], np.float32)
    with pytest.raises(RegistrationError) as error:
        template_mask(like(array, image))
    assert str(error.value).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("done", ["stripped", "defaced"])
def test_a_head_already_stripped_or_defaced_is_masked_as_well(done: str, head: tuple[Any, Any, Any]) -> None:
    image, brain, _ = head
    index = np.indices(image.shape)
    front = np.argwhere(brain)[:, 1].max()
    face = (index[1] > front - 12) & (index[2] < np.argwhere(brain)[:, 2].mean() - 5) & ~brain
    array = np.where(brain if done == "stripped" else ~face, array_of(image), np.float32(0))
    assert dice(mask_of(template_mask(like(array, image))), brain) > 0.93
