"""The image encoder of SAM (Kirillov et al., ICCV 2023, doi:10.1109/ICCV51070.2023.00371), ViT-B by default.

A plain vision transformer for detection (Li et al., ECCV 2022, doi:10.1007/978-3-031-20077-9_17): most blocks attend
within windows of 14 x 14 patches, every third one to the whole image, with relative positions for rows and columns
apart (MViTv2, Li et al., CVPR 2022), and a neck of two convolutions. Parameters have the names of SAM's checkpoints
below `image_encoder.`, so that these, and MRI-CORE's, which began from them, load by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPS = 1e-6
#: Scores of pairs of patches that are in memory at once (256 MB); one picture of 1024 x 1024 has 200 million.
_MOST_SCORES = 2**26


@dataclass(frozen=True)
class VitShape:
    """The sizes of an encoder; the defaults are SAM's ViT-B."""

    image: int = 1024
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int = 3072
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    out: int = 256

    @property
    def grid(self) -> int:
        """Patches along an edge."""
        return self.image // self.patch


class WeightsError(Exception):
    """Weights that are none of this network; the message says what is missing."""


class ImageEncoder(nn.Module):
    """Images (n, 3, s, s), normalised as SAM does, to features (n, out, s / patch, s / patch)."""

    def __init__(self, shape: VitShape | None = None) -> None:
        super().__init__()
        shape = shape or VitShape()
        self.shape = shape
        self.patch_embed = _PatchEmbed(shape)
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.grid, shape.grid, shape.width))
        windows = [0 if index in shape.global_blocks else shape.window for index in range(shape.depth)]
        self.blocks = nn.ModuleList(_Block(shape, window) for window in windows)
        self.neck = nn.Sequential(
            nn.Conv2d(shape.width, shape.out, 1, bias=False),
            _ChannelNorm(shape.out),
            nn.Conv2d(shape.out, shape.out, 3, padding=1, bias=False),
            _ChannelNorm(shape.out),
        )

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patch_embed(images)
        tokens = tokens + self._positions(tokens.shape[1], tokens.shape[2])
        for block in self.blocks:
            tokens = block(tokens)
        features: Tensor = self.neck(tokens.permute(0, 3, 1, 2))
        return features

    def _positions(self, height: int, width: int) -> Tensor:
        """The position embeddings, interpolated (bicubic) where the image is of another size than in training."""
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        grid = self.pos_embed.permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
        return grid.permute(0, 2, 3, 1)


class _PatchEmbed(nn.Module):
    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, shape.width, shape.patch, shape.patch)

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.proj(images)
        return patches.permute(0, 2, 3, 1)


class _Block(nn.Module):
    """Attention within windows (0: everywhere) and a perceptron, each behind a norm and beside a skip."""

    def __init__(self, shape: VitShape, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(shape.width, eps=_EPS)
        self.attn = _Attention(shape, window or shape.grid)
        self.norm2 = nn.LayerNorm(shape.width, eps=_EPS)
        self.mlp = _Mlp(shape)

    def forward(self, tokens: Tensor) -> Tensor:
        attended = self.norm1(tokens)
        if self.window:
            windows = _windows(attended, self.window)
            attended = _unwindowed(self.attn(windows), tokens.shape)
        else:
            attended = self.attn(attended)
        tokens = tokens + attended
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result


class _Mlp(nn.Module):
    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.lin1 = nn.Linear(shape.width, shape.mlp)
        self.lin2 = nn.Linear(shape.mlp, shape.width)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.lin2(functional.gelu(self.lin1(tokens)))
        return result


class _Attention(nn.Module):
    """Multi-head attention on (n, h, w, c) with relative positions of rows and of columns."""

    def __init__(self, shape: VitShape, size: int) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.proj = nn.Linear(shape.width, shape.width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, shape.width // shape.heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, shape.width // shape.heads))

    def forward(self, tokens: Tensor) -> Tensor:
        count, height, width, channels = tokens.shape
        qkv = self.qkv(tokens).reshape(count, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # each (n, heads, h w, c / heads)
        at_once = max(1, _MOST_SCORES // (count * self.heads * width * height * width))  # rows of patches
        found = torch.cat(
            [
                functional.scaled_dot_product_attention(
                    part := query[:, :, start * width : (start + at_once) * width],
                    key,
                    value,
                    attn_mask=self._bias(part, start, height, width),
                )
                for start in range(0, height, at_once)
            ],
            dim=2,
        )
        found = found.transpose(1, 2).reshape(count, height, width, channels)
        result: Tensor = self.proj(found)
        return result

    def _bias(self, query: Tensor, start: int, height: int, width: int) -> Tensor:
        """What is added to each pair's score, (n, heads, queries, h w): the query with the row and column between them.

        The queries are whole rows of patches, from `start` on.
        """
        grid = query.unflatten(2, (-1, width))
        rows_apart = _between(self.rel_pos_h, height)[start : start + grid.shape[2]]
        rows = torch.einsum("nayxc,ykc->nayxk", grid, rows_apart)
        columns = torch.einsum("nayxc,xkc->nayxk", grid, _between(self.rel_pos_w, width))
        return (rows.unsqueeze(-1) + columns.unsqueeze(-2)).reshape(*query.shape[:3], height * width)


class _ChannelNorm(nn.Module):
    """Layer norm over the channels of (n, c, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        centred = features - features.mean(1, keepdim=True)
        scaled = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + _EPS)
        return scaled * self.weight[:, None, None] + self.bias[:, None, None]


def _between(table: Tensor, size: int) -> Tensor:
    """Embeddings of every pair of positions of an axis, (size, size, c); of a table of another size interpolated."""
    if table.shape[0] != 2 * size - 1:
        table = functional.interpolate(table.T[None], size=2 * size - 1, mode="linear")[0].T
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places[None, :] + size - 1]


def _windows(tokens: Tensor, size: int) -> Tensor:
    """(n, h, w, c) cut into windows, padded with 0 at the lower and right edges: (windows, size, size, c)."""
    count, height, width, channels = tokens.shape
    tokens = functional.pad(tokens, (0, 0, 0, -width % size, 0, -height % size))
    rows, columns = tokens.shape[1] // size, tokens.shape[2] // size
    cut = tokens.reshape(count, rows, size, columns, size, channels).transpose(2, 3)
    return cut.reshape(-1, size, size, channels)


def _unwindowed(windows: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `_windows`, without the padding."""
    count, height, width, channels = shape
    size = windows.shape[1]
    rows, columns = -(-height // size), -(-width // size)
    whole = windows.reshape(count, rows, columns, size, size, channels).transpose(2, 3)
    return whole.reshape(count, rows * size, columns * size, channels)[:, :height, :width]


def load_weights(content: Mapping[str, Any], shape: VitShape | None = None) -> ImageEncoder:
    """The encoder with the weights of a checkpoint, found by name at any depth of it.

    Position embeddings that were trained at another size decide the encoder's size. What else a checkpoint has (SAM's
    prompt encoder and mask decoder) is left.

    Raises
    ------
    WeightsError
        A weight is missing, too many, or of another shape.
    """
    found = _own(content)
    if found is None:
        raise WeightsError("they have no patch_embed.proj.weight: not the image encoder of SAM")
    shape = shape or VitShape()
    if "pos_embed" in found and found["pos_embed"].ndim == 4:
        shape = VitShape(**{**vars(shape), "image": int(found["pos_embed"].shape[1]) * shape.patch})
    with torch.device("meta"):
        encoder = ImageEncoder(shape)
    expected = encoder.state_dict()
    if missing := sorted(set(expected) - set(found)):
        raise WeightsError(f"{len(missing)} weights are missing, among them {missing[0]}")
    if unknown := sorted(set(found) - set(expected)):
        raise WeightsError(f"{len(unknown)} weights are none of ViT-B's, among them {unknown[0]}")
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise WeightsError(f"{name} has the shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}")
    encoder.load_state_dict({name: one.float() for name, one in found.items()}, assign=True)
    return encoder.eval()


def _own(content: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The encoder's own weights, without the prefix that they have in a checkpoint (`image_encoder.`)."""
    mark = "patch_embed.proj.weight"
    for name in content:
        if isinstance(name, str) and name.endswith(mark) and isinstance(content[name], Tensor):
            prefix = name.removesuffix(mark)
            return {key[len(prefix) :]: one for key, one in content.items() if key.startswith(prefix)}
    for one in content.values():
        if isinstance(one, Mapping) and (found := _own(one)) is not None:
            return found
    return None
