"""A family and a folder enter; small random checkpoints in the layout of the real files leave.

Names, nesting, types and text widths are those of the released files; channels and depths are
small. The networks that a file was made of are given back: they are the reference.
"""

# diffusers types its configurations too narrowly.
# pyright: reportArgumentType=false
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

__all__ = [
    "FAMILIES",
    "RealLayout",
    "original_unet_names",
    "original_vae_name",
    "save_networks",
    "write_checkpoint",
]

FAMILIES = ("sd1", "sd2", "sdxl")

_VOCABULARY = 49408
_LATENT_SCALES = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}


@dataclass(frozen=True, kw_only=True)
class RealLayout:
    """A written file, and the networks that it holds, float32."""

    path: Path
    family: str
    unet: Any
    vae: Any
    encoders: tuple[Any, ...]
    weights: dict[str, torch.Tensor]


def write_checkpoint(
    path: Path,
    family: str,
    *,
    dtype: torch.dtype = torch.float16,
    in_channels: int = 4,
    seed: int = 0,
    metadata: dict[str, str] | None = None,
) -> RealLayout:
    """One .safetensors file of ``family``. The networks given back hold the rounded weights."""
    torch.manual_seed(seed)
    unet = _rounded(_make_unet(family, in_channels), dtype)
    vae = _rounded(_make_vae(family), dtype)
    encoders = tuple(_rounded(each, dtype) for each in _make_encoders(family))
    weights = save_networks(path, family, unet, vae, encoders, dtype, metadata)
    return RealLayout(
        path=path, family=family, unet=unet, vae=vae, encoders=encoders, weights=weights
    )


def save_networks(
    path: Path,
    family: str,
    unet: Any,
    vae: Any,
    encoders: tuple[Any, ...],
    dtype: torch.dtype = torch.float16,
    metadata: dict[str, str] | None = None,
) -> dict[str, torch.Tensor]:
    """Write networks of any size as one file of the original layout; its tensors are given back."""
    weights: dict[str, torch.Tensor] = {}
    names = original_unet_names(unet)
    for key, value in unet.state_dict().items():
        weights["model.diffusion_model." + names[key]] = value
    for key, value in vae.state_dict().items():
        name, value = original_vae_name(key, value, len(vae.config["block_out_channels"]))
        weights["first_stage_model." + name] = value
    if family == "sd1":
        weights.update(_clip(encoders[0], "cond_stage_model.transformer.text_model."))
    elif family == "sd2":
        weights.update(_open_clip(encoders[0], "cond_stage_model.model."))
    else:
        weights.update(_clip(encoders[0], "conditioner.embedders.0.transformer.text_model."))
        weights.update(_open_clip(encoders[1], "conditioner.embedders.1.model."))
    # Tables that the original files carry and nobody needs.
    weights["alphas_cumprod"] = torch.linspace(1.0, 0.0, 1000)
    kept = {key: value.to(dtype).contiguous() for key, value in weights.items()}
    save_file(kept, path, metadata=metadata)
    return weights


def _rounded(network: Any, dtype: torch.dtype) -> Any:
    return network.to(dtype).float().eval().requires_grad_(False)


def _make_unet(family: str, in_channels: int) -> Any:
    if family == "sdxl":
        return UNet2DConditionModel(
            in_channels=in_channels,
            sample_size=16,
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=2,
            transformer_layers_per_block=(1, 2, 3),
            attention_head_dim=(1, 1, 1),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
    return UNet2DConditionModel(
        in_channels=in_channels,
        sample_size=16,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=2,
        cross_attention_dim=768 if family == "sd1" else 1024,
        attention_head_dim=8 if family == "sd1" else (1, 1, 1, 1),
        use_linear_projection=family == "sd2",
    )


def _make_vae(family: str) -> Any:
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        scaling_factor=_LATENT_SCALES[family],
        sample_size=128,
    )


def _make_encoders(family: str) -> tuple[Any, ...]:
    def config(width: int, act: str, pad: int, projection: int) -> CLIPTextConfig:
        return CLIPTextConfig(
            vocab_size=_VOCABULARY, hidden_size=width, intermediate_size=64, num_hidden_layers=3,
            num_attention_heads=width // 64, max_position_embeddings=77, hidden_act=act,
            projection_dim=projection, bos_token_id=49406, eos_token_id=49407, pad_token_id=pad,
        )  # fmt: skip

    if family == "sd2":
        return (_with_norms(CLIPTextModel(config(1024, "gelu", 0, 1024))),)
    first = _with_norms(CLIPTextModel(config(768, "quick_gelu", 49407, 768)))
    if family == "sd1":
        return (first,)
    return first, _with_norms(CLIPTextModelWithProjection(config(1280, "gelu", 0, 1280)))


def _with_norms(encoder: Any) -> Any:
    """Norms as trained ones are, not 1 and 0: weighted prompts keep a mean, which must be some."""
    for module in encoder.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
            torch.nn.init.normal_(module.bias, 0.1, 0.2)
    return encoder


def original_unet_names(unet: Any) -> dict[str, str]:
    """diffusers' names of a UNet's parameters to those of the original files."""
    per_level = int(unet.config["layers_per_block"])
    has_attention = [kind.startswith("Cross") for kind in unet.config["up_block_types"]]
    outer = {
        "conv_in": "input_blocks.0.0", "conv_out": "out.2", "conv_norm_out": "out.0",
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    }  # fmt: skip
    inner = {
        "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0",
        "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1",
        "conv_shortcut": "skip_connection",
    }  # fmt: skip
    names: dict[str, str] = {}
    for key in unet.state_dict():
        module, _, ending = key.rpartition(".")
        if module in outer:
            names[key] = f"{outer[module]}.{ending}"
            continue
        match = re.match(r"(down|up|mid)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.*)$", key)
        assert match, key
        side, kind, rest = match.group(1), match.group(3), match.group(5)
        level, item = int(match.group(2) or 0), int(match.group(4))
        if kind == "resnets":
            head, _, tail = rest.partition(".")
            rest = f"{inner[head]}.{tail}"
        if side == "mid":
            place = "middle_block.1" if kind == "attentions" else f"middle_block.{2 * item}"
        elif kind == "downsamplers":
            place, rest = f"input_blocks.{(level + 1) * (per_level + 1)}.0.op", ending
        elif kind == "upsamplers":
            last = level * (per_level + 1) + per_level
            place = f"output_blocks.{last}.{2 if has_attention[level] else 1}"
        else:
            first = 1 if side == "down" else 0
            block = f"{'input' if side == 'down' else 'output'}_blocks"
            place = f"{block}.{first + level * (per_level + 1) + item}"
            place += ".0" if kind == "resnets" else ".1"
        names[key] = f"{place}.{rest}"
    return names


def original_vae_name(key: str, value: torch.Tensor, levels: int) -> tuple[str, torch.Tensor]:
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", key)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
    name = re.sub(
        r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", name
    )
    name = re.sub(
        r"up_blocks\.(\d+)\.upsamplers\.0\.",
        lambda m: f"up.{levels - 1 - int(m[1])}.upsample.", name,
    )  # fmt: skip
    name = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", name)
    if "mid_block.attentions.0." in name:
        name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
        for ours, theirs in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
                             ("to_out.0", "proj_out")):  # fmt: skip
            name = name.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
        if value.dim() == 2:
            # Linear there, a 1 x 1 convolution here.
            value = value[:, :, None, None]
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut"), value


def _body(encoder: Any) -> dict[str, torch.Tensor]:
    return {key.removeprefix("text_model."): v for key, v in encoder.state_dict().items()}


def _clip(encoder: Any, prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in _body(encoder).items()}


def _open_clip(encoder: Any, prefix: str) -> dict[str, torch.Tensor]:
    own = _body(encoder)
    made = {
        "token_embedding.weight": own["embeddings.token_embedding.weight"],
        "positional_embedding": own["embeddings.position_embedding.weight"],
        "ln_final.weight": own["final_layer_norm.weight"],
        "ln_final.bias": own["final_layer_norm.bias"],
    }
    if "text_projection.weight" in own:
        made["text_projection"] = own["text_projection.weight"].T.contiguous()
    layers = len({key.split(".")[2] for key in own if key.startswith("encoder.layers.")})
    for n in range(layers):
        ours, theirs = f"encoder.layers.{n}.", f"transformer.resblocks.{n}."
        for ending in ("weight", "bias"):
            made[f"{theirs}attn.in_proj_{ending}"] = torch.cat(
                [own[f"{ours}self_attn.{part}_proj.{ending}"] for part in "qkv"]
            )
            for name, other in (("self_attn.out_proj", "attn.out_proj"), ("layer_norm1", "ln_1"),
                                ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"),
                                ("mlp.fc2", "mlp.c_proj")):  # fmt: skip
                made[f"{theirs}{other}.{ending}"] = own[f"{ours}{name}.{ending}"]
    return {prefix + key: value for key, value in made.items()}
