"""The intensities of a head: none like another, half of them near those of a common contrast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from label_maps import HEAD_ONLY, TISSUES
from synth_dice import Dice
from torch import Tensor

from bids_app.steps.brain_mask.synth_network import BOX_VOXELS

#: Rough signal of the tissues in T1w, T2w, FLAIR, b0, T1w with contrast agent and susceptibility images, 0..1. Half of
#: the heads start from one of these; the rest is wholly random.
CONTRASTS = pd.read_csv(Path(__file__).with_name("synth_contrasts.tsv"), sep="\t", index_col="tissue")


@dataclass(frozen=True)
class Contrast:
    """Mean, noise and texture of each tissue (twice: see `subdivided`), and the field that the texture follows."""

    mean: Tensor
    noise: Tensor
    texture: Tensor
    field: Tensor


def contrast_of(dice: Dice) -> Contrast:
    """Mean, noise and texture of every tissue, twice: the second half is for the parts that `subdivided` makes."""
    count = len(TISSUES)
    mean = dice.rng.uniform(0, 1, 2 * count)
    if dice.chance(0.5):
        prior = CONTRASTS[str(dice.rng.choice(list(CONTRASTS)))].to_dict()
        spread = dice.between(0.02, 0.12)
        known = {**prior, "cerebellum gm": prior["gm"], "cerebellum wm": prior["wm"]}
        for name, value in known.items():
            index = TISSUES.index(name)
            keep = index in HEAD_ONLY and dice.chance(0.3)  # what is around the brain stays surprising
            if not keep:
                mean[index] = value + dice.rng.normal(0, spread)
                mean[count + index] = value + dice.rng.normal(0, 2 * spread)
        for name in ("502", "512", "530"):
            mean[TISSUES.index(name)] = mean[TISSUES.index("soft")] + dice.rng.normal(0, 0.1)
    else:
        gm, wm = TISSUES.index("gm"), TISSUES.index("wm")
        likes = {
            "cerebellum gm": gm, "cerebellum wm": wm, "stem": wm, "ventral": wm, "thalamus": gm, "caudate": gm,
            "putamen": gm, "hippocampus": gm,
        }  # fmt: skip
        for name, like in likes.items():
            if dice.chance(0.75):
                mean[TISSUES.index(name)] = mean[like] + dice.rng.normal(0, 0.08)
        if dice.chance(0.8):
            mean[TISSUES.index("ventricle")] = mean[TISSUES.index("csf")] + dice.rng.normal(0, 0.05)
        mean[0] = mean[count] = dice.between(0, 0.3) if dice.chance(0.15) else dice.between(0, 0.04)
    if dice.chance(0.3):  # dark or bright skull
        mean[TISSUES.index("bone")] = dice.between(0, 0.15) if dice.chance(0.6) else dice.between(0.5, 1)
    noise = dice.rng.uniform(0, dice.between(0.01, 0.06), 2 * count)
    texture = dice.rng.uniform(0, dice.between(0.01, 0.1), 2 * count)
    noise[[0, count]] = texture[[0, count]] = dice.between(0, 0.03)
    cells = int(dice.rng.integers(10, 30))
    return Contrast(
        *(torch.as_tensor(a.astype(np.float32)) for a in (mean, noise, texture)), dice.smooth(cells, cells, cells)
    )


def subdivided(tissue: Tensor, dice: Dice) -> Tensor:
    """Parts of the tissues outside the brain become tissues of their own: muscle, marrow, mucosa and the like."""
    result = tissue.long()
    if dice.chance(0.7):
        cells = int(dice.rng.integers(6, 20))
        part = dice.smooth(cells, cells, cells) > dice.between(-0.3, 0.8)
        outer = result >= HEAD_ONLY[0]
        result = torch.where(part & outer, result + len(TISSUES), result)
    return result


def painted(tissue: Tensor, contrast: Contrast, dice: Dice) -> Tensor:
    image = contrast.mean[tissue] + contrast.texture[tissue] * contrast.field
    return image + contrast.noise[tissue] * dice.normal(*BOX_VOXELS)


def random_contrast(seed: int, number: int) -> Contrast:
    """The tissues' intensities of a head of its own, for tests."""
    return contrast_of(Dice(seed, number))
