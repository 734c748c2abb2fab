"""Loaded networks enter; the one value that the engine works with, a ModelBundle, leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)

from .catalog import FLOW_FAMILIES, ModelInfo
from .device import Device
from .placement import Placement

__all__ = ["Autoencoder", "Backbone", "ModelBundle", "TextTower", "special_token"]

Autoencoder = AutoencoderTiny | AutoencoderKL

Backbone = UNet2DConditionModel | SD3Transformer2DModel | ZImageTransformer2DModel
"""The network that denoises."""

_PATCH_CELLS = 2
"""Flow-matching transformers see latents in patches of 2 x 2 cells."""


def special_token(tokenizer: Any, name: str) -> int:
    """The number of the "bos", "eos" or "pad" token; of "eos" where a tokenizer has none."""
    found = getattr(tokenizer, f"{name}_token_id")
    return int(tokenizer.eos_token_id if found is None else found)


@dataclass(frozen=True, kw_only=True)
class TextTower:
    """One text encoder. ``clip_skip``: the layer, from the end, that the UNet was trained on.

    ``normed``: whether the encoder's last norm is laid over it (SD1 and SD2: yes, SDXL: no).
    ``name`` is what adapters call it: "te" or "te1", "te2", "te3". ``pad_token_id`` fills a chunk
    after its end: the end again for CLIP's own encoder, 0 for OpenCLIP's.
    """

    name: str
    tokenizer: Any
    encoder: Any
    """CLIPTextModel(WithProjection); for flow-matching families also T5EncoderModel, Qwen3Model."""
    pad_token_id: int
    clip_skip: int = 1
    normed: bool = True

    @property
    def projects(self) -> bool:
        """Whether its pooled vector, projected, is a part of what the model reads."""
        return hasattr(self.encoder, "text_projection")

    @property
    def body(self) -> Any:
        """The transformer itself, with and without a projection around it."""
        return getattr(self.encoder, "text_model", self.encoder)


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """The networks of one checkpoint on one device. Its own LCM-LoRA, if any, is fused in.

    ``unet`` denoises; adapters' files call it so even where it is a transformer.
    """

    info: ModelInfo
    device: Device
    towers: tuple[TextTower, ...]
    unet: Backbone
    vae: Autoencoder
    scheduler_config: Mapping[str, Any]
    latent_scale: int
    """Pixels to a latent cell, per side."""
    placement: Placement
    """Where the networks lie; ``at_work`` brings one to the device for as long as it is used."""

    @property
    def is_flow(self) -> bool:
        """Whether it was trained by flow matching: other samplers, texts and adapters."""
        return self.info.family in FLOW_FAMILIES

    @property
    def latent_channels(self) -> int:
        config: Any = self.unet.config
        # Some name only what goes in, where the same comes out.
        return int(config.get("out_channels") or config["in_channels"])

    @property
    def takes_masks(self) -> bool:
        """Whether this is an inpaint checkpoint: mask and known latents are inputs, too."""
        return int(self.unet.config["in_channels"]) == 2 * self.latent_channels + 1

    @property
    def knows_clean(self) -> bool:
        """Whether it was trained to fill a part of what is otherwise given without noise: our own
        key of a scheduler's configuration, which others pass over."""
        return self.scheduler_config.get("known_latents") == "clean"

    @property
    def guidance_width(self) -> int:
        """Width of the guidance scale as an input of its own (LCM models); 0 where it is none."""
        config: Any = self.unet.config
        return int(config.get("time_cond_proj_dim") or 0)

    @property
    def takes_sizes(self) -> bool:
        """Whether the picture's sizes are an input, as SDXL's are."""
        config: Any = self.unet.config
        return bool(config.get("addition_embed_type"))

    @property
    def size_multiple_px(self) -> int:
        """Picture sides must be multiples of this: a cell at the network's lowest level."""
        if self.is_flow:
            return self.latent_scale * _PATCH_CELLS
        levels = len(self.unet.config["block_out_channels"])
        return self.latent_scale * 2 ** (levels - 1)

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """By the names that messages use."""
        names = ("text_encoder", "text_encoder_2", "text_encoder_3")
        towers = {name: tower.encoder for name, tower in zip(names, self.towers, strict=False)}
        return {**towers, "unet": self.unet, "vae": self.vae}
