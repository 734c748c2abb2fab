"""A checkpoint's header in the original (LDM) layout enters; its networks' configurations leave.

Widths, depths and attention are read from the tensors' shapes, so that pruned and small models
load like the released ones. What no shape shows (heads, activations, scales) comes with the
family, as published in the model cards of SD 1.5, SD 2.1 and SDXL 1.0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from ..errors import ModelCorrupt
from .headers import WeightsHeader
from .recognise import UNET, VAE

__all__ = [
    "TEXT_PREFIXES",
    "count_parts",
    "flow_scheduler_config",
    "incomplete_part",
    "scheduler_config",
    "sd3_config",
    "text_config",
    "unet_config",
    "vae_config",
]

TEXT_PREFIXES: dict[str, tuple[str, ...]] = {
    "sd1": ("cond_stage_model.transformer.",),
    "sd2": ("cond_stage_model.model.",),
    "sdxl": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
    "sd3": ("text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."),
}
"""Where each family's text encoders lie in the file."""

_OPEN_CLIP_G_WIDTH = 1280
"""Of the larger encoder of SDXL and SD3; OpenAI's own have other widths."""

_LATENT_SCALES = {
    "sd1": (0.18215, 0.0),
    "sd2": (0.18215, 0.0),
    "sdxl": (0.13025, 0.0),
    "sd3": (1.5305, 0.0609),
    "zimage": (0.3611, 0.1159),
}
"""What latents are multiplied by, and what is taken off them before."""

_HEAD_WIDTH = 64
"""Of OpenAI's and OpenCLIP's text encoders, and of attention in SD2 and SDXL; SD1 has 8 heads."""


def unet_config(header: WeightsHeader, family: str) -> dict[str, Any]:
    """Arguments of ``UNet2DConditionModel``; raises ``ModelCorrupt`` for a shape it cannot have."""
    shapes = header.with_prefix(UNET)
    try:
        channels, depths = _levels(shapes)
        layers = _layers_per_level(shapes)
        config: dict[str, Any] = {
            "in_channels": shapes["input_blocks.0.0.weight"][1],
            "out_channels": shapes["out.2.weight"][0],
            "block_out_channels": tuple(channels),
            "layers_per_block": layers,
            "down_block_types": tuple(
                "CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths
            ),
            "up_block_types": tuple(
                "CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)
            ),
            "transformer_layers_per_block": tuple(max(1, depth) for depth in depths),
            "cross_attention_dim": next(
                shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight")
            ),
            "use_linear_projection": any(
                key.endswith("1.proj_in.weight") and len(shape) == 2
                for key, shape in shapes.items()
            ),
            "attention_head_dim": 8
            if family == "sd1"
            else tuple(max(1, width // _HEAD_WIDTH) for width in channels),
        }
        if "label_emb.0.0.weight" in shapes:
            config["addition_embed_type"] = "text_time"
            config["addition_time_embed_dim"] = 256
            config["projection_class_embeddings_input_dim"] = shapes["label_emb.0.0.weight"][1]
    except (KeyError, IndexError, StopIteration) as error:
        raise incomplete_part(header, "UNet", error) from error
    return config


def _levels(shapes: dict[str, tuple[int, ...]]) -> tuple[list[int], list[int]]:
    """Channels of each level, and transformer blocks in each of its attentions (0: none)."""
    channels, depths = [shapes["input_blocks.0.0.weight"][0]], [0]
    for n in range(1, count_parts(shapes, "input_blocks")):
        if f"input_blocks.{n}.0.op.weight" in shapes:
            channels.append(0)
            depths.append(0)
            continue
        channels[-1] = shapes[f"input_blocks.{n}.0.out_layers.3.weight"][0]
        depths[-1] = max(depths[-1], count_parts(shapes, f"input_blocks.{n}.1.transformer_blocks"))
    return channels, depths


def _layers_per_level(shapes: dict[str, tuple[int, ...]]) -> int:
    first_op = next(
        (n for n in range(1, count_parts(shapes, "input_blocks"))
         if f"input_blocks.{n}.0.op.weight" in shapes), count_parts(shapes, "input_blocks"),
    )  # fmt: skip
    return first_op - 1


def count_parts(names: Iterable[str], name: str) -> int:
    """How many numbered parts lie below ``name``."""
    pattern = re.compile(re.escape(name) + r"\.(\d+)\.")
    return len({match.group(1) for key in names if (match := pattern.match(key))})


def vae_config(header: WeightsHeader, family: str, prefix: str = VAE) -> dict[str, Any]:
    """Arguments of ``AutoencoderKL``, of the original names or diffusers'; raises
    ``ModelCorrupt``."""
    shapes = header.with_prefix(prefix)
    scale, shift = _LATENT_SCALES.get(family, _LATENT_SCALES["sd1"])
    down, block = "encoder.down", "block"
    if "encoder.down_blocks.0.resnets.0.conv1.weight" in shapes:
        down, block = "encoder.down_blocks", "resnets"
    try:
        levels = count_parts(shapes, down)
        channels = tuple(shapes[f"{down}.{n}.{block}.0.conv1.weight"][0] for n in range(levels))
        config: dict[str, Any] = {
            "latent_channels": shapes["decoder.conv_in.weight"][1],
            "block_out_channels": channels,
            "layers_per_block": count_parts(shapes, f"{down}.0.{block}"),
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
            "scaling_factor": scale,
            "shift_factor": shift or None,
            # The newer ones, of 16 channels, have none.
            "use_quant_conv": "quant_conv.weight" in shapes,
            "use_post_quant_conv": "post_quant_conv.weight" in shapes,
        }
    except KeyError as error:
        raise ModelCorrupt(
            f"The autoencoder of {header.path.name} is incomplete ({error} is missing).",
            "Copy or download it again, or choose another model.",
        ) from error
    return config


def text_config(header: WeightsHeader, prefix: str) -> dict[str, Any]:
    """Arguments of ``CLIPTextConfig`` for the encoder below ``prefix``.

    OpenCLIP's layout is recognised by its own names. SD2 was trained on its encoder's last layer
    but one, so the last is left out, as in the published diffusers folders.
    """
    shapes = header.with_prefix(prefix)
    is_open_clip = "token_embedding.weight" in shapes
    try:
        if is_open_clip:
            words, width = shapes["token_embedding.weight"]
            layers = count_parts(shapes, "transformer.resblocks")
            inner = shapes["transformer.resblocks.0.mlp.c_fc.weight"][0]
            places = shapes["positional_embedding"][0]
            if prefix == TEXT_PREFIXES["sd2"][0]:
                layers = min(layers, 23)
        else:
            words, width = shapes["text_model.embeddings.token_embedding.weight"]
            layers = count_parts(shapes, "text_model.encoder.layers")
            inner = shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0]
            places = shapes["text_model.embeddings.position_embedding.weight"][0]
    except (KeyError, ValueError) as error:
        raise ModelCorrupt(
            f"The text encoder of {header.path.name} is incomplete ({error} is missing).",
            "Choose a checkpoint that holds its text encoder"
            + (
                ", or put clip_l.safetensors and clip_g.safetensors into the models folder."
                if prefix in TEXT_PREFIXES["sd3"]
                else "."
            ),
        ) from error
    # SD3's files name OpenCLIP's encoder as transformers does.
    is_clip = not is_open_clip and width != _OPEN_CLIP_G_WIDTH
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // _HEAD_WIDTH),
        "max_position_embeddings": places,
        "hidden_act": "quick_gelu" if is_clip else "gelu",
        "projection_dim": shapes.get("text_projection", (0, width))[1],
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "pad_token_id": words - 1 if is_clip else 0,
    }


def sd3_config(header: WeightsHeader) -> dict[str, Any]:
    """Arguments of ``SD3Transformer2DModel``; raises ``ModelCorrupt`` for a shape it cannot have.

    The width of a head (64) is that of every released SD3; no shape shows it.
    """
    shapes = header.with_prefix(UNET)
    try:
        width, channels, patch, _ = shapes["x_embedder.proj.weight"]
        places = shapes["pos_embed"][1]
        blocks = count_parts(shapes, "joint_blocks")
        return {
            "patch_size": patch,
            "in_channels": channels,
            "out_channels": shapes["final_layer.linear.weight"][0] // patch**2,
            "num_layers": blocks,
            "num_attention_heads": width // _HEAD_WIDTH,
            "attention_head_dim": _HEAD_WIDTH,
            "joint_attention_dim": shapes["context_embedder.weight"][1],
            "caption_projection_dim": shapes["context_embedder.weight"][0],
            "pooled_projection_dim": shapes["y_embedder.mlp.0.weight"][1],
            "pos_embed_max_size": math.isqrt(places),
            "dual_attention_layers": tuple(
                n for n in range(blocks) if f"joint_blocks.{n}.x_block.attn2.qkv.weight" in shapes
            ),
            "qk_norm": "rms_norm" if "joint_blocks.0.x_block.attn.ln_q.weight" in shapes else None,
        }
    except (KeyError, ValueError) as error:
        raise incomplete_part(header, "transformer", error) from error


def incomplete_part(header: WeightsHeader, part: str, error: Exception) -> ModelCorrupt:
    """What to say where ``error`` names a tensor that is not in the file."""
    return ModelCorrupt(
        f"The {part} of {header.path.name} is incomplete ({error} is missing).",
        "Copy or download it again, whole.",
    )


def flow_scheduler_config() -> dict[str, Any]:
    """SD3's way through the noise, as its published folders have it."""
    return {"num_train_timesteps": 1000, "shift": 3.0}


def scheduler_config(*, predicts_v: bool, zero_snr: bool = False) -> dict[str, Any]:
    """The noise schedule that all of these families were trained with (1000 scaled-linear steps).

    ``zero_snr``: betas rescaled so that the last step is pure noise (Lin et al., 2305.08891).
    """
    return {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction" if predicts_v else "epsilon",
        "rescale_betas_zero_snr": zero_snr,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "clip_sample": False,
    }
