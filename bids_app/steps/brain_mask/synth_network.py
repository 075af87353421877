"""The network behind `synth`: a small 3-D U-Net that labels heads of any contrast at 2 mm.

Kept apart from how it is used, so that training and product share one definition. It normalises with statistics of the
whole image, which depend on how much of the field of view is head: it is always shown the same box, `BOX_VOXELS`,
around the brain.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SPACING_MM = 2.0
#: What the network sees: left-right, back-front, bottom-top; 192 x 224 x 192 mm.
BOX_VOXELS = (96, 112, 96)
#: Sides of the input must be multiples of it.
STRIDE = 16

#: Output channels: two masks (each a logit of its own), then the classes of the segmentation (a softmax).
MASKS = ("brain", "intracranial")
CLASSES = (
    "background",
    "left white matter", "right white matter",
    "left cortex", "right cortex",
    "left deep grey matter", "right deep grey matter",
    "left lateral ventricle", "right lateral ventricle",
    "third and fourth ventricle",
    "cerebrospinal fluid",
    "left cerebellum", "right cerebellum",
    "brain stem",
)  # fmt: skip

_WIDTHS = (32, 64, 112, 128)
_LAST = 48
_CELL = 8  # voxels of 2 mm in one of 4 mm


class SynthNetwork(nn.Module):
    """U-Net of four levels, 4 to 32 mm, that takes and gives 2 mm.

    Takes (n, 1, x, y, z) float images of 0..1 on a 2 mm RAS+ grid; gives (n, 2 + 14, x, y, z) logits, see `MASKS` and
    `CLASSES`. About 2.4 million parameters. Nothing is computed on the 2 mm grid itself, where most of a U-Net's time
    goes: eight voxels are eight channels of one cell of 4 mm (Shi et al. 2016, sub-pixel convolution).
    """

    def __init__(self) -> None:
        super().__init__()
        first, *deeper = _WIDTHS
        self.stem = nn.Sequential(_Block(_CELL, first), _Block(first, first))
        self.down = nn.ModuleList()
        self.encode = nn.ModuleList()
        before = first
        for level, width in enumerate(deeper):
            self.down.append(_Block(before, width, stride=2))
            self.encode.append(_Block(width, width) if level < len(deeper) - 1 else nn.Identity())
            before = width
        self.decode = nn.ModuleList()
        for width in reversed((first, *deeper[:-1])):
            self.decode.append(_Block(before + width, width))
            before = width
        self.last = _Block(before + _CELL, _LAST)
        self.head = nn.Conv3d(_LAST, _CELL * (len(MASKS) + len(CLASSES)), 1)

    def forward(self, image: Tensor, *, classes: bool = True) -> Tensor:
        """Logits, (n, 16, x, y, z); the masks' two alone without the classes."""
        cells = _to_cells(image)
        features = self.stem(cells)
        skips = [features]
        for down, encode in zip(self.down, self.encode, strict=True):
            features = encode(down(features))
            skips.append(features)
        for decode, skip in zip(self.decode, reversed(skips[:-1]), strict=True):
            features = decode(torch.cat([_double(features), skip], dim=1))
        found = self.head(self.last(torch.cat([features, cells], dim=1)))
        return _from_cells(found if classes else found[:, : _CELL * len(MASKS)])


class _Block(nn.Module):
    """Convolution, instance normalisation, leaky rectification.

    Each channel is normalised alone: with groups of channels the network learned half as fast from contrasts at random.
    """

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.convolve = nn.Conv3d(before, after, 3, stride=stride, padding=1, bias=False)
        self.normalize = nn.GroupNorm(after, after)

    def forward(self, features: Tensor) -> Tensor:
        return functional.leaky_relu(self.normalize(self.convolve(features)), 0.01)


def _double(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="trilinear", align_corners=False)


def _to_cells(image: Tensor) -> Tensor:
    """(n, 1, 2x, 2y, 2z) to (n, 8, x, y, z)."""
    n, _, x, y, z = image.shape
    cells = image.view(n, x // 2, 2, y // 2, 2, z // 2, 2).permute(0, 2, 4, 6, 1, 3, 5)
    return cells.reshape(n, _CELL, x // 2, y // 2, z // 2)


def _from_cells(cells: Tensor) -> Tensor:
    """(n, 8c, x, y, z) to (n, c, 2x, 2y, 2z)."""
    n, channels, x, y, z = cells.shape
    parts = cells.view(n, channels // _CELL, 2, 2, 2, x, y, z).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return parts.reshape(n, channels // _CELL, 2 * x, 2 * y, 2 * z)
