"""Random numbers of one head, and smooth random fields on the network's box."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bids_app.steps.brain_mask.synth_network import BOX_VOXELS


class Dice:
    """Random numbers of one head; its fields are made on a device, and each kind of device has its own."""

    def __init__(self, *seed: int, device: torch.device | str = "cpu") -> None:
        self.rng = np.random.default_rng(seed)
        self.torch = torch.Generator(device).manual_seed(int(self.rng.integers(2**62)))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.torch, device=self.torch.device)

    def smooth(self, *cells: int) -> Tensor:
        """A smooth field of unit variance at its nodes, on the whole box; more cells are a finer texture."""
        coarse = self.normal(1, 1, *cells)
        return functional.interpolate(coarse, BOX_VOXELS, mode="trilinear", align_corners=True)[0, 0]
