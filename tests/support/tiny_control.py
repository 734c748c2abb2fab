"""A folder enters; control networks of the real layouts, small and random, are written into it."""

# diffusers types its configuration too narrowly.
# pyright: reportArgumentType=false
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter

__all__ = ["make_controlnet", "write_adapter", "write_controlnet", "write_union"]

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


def write_union(path: Path, width: int = 16) -> Path:
    """A network for six kinds that fits the tiny model."""
    torch.manual_seed(13)
    network = ControlNetUnionModel(
        cross_attention_dim=width, addition_time_embed_dim=8, num_trans_channel=16,
        num_trans_head=2, num_proj_channel=16, **_SMALL,
    )  # fmt: skip
    for module in (*network.controlnet_down_blocks, network.spatial_ch_projs):
        torch.nn.init.normal_(module.weight, std=0.2)
    network.save_pretrained(path)
    return path
