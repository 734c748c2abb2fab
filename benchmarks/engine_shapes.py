"""A model's name enters; networks of its released shapes with random weights leave, as a bundle.

What they draw is noise; what they cost is real. The text encoders have the right width and few
layers: prompts are encoded once, here and in what we are compared with, and are not measured.
"""

# diffusers types its networks' constructors too narrowly.
# pyright: reportArgumentType=false
from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from nijimi_backend.models.bundle import ModelBundle, TextTower
from nijimi_backend.models.device import Device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

__all__ = ["SHAPES", "full_autoencoder", "in_one_type", "shaped"]

SHAPES = ("nijimi-mini", "bk-sdm-tiny", "sd15", "sd-turbo", "sdxl")

_SCHEDULE: dict[str, Any] = {
    "_class_name": "LCMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "prediction_type": "epsilon", "steps_offset": 1, "set_alpha_to_one": False,
}  # fmt: skip

_THREE = ("CrossAttnDownBlock2D",) * 3
_UNETS: dict[str, dict[str, Any]] = {
    "sd15": {"cross_attention_dim": 768},
    # Model card of nota-ai/bk-sdm-tiny: one block less a stage, and no middle.
    "bk-sdm-tiny": {
        "cross_attention_dim": 768, "block_out_channels": (320, 640, 1280), "layers_per_block": 1,
        "down_block_types": _THREE, "up_block_types": ("CrossAttnUpBlock2D",) * 3,
        "mid_block_type": None,
    },
    "sd-turbo": {
        "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "sdxl": {
        "block_out_channels": (320, 640, 1280), "attention_head_dim": (5, 10, 20),
        "down_block_types": ("DownBlock2D", *_THREE[:2]),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10), "cross_attention_dim": 2048,
        "use_linear_projection": True, "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
    },
}  # fmt: skip
_FAMILIES = {"sd-turbo": "sd2", "sdxl": "sdxl"}
_WIDTHS = {"sd-turbo": (1024,), "sdxl": (768, 1280)}


def shaped(name: str, device: Device, home: Path) -> ModelBundle:
    """The model ``name`` with a TAESD-shaped autoencoder; ``home`` is where it would lie."""
    small = load_model(Library([]).find_model(""), device)
    if name == "nijimi-mini":
        return small
    torch.manual_seed(0)
    unet = _placed(UNet2DConditionModel(sample_size=64, **_UNETS[name]), device)
    towers = tuple(
        _tower(small.towers[0], width, device, number, projects=name == "sdxl" and number == 2)
        for number, width in enumerate(_WIDTHS.get(name, (768,)), 1)
    )
    info = replace(
        small.info, name=name, title=name, family=_FAMILIES.get(name, "sd1"), native_px=512,
        path=home / name, embedded=False,
    )  # fmt: skip
    vae = _placed(AutoencoderTiny(), device)
    return replace(
        small, info=info, device=device, unet=unet, towers=towers, vae=vae,
        scheduler_config=_SCHEDULE, latent_scale=8,
    )  # fmt: skip


def full_autoencoder(device: Device) -> AutoencoderKL:
    """Of Stable Diffusion's shapes."""
    return _placed(
        AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        device,
    )  # fmt: skip


def in_one_type(bundle: ModelBundle) -> ModelBundle:
    """As others load it: all of it in the type that the device computes quickest, which a small
    model's autoencoder has here."""
    dtype = next(bundle.vae.parameters()).dtype
    if dtype == bundle.device.dtype:
        return bundle
    towers = tuple(
        replace(tower, encoder=copy.deepcopy(tower.encoder).to(dtype)) for tower in bundle.towers
    )
    return replace(
        bundle, device=replace(bundle.device, dtype=dtype), towers=towers,
        unet=copy.deepcopy(bundle.unet).to(dtype),
    )  # fmt: skip


def _tower(
    like: TextTower, width: int, device: Device, number: int, *, projects: bool
) -> TextTower:
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=2,
        num_attention_heads=width // 64, projection_dim=width,
    )  # fmt: skip
    kind = CLIPTextModelWithProjection if projects else CLIPTextModel
    encoder = _placed(kind(config), device)
    return replace(like, name=f"te{number}", encoder=encoder, normed=width != 2048)


def _placed(network: Any, device: Device) -> Any:
    network.requires_grad_(False)
    network.eval()
    network.to(device.torch_device, device.dtype)
    return network.to(memory_format=torch.channels_last)
