"""Nothing enters; the networks of nijimi-mini leave, in the classes that SD1.5 uses.

CLIPTextModel, UNet2DConditionModel and AutoencoderTiny (TAESD's shape), only smaller. They are
given as Any: how diffusers and transformers type what these are given and give is not true of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from transformers import CLIPTextConfig, CLIPTextModel

__all__ = [
    "LATENT_CHANNELS",
    "SCHEDULER",
    "WORDS_WIDTH",
    "averaged",
    "fill_averaged",
    "make_autoencoder",
    "make_text_encoder",
    "make_unet",
    "with_learnable_attention",
]

LATENT_CHANNELS = 4
WORDS_WIDTH = 192

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
}
"""SD1.5's noise schedule with SD2.1's v-prediction, which few-step sampling likes better, and with
no signal at its end (Lin et al., arXiv 2305.08891, algorithm 1): these latents have means up to
0.9, of which SD's end leaves a trace that sampling does not start with."""


def make_autoencoder() -> Any:
    """An AutoencoderTiny, 8 x down, few blocks where the picture is large: there the time goes."""
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(0, 1, 2, 3),
        num_decoder_blocks=(3, 2, 1, 0),
        latent_channels=LATENT_CHANNELS,
        force_upcast=False,
        latent_magnitude=3,
        scaling_factor=1.0,
    )


def make_text_encoder(vocab_size: int, eos_token_id: int) -> Any:
    """CLIP's text model at a small size, trained together with the UNet."""
    config = CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=WORDS_WIDTH,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=WORDS_WIDTH,
        bos_token_id=eos_token_id - 1,
        eos_token_id=eos_token_id,
        pad_token_id=eos_token_id,
    )
    return CLIPTextModel(config)


def averaged(parameters: Sequence[Any]) -> EMAModel:
    """What keeps the weights' average over the steps, which is what is exported."""
    return EMAModel(parameters, decay=0.998, use_ema_warmup=True, inv_gamma=1.0, power=0.75)


def fill_averaged(base: dict[str, Any], unet: Any, text_encoder: Any) -> None:
    """Fill both with the averaged weights of a checkpoint of ``train_base``."""
    values = base["ema"]["shadow_params"]
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data.copy_(value)


def make_unet() -> Any:
    """A UNet2DConditionModel, three levels for 32 x 32 latents, words at the two lower ones."""
    network: Any = UNet2DConditionModel
    return network(
        sample_size=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 96, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WORDS_WIDTH,
        attention_head_dim=(2, 4, 4),
        norm_num_groups=16,
    )


def with_learnable_attention(network: Any, device: torch.device) -> Any:
    """The network itself, its attention written as products on a CPU.

    torch's own way back through attention took 44 % of a step of 32 by a profile on two Zen 4
    cores; with products a step takes 1.3 s, with it 2.0.
    """
    if device.type == "cpu":
        if isinstance(network, CLIPTextModel):
            network.set_attn_implementation("eager")
        else:
            network.set_attn_processor(AttnProcessor())
    return network
