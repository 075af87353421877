"""DenseNet121's 1,024 features of a slice, from weights that are given as a file.

Huang et al. 2017 (doi:10.1109/CVPR.2017.243): growth 32, blocks of 6, 12, 24 and 16 layers. The network of torchvision
and, by other names of its weights, of MONAI (`DenseNet121(spatial_dims=2, in_channels=3)`); both files are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = "1"
FEATURES = 1024
_BLOCKS = (6, 12, 24, 16)
_GROWTH, _FIRST, _BOTTLENECK = 32, 64, 4
#: Mean and standard deviation of ImageNet's colours, which the weights were trained with (torchvision).
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class WeightsError(Exception):
    """A file that holds no weights of this network; the message says why."""


def load_network(path: Path) -> Any:
    """The network without its classifier, in evaluation mode.

    Raises
    ------
    WeightsError
        The file cannot be read, or its tensors are not those of a DenseNet121 for three colours.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling of a damaged file may raise
        raise WeightsError(f"it cannot be read as weights of torch: {_first_line(error)}") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise WeightsError("it holds no table of weights (a state_dict)")
    network = features_network()
    tensors = {our_name(str(name)): tensor for name, tensor in content.items()}
    wanted = network.state_dict()
    chosen = {name: tensors[name] for name in wanted if name in tensors}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = sorted(set(wanted) - set(chosen) - counters)
    if missing:
        raise WeightsError(f"it is no DenseNet121: {len(missing)} weights are missing, such as {missing[0]}")
    wrong = [name for name, tensor in chosen.items() if tuple(tensor.shape) != tuple(wanted[name].shape)]
    if wrong:
        raise WeightsError(f"it is another network than DenseNet121 for three colours: {wrong[0]} has another shape")
    network.load_state_dict(chosen, strict=False)
    return network.eval()


def our_name(name: str) -> str:
    """A weight's name in torchvision's older or present way or MONAI's, as it is called here."""
    name = name.removeprefix("module.").removeprefix("features.")
    name = re.sub(r"(denselayer\d+)\.layers\.", r"\1.", name)
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)


def features_network() -> Any:
    """DenseNet121 up to its last normalisation, with untrained weights."""
    from torch import cat, nn

    class Layer(nn.Sequential):
        """Normalised, squeezed and convolved; what comes out is added behind what went in."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            wide = _BOTTLENECK * _GROWTH
            self.add_module("norm1", nn.BatchNorm2d(channels))
            self.add_module("relu1", nn.ReLU(inplace=False))
            self.add_module("conv1", nn.Conv2d(channels, wide, 1, bias=False))
            self.add_module("norm2", nn.BatchNorm2d(wide))
            self.add_module("relu2", nn.ReLU(inplace=True))
            self.add_module("conv2", nn.Conv2d(wide, _GROWTH, 3, padding=1, bias=False))

        def forward(self, x: Any) -> Any:
            return cat([x, super().forward(x)], 1)

    network = nn.Sequential()
    network.add_module("conv0", nn.Conv2d(3, _FIRST, 7, stride=2, padding=3, bias=False))
    network.add_module("norm0", nn.BatchNorm2d(_FIRST))
    network.add_module("relu0", nn.ReLU(inplace=True))
    network.add_module("pool0", nn.MaxPool2d(3, stride=2, padding=1))
    channels = _FIRST
    for number, layers in enumerate(_BLOCKS, start=1):
        block = nn.Sequential()
        for index in range(layers):
            block.add_module(f"denselayer{index + 1}", Layer(channels))
            channels += _GROWTH
        network.add_module(f"denseblock{number}", block)
        if number < len(_BLOCKS):
            transition = nn.Sequential()
            transition.add_module("norm", nn.BatchNorm2d(channels))
            transition.add_module("relu", nn.ReLU(inplace=True))
            transition.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
            transition.add_module("pool", nn.AvgPool2d(2, stride=2))
            network.add_module(f"transition{number}", transition)
            channels //= 2
    network.add_module("norm5", nn.BatchNorm2d(channels))
    return network


def features_of(network: Any, planes: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Features (n x 1024) of slices whose intensities were scaled to 0 ... 1: the mean over the last maps."""
    import torch

    stack = torch.from_numpy(np.stack([np.asarray(plane, dtype=np.float32) for plane in planes]))[:, None]
    mean, sd = (torch.tensor(three)[None, :, None, None] for three in (_MEAN, _SD))
    with torch.inference_mode():
        maps = torch.relu(network((stack.clamp(0, 1).expand(-1, 3, -1, -1) - mean) / sd))
        result: NDArray[np.float32] = maps.mean(dim=(2, 3)).numpy()
    return result


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
