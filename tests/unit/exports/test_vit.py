"""SAM's image encoder: names and shapes as published, values as in transformers."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from bids_app.exports.vit import ImageEncoder, VitShape, WeightsError, load_weights

SMALL = VitShape(image=128, width=48, depth=3, heads=4, mlp=96, window=3, global_blocks=(1,), out=16)


def random_weights(encoder: ImageEncoder) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.1 * torch.randn(one.shape, generator=generator) + (1.0 if one.ndim == 1 and "weight" in name else 0.0)
        for name, one in encoder.state_dict().items()
    }


def test_vit_b_has_the_names_and_shapes_of_sams_checkpoint() -> None:
    """The names below `image_encoder.` in sam_vit_b: 3 at the root, 14 a block, 6 in the neck; 89.7 million numbers."""
    with torch.device("meta"):
        encoder = ImageEncoder()
    state = encoder.state_dict()
    expected = {"pos_embed": (1, 64, 64, 768), "patch_embed.proj.weight": (768, 3, 16, 16),
                "patch_embed.proj.bias": (768,), "neck.0.weight": (256, 768, 1, 1), "neck.1.weight": (256,),
                "neck.1.bias": (256,), "neck.2.weight": (256, 256, 3, 3), "neck.3.weight": (256,),
                "neck.3.bias": (256,)}  # fmt: skip
    for index in range(12):
        size = 127 if index in (2, 5, 8, 11) else 27
        of_block = {"norm1.weight": (768,), "norm1.bias": (768,), "attn.rel_pos_h": (size, 64),
                    "attn.rel_pos_w": (size, 64), "attn.qkv.weight": (2304, 768), "attn.qkv.bias": (2304,),
                    "attn.proj.weight": (768, 768), "attn.proj.bias": (768,), "norm2.weight": (768,),
                    "norm2.bias": (768,), "mlp.lin1.weight": (3072, 768), "mlp.lin1.bias": (3072,),
                    "mlp.lin2.weight": (768, 3072), "mlp.lin2.bias": (768,)}  # fmt: skip
        expected |= {f"blocks.{index}.{name}": shape for name, shape in of_block.items()}
    assert {name: tuple(one.shape) for name, one in state.items()} == expected
    assert sum(one.numel() for one in state.values()) == 89_670_912
    assert encoder(torch.empty(1, 3, 1024, 1024, device="meta")).shape == (1, 256, 64, 64)


def test_weights_load_by_name_from_a_whole_checkpoint() -> None:
    weights = random_weights(ImageEncoder(SMALL))
    checkpoint = {"model": {**{f"image_encoder.{name}": one for name, one in weights.items()},
                            "mask_decoder.iou_token.weight": torch.zeros(1)}}  # fmt: skip
    encoder = load_weights(checkpoint, SMALL)
    assert all(torch.equal(one, weights[name]) for name, one in encoder.state_dict().items())
    del weights["blocks.1.attn.rel_pos_w"]
    with pytest.raises(WeightsError, match=r"1 weights are missing, among them blocks\.1\.attn\.rel_pos_w"):
        load_weights(weights, SMALL)
    with pytest.raises(WeightsError, match="not the image encoder of SAM"):
        load_weights({"conv.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    "shape", [SMALL, pytest.param(VitShape(image=256), marks=pytest.mark.slow)], ids=["small", "ViT-B"]
)
def test_it_agrees_with_transformers(shape: VitShape) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed: no reference")
    encoder = load_weights(random_weights(ImageEncoder(shape)), shape)
    config = transformers.SamVisionConfig(
        hidden_size=shape.width, output_channels=shape.out, num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads, mlp_dim=shape.mlp, image_size=shape.image, window_size=shape.window,
        global_attn_indexes=list(shape.global_blocks),
    )  # fmt: skip
    reference = transformers.SamVisionModel(config).eval()
    reference.load_state_dict({_in_transformers(name): one for name, one in encoder.state_dict().items()}, strict=True)
    images = torch.randn(1, 3, shape.image, shape.image, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours, theirs = encoder(images), reference(images).last_hidden_state
    assert ours.shape == (1, shape.out, shape.grid, shape.grid)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def _in_transformers(name: str) -> str:
    name = name.replace("blocks.", "layers.").replace("patch_embed.proj.", "patch_embed.projection.")
    name = re.sub(r"\.norm([12])\.", r".layer_norm\1.", name)
    for ours, theirs in {"0": "conv1", "1": "layer_norm1", "2": "conv2", "3": "layer_norm2"}.items():
        name = name.replace(f"neck.{ours}.", f"neck.{theirs}.")
    return f"vision_encoder.{name}"


def test_rows_that_are_attended_to_one_after_another_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_weights(random_weights(ImageEncoder(SMALL)), SMALL)
    images = torch.randn(2, 3, 128, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        whole = encoder(images)
        monkeypatch.setattr("bids_app.exports.vit._MOST_SCORES", 1)
        torch.testing.assert_close(encoder(images), whole, atol=1e-5, rtol=1e-5)


def test_positions_are_interpolated_for_images_of_other_sizes() -> None:
    weights = random_weights(ImageEncoder(SMALL))
    rows = torch.linspace(-1, 1, SMALL.grid)[None, :, None, None].expand(weights["pos_embed"].shape)
    encoder = load_weights({**weights, "pos_embed": rows.clone()}, SMALL)
    assert torch.equal(encoder._positions(8, 8), rows)
    finer = encoder._positions(16, 16)[0, :, 0, 0]
    torch.testing.assert_close(finer[4:12], (torch.arange(4, 12) - 7.5) / 7, atol=0.02, rtol=0)
    with torch.inference_mode():
        assert encoder(torch.zeros(2, 3, 256, 192)).shape == (2, 16, 16, 12)
