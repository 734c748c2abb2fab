"""A single file of control weights and the UNet that it is to steer enter; its network leaves.

Such files carry no configuration. A ControlNet is a copy of its model's encoder (Zhang et al.,
arXiv 2302.05543), so what the weights do not show is the UNet's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import load_file

from .architecture import count_parts

__all__ = ["ControlNetwork", "adapter_config", "adapter_from_file", "controlnet_from_file"]

ControlNetwork = ControlNetModel | ControlNetUnionModel | T2IAdapter

_FROM_UNET = (
    "flip_sin_to_cos", "freq_shift", "only_cross_attention", "block_out_channels",
    "layers_per_block", "downsample_padding", "mid_block_scale_factor", "act_fn",
    "norm_num_groups", "norm_eps", "cross_attention_dim", "attention_head_dim",
    "num_attention_heads", "use_linear_projection", "addition_embed_type",
    "addition_time_embed_dim", "upcast_attention", "resnet_time_scale_shift",
    "projection_class_embeddings_input_dim",
)  # fmt: skip

_TIME_WIDTH = 256
"""Of the embedding of each number that SDXL and union networks are told."""


def controlnet_from_file(path: Path, unet: Any, dtype: torch.dtype) -> ControlNetwork:
    """ControlNets in the original layout and in diffusers', and union ones (xinsir's, whose names
    diffusers kept). Raises ``ValueError``, ``KeyError`` or ``RuntimeError`` where it does not fit.
    """
    read = load_file(path)
    if "lora_controlnet" in read:
        raise ValueError("it is a control LoRA, which Nijimi does not read")
    layers = {"layers_per_block": int(unet.config["layers_per_block"])}
    weights: dict[str, torch.Tensor] = convert_controlnet_checkpoint(read, layers)
    del read
    config = _controlnet_config(weights, unet)
    kind: Any = ControlNetModel
    if "task_embedding" in weights:
        kind = ControlNetUnionModel
        config |= _union_config(weights)
    return _filled(kind, config, weights, dtype)


def _controlnet_config(weights: Mapping[str, torch.Tensor], unet: Any) -> dict[str, Any]:
    config = {name: unet.config[name] for name in _FROM_UNET if name in unet.config}
    levels = len(config["block_out_channels"])
    depths = [count_parts(weights, f"down_blocks.{n}.attentions.0.transformer_blocks")
              for n in range(levels)]  # fmt: skip
    embedding = "controlnet_cond_embedding."
    # Two convolutions a level; the second one leads to the next level's width.
    wider = [weights[f"{embedding}blocks.{n}.weight"].shape[0]
             for n in range(1, count_parts(weights, embedding + "blocks"), 2)]  # fmt: skip
    first = weights[embedding + "conv_in.weight"].shape
    return config | {
        "in_channels": weights["conv_in.weight"].shape[1],
        "conditioning_channels": first[1],
        "conditioning_embedding_out_channels": (first[0], *wider),
        "down_block_types": tuple(
            "CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths
        ),
        # The last one is the middle's, too.
        "transformer_layers_per_block": (
            *(max(1, depth) for depth in depths[:-1]),
            max(1, depths[-1], count_parts(weights, "mid_block.attentions.0.transformer_blocks")),
        ),
    }


def _union_config(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    kinds, width = weights["task_embedding"].shape
    return {
        "addition_time_embed_dim": _TIME_WIDTH,
        "num_control_type": kinds,
        "num_trans_channel": width,
        "num_trans_layer": count_parts(weights, "transformer_layes"),
        "num_proj_channel": weights["spatial_ch_projs.weight"].shape[0],
    }


def adapter_from_file(path: Path, dtype: torch.dtype) -> T2IAdapter:
    """T2I-Adapters (Mou et al., arXiv 2302.08453), whole ones, in the original and in diffusers'
    layout. Raises ``ValueError``, ``KeyError`` or ``RuntimeError``."""
    weights = {_adapter_name(key): value for key, value in load_file(path).items()}
    config = adapter_config({key: tuple(value.shape) for key, value in weights.items()})
    return _filled(T2IAdapter, config, weights, dtype)


def adapter_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Arguments of ``T2IAdapter`` for tensors of these names, in either layout. Raises
    ``ValueError`` for the light ones and ``KeyError`` for what is incomplete."""
    named = {_adapter_name(key): shape for key, shape in shapes.items()}
    if "adapter.conv_in.weight" not in named:
        raise ValueError("it is one of the light T2I-Adapters, which Nijimi does not read")
    # Pixels are folded into channels, 8 x 8 for SD1 and 16 x 16 for SDXL, of one or three colours.
    folded = named["adapter.conv_in.weight"][1]
    side = 16 if folded in (256, 768) else 8
    levels = count_parts(named, "adapter.body")
    return {
        "in_channels": folded // side**2,
        "channels": [
            named[f"adapter.body.{n}.resnets.0.block1.weight"][0] for n in range(levels)
        ],
        "num_res_blocks": count_parts(named, "adapter.body.0.resnets"),
        "downscale_factor": side,
        "adapter_type": "full_adapter_xl" if side == 16 else "full_adapter",
    }  # fmt: skip


_ORIGINAL_BLOCK = re.compile(r"body\.(\d+)\.(block1|block2|in_conv)\.(.+)")


def _adapter_name(key: str) -> str:
    """diffusers' name. The original counts its blocks through all levels, two in each."""
    if key.startswith("adapter."):
        return key
    if found := _ORIGINAL_BLOCK.fullmatch(key):
        level, block = divmod(int(found[1]), 2)
        inner = "" if found[2] == "in_conv" else f"resnets.{block}."
        key = f"body.{level}.{inner}{found[2]}.{found[3]}"
    return "adapter." + key


def _filled(
    kind: Any, config: dict[str, Any], weights: Mapping[str, torch.Tensor], dtype: torch.dtype
) -> Any:
    """A network of that configuration that holds these weights, which are never held twice."""
    with init_empty_weights():
        network = kind(**config)
    network.load_state_dict({key: v.to(dtype) for key, v in weights.items()}, assign=True)
    return network
