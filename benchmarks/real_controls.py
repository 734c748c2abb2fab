"""A checkpoint's networks and a path enter; control networks in the layouts of the released files
leave, small and random, with the networks that a file was made of."""

# diffusers types its configurations too narrowly.
# pyright: reportArgumentType=false
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter
from safetensors.torch import save_file

from .real_layout import RealLayout, original_unet_names

__all__ = ["write_controlnet_file", "write_t2i_file", "write_union_file"]

_HINT_CHANNELS = (8, 16, 32, 32)


def write_controlnet_file(path: Path, model: RealLayout, *, original: bool) -> Any:
    """One file in the original layout (SD1, SD2) or under diffusers' names (SDXL)."""
    made = _awake(_like(model, seed=21))
    weights: dict[str, torch.Tensor] = made.state_dict()
    if original:
        names = original_unet_names(model.unet)
        weights = {
            "control_model." + (_original_name(key) or names[key]): value
            for key, value in weights.items()
        }
    save_file({key: value.half().contiguous() for key, value in weights.items()}, path)
    return made


def write_union_file(path: Path, model: RealLayout, tasks: int = 8) -> Any:
    """One file for many kinds, as xinsir's for SDXL: diffusers kept its names."""
    plain = _like(model, seed=22)
    told = {key: value for key, value in plain.config.items() if not key.startswith("_")}
    width = plain.config["block_out_channels"][0]
    # What a union network has no word for.
    for name in ("mid_block_type", "addition_embed_type_num_heads", "encoder_hid_dim_type"):
        told.pop(name, None)
    network = ControlNetUnionModel(
        **told, num_control_type=tasks, num_trans_channel=width, num_proj_channel=width,
    )  # fmt: skip
    torch.nn.init.normal_(network.spatial_ch_projs.weight, std=0.2)
    made = _awake(network)
    save_file({key: value.half().contiguous() for key, value in made.state_dict().items()}, path)
    return made


def write_t2i_file(path: Path, model: RealLayout, *, original: bool, in_channels: int = 1) -> Any:
    """A whole T2I-Adapter; SDXL's has a form of its own."""
    torch.manual_seed(23)
    channels = list(model.unet.config["block_out_channels"])
    is_xl = model.family == "sdxl"
    made = T2IAdapter(
        in_channels=in_channels,
        channels=[*channels, channels[-1]] if is_xl else channels,
        num_res_blocks=2,
        downscale_factor=16 if is_xl else 8,
        adapter_type="full_adapter_xl" if is_xl else "full_adapter",
    )
    made = _rounded(made)
    weights: dict[str, torch.Tensor] = made.state_dict()
    if original:
        weights = {_original_adapter_name(key): value for key, value in weights.items()}
    save_file({key: value.half().contiguous() for key, value in weights.items()}, path)
    return made


def _like(model: RealLayout, seed: int) -> Any:
    """A ControlNet of the UNet's shapes with weights of its own."""
    torch.manual_seed(seed)
    return ControlNetModel.from_unet(
        model.unet,
        conditioning_embedding_out_channels=_HINT_CHANNELS,
        load_weights_from_unet=False,
    )


def _awake(network: Any) -> Any:
    """Where a network begins as zeros, so that training starts from the model as it is."""
    for module in (
        *network.controlnet_down_blocks,
        network.controlnet_mid_block,
        network.controlnet_cond_embedding.conv_out,
    ):
        torch.nn.init.normal_(module.weight, std=0.03)
    return _rounded(network)


def _rounded(network: Any) -> Any:
    """As the file holds it, and in memory as ours: another order of sums is no other result."""
    made = network.half().float().eval().requires_grad_(False)
    return made.to(memory_format=torch.channels_last)


def _original_name(key: str) -> str:
    """Of what only a control network has; "" for what is the UNet's."""
    hints = {"conv_in": 0, "conv_out": 14}
    if found := re.fullmatch(r"controlnet_cond_embedding\.(conv_in|conv_out)\.(.+)", key):
        return f"input_hint_block.{hints[found[1]]}.{found[2]}"
    if found := re.fullmatch(r"controlnet_cond_embedding\.blocks\.(\d+)\.(.+)", key):
        return f"input_hint_block.{2 * int(found[1]) + 2}.{found[2]}"
    if found := re.fullmatch(r"controlnet_down_blocks\.(\d+)\.(.+)", key):
        return f"zero_convs.{found[1]}.0.{found[2]}"
    if found := re.fullmatch(r"controlnet_mid_block\.(.+)", key):
        return f"middle_block_out.0.{found[1]}"
    return ""


def _original_adapter_name(key: str) -> str:
    """Blocks are counted through all levels there."""
    key = key.removeprefix("adapter.")
    if found := re.fullmatch(r"body\.(\d+)\.resnets\.(\d+)\.(.+)", key):
        return f"body.{2 * int(found[1]) + int(found[2])}.{found[3]}"
    if found := re.fullmatch(r"body\.(\d+)\.in_conv\.(.+)", key):
        return f"body.{2 * int(found[1])}.in_conv.{found[2]}"
    return key
