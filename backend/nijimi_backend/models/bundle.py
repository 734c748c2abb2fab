"""Loaded networks enter; the one value that the engine works with, a ModelBundle, leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from .catalog import ModelInfo
from .device import Device

__all__ = ["Autoencoder", "ModelBundle", "TextTower", "special_token"]

Autoencoder = AutoencoderTiny | AutoencoderKL


def special_token(tokenizer: Any, name: str) -> int:
    """The number of the "bos", "eos" or "pad" token; of "eos" where a tokenizer has none."""
    found = getattr(tokenizer, f"{name}_token_id")
    return int(tokenizer.eos_token_id if found is None else found)


@dataclass(frozen=True, kw_only=True)
class TextTower:
    """One text encoder. ``clip_skip``: the layer, from the end, that the UNet was trained on.

    ``normed``: whether the encoder's last norm is laid over it (SD1 and SD2: yes, SDXL: no).
    ``name`` is what adapters call it: "te" or "te1", "te2". ``pad_token_id`` fills a chunk after
    its end: the end again for CLIP's own encoder, 0 for OpenCLIP's.
    """

    name: str
    tokenizer: CLIPTokenizer
    encoder: CLIPTextModel | CLIPTextModelWithProjection
    pad_token_id: int
    clip_skip: int = 1
    normed: bool = True

    @property
    def body(self) -> Any:
        """The transformer itself, with and without a projection around it."""
        encoder: Any = self.encoder
        return getattr(encoder, "text_model", encoder)


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """The networks of one checkpoint on one device. Its own LCM-LoRA, if any, is fused in."""

    info: ModelInfo
    device: Device
    towers: tuple[TextTower, ...]
    unet: UNet2DConditionModel
    vae: Autoencoder
    scheduler_config: Mapping[str, Any]
    latent_scale: int
    """Pixels to a latent cell, per side."""

    @property
    def size_multiple_px(self) -> int:
        """Picture sides must be multiples of this: a cell at the UNet's lowest level."""
        levels = len(self.unet.config["block_out_channels"])
        return self.latent_scale * 2 ** (levels - 1)

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """By the names that messages use."""
        names = ("text_encoder", "text_encoder_2")
        towers = {name: tower.encoder for name, tower in zip(names, self.towers, strict=False)}
        return {**towers, "unet": self.unet, "vae": self.vae}
