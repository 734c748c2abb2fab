"""A folder enters; control networks of the real layouts, small and random, are written into it."""

# diffusers types its configuration too narrowly.
# pyright: reportArgumentType=false
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, T2IAdapter
from safetensors.torch import save_file

__all__ = ["ldm_layout", "write_adapter", "write_controlnet"]

_SMALL: dict[str, Any] = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "attention_head_dim": 2,
    "norm_num_groups": 8,
    "conditioning_embedding_out_channels": (8, 8, 8, 8),
}


def make_controlnet(width: int = 16) -> ControlNetModel:
    """One that fits the tiny model (for the default ``width`` of text), and steers strongly."""
    torch.manual_seed(11)
    network = ControlNetModel(cross_attention_dim=width, **_SMALL)
    for module in (
        *network.controlnet_down_blocks,
        network.controlnet_mid_block,
        network.controlnet_cond_embedding.conv_out,
    ):
        # They begin as zeros, so that training starts from the model as it is.
        torch.nn.init.normal_(module.weight, std=0.2)
    return network.eval()


def write_controlnet(path: Path, kind: str = "", width: int = 16) -> Path:
    """A folder in diffusers' layout."""
    make_controlnet(width).save_pretrained(path)
    if kind:
        file = path / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "control_kind": kind}))
    return path


def write_adapter(path: Path, in_channels: int = 3) -> Path:
    """A T2I-Adapter that fits the tiny model."""
    torch.manual_seed(12)
    adapter = T2IAdapter(
        in_channels=in_channels, channels=[16, 32], num_res_blocks=1, downscale_factor=8
    )
    adapter.save_pretrained(path)
    return path


_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip


def ldm_layout(network: ControlNetModel, path: Path) -> Path:
    """The same weights under the names of the original ControlNet files."""
    layers: int = network.config["layers_per_block"]
    names = {
        "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2", "controlnet_mid_block": "middle_block_out.0",
        "mid_block.attentions.0": "middle_block.1",
        "controlnet_cond_embedding.conv_in": "input_hint_block.0",
        "controlnet_cond_embedding.conv_out": "input_hint_block.14",
    }  # fmt: skip
    for n in range(6):
        names[f"controlnet_cond_embedding.blocks.{n}"] = f"input_hint_block.{2 * n + 2}"
    for n in range(len(network.controlnet_down_blocks)):
        names[f"controlnet_down_blocks.{n}"] = f"zero_convs.{n}.0"
    resnets = {"mid_block.resnets.0": "middle_block.0", "mid_block.resnets.1": "middle_block.2"}
    for block in range(len(network.down_blocks)):
        for layer in range(layers):
            place = 1 + block * (layers + 1) + layer
            resnets[f"down_blocks.{block}.resnets.{layer}"] = f"input_blocks.{place}.0"
            names[f"down_blocks.{block}.attentions.{layer}"] = f"input_blocks.{place}.1"
        place = (block + 1) * (layers + 1)
        names[f"down_blocks.{block}.downsamplers.0.conv"] = f"input_blocks.{place}.0.op"
    for theirs, ours in resnets.items():
        names |= {f"{theirs}.{part}": f"{ours}.{old}" for part, old in _RESNET.items()}
    weights: dict[str, torch.Tensor] = {}
    for key, value in network.state_dict().items():
        start = max((name for name in names if key.startswith(name + ".")), key=len)
        weights["control_model." + names[start] + key[len(start) :]] = value.half().contiguous()
    save_file(weights, path)
    return path
