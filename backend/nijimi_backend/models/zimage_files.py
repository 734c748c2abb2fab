"""Z-Image's files as ComfyUI keeps them, each part in its own, enter; its networks leave.

Nothing in those files is a vocabulary: the tokenizer is a folder, which the models folder must
hold, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers
from transformers import Qwen3Config, Qwen3Model
from transformers.initialization import no_init_weights

from ..errors import ModelCorrupt
from .architecture import count_parts, flow_scheduler_config, incomplete_part
from .bundle import Backbone, TextTower
from .folders import wordy_tower
from .headers import WeightsHeader, read_header
from .recognise import UNET, VAE
from .single_file import fill_network, read_vae_file
from .weight_files import read_weights

__all__ = ["ZImageFiles"]

_HEAD_WIDTH = 128
_AXES_DIMS = (32, 48, 48)
"""Of each head, for time, height and width; no shape shows how they share it."""

_QWEN = "model."
_ROPE_THETA = 1_000_000.0
"""Qwen3's, from its published configuration."""


class ZImageFiles:
    """Each part is read when it is asked for."""

    def __init__(self, path: Path, beside: Mapping[str, Path], dtype: torch.dtype) -> None:
        self._header = read_header(path)
        self._beside, self._dtype = beside, dtype

    def unet(self) -> Backbone:
        header = self._header
        prefix = UNET if header.has(UNET + "cap_embedder.1.weight") else ""
        with init_empty_weights():
            network: Any = ZImageTransformer2DModel(**_transformer_config(header, prefix))
        weights = _read(header, prefix, self._dtype)
        convert = convert_z_image_transformer_checkpoint_to_diffusers
        return fill_network(network, weights, convert, header)

    def towers(self) -> tuple[TextTower, ...]:
        header = read_header(self._beside["text_encoder"])
        with init_empty_weights(), no_init_weights():
            encoder: Any = Qwen3Model(Qwen3Config(**_qwen_config(header)))

        def shorter(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {key.removeprefix(_QWEN): value for key, value in weights.items()}

        fill_network(encoder, _read(header, _QWEN, self._dtype), shorter, header)
        return (wordy_tower("te", self._beside["tokenizer"], encoder),)

    def vae(self) -> AutoencoderKL:
        header = read_header(self._beside["vae"])
        prefix = VAE if header.has(VAE + "decoder.conv_in.weight") else ""
        return read_vae_file(header, "zimage", prefix, self._dtype)

    def scheduler(self) -> dict[str, Any]:
        return flow_scheduler_config()


def _read(header: WeightsHeader, prefix: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return read_weights(
        header, {key: key for key in header.shapes if key.startswith(prefix)}, dtype
    )


def _transformer_config(header: WeightsHeader, prefix: str) -> dict[str, Any]:
    """Arguments of ``ZImageTransformer2DModel``; raises ``ModelCorrupt``."""
    shapes = header.with_prefix(prefix)
    try:
        width, patch = shapes["x_embedder.weight"]
        (head,) = shapes["layers.0.attention.q_norm.weight"]
        config: dict[str, Any] = {
            "in_channels": patch // 4,  # patches of 2 x 2 cells
            "dim": width,
            "n_layers": count_parts(shapes, "layers"),
            "n_refiner_layers": count_parts(shapes, "noise_refiner"),
            "n_heads": width // head,
            "n_kv_heads": width // head,
            "cap_feat_dim": shapes["cap_embedder.1.weight"][1],
            "axes_dims": list(_AXES_DIMS),
        }
    except (KeyError, ValueError) as error:
        raise incomplete_part(header, "transformer", error) from error
    if head != _HEAD_WIDTH:
        raise ModelCorrupt(
            f"{header.path.name} has heads of {head} numbers, where Z-Image has {_HEAD_WIDTH}.",
            "Choose another model.",
        )
    return config


def _qwen_config(header: WeightsHeader) -> dict[str, Any]:
    """Arguments of ``Qwen3Config``; raises ``ModelCorrupt``."""
    shapes = header.with_prefix(_QWEN)
    try:
        words, width = shapes["embed_tokens.weight"]
        (head,) = shapes["layers.0.self_attn.q_norm.weight"]
        return {
            "vocab_size": words,
            "hidden_size": width,
            "intermediate_size": shapes["layers.0.mlp.gate_proj.weight"][0],
            "num_hidden_layers": count_parts(shapes, "layers"),
            "num_attention_heads": shapes["layers.0.self_attn.q_proj.weight"][0] // head,
            "num_key_value_heads": shapes["layers.0.self_attn.k_proj.weight"][0] // head,
            "head_dim": head,
            "rope_parameters": {"rope_type": "default", "rope_theta": _ROPE_THETA},
        }
    except (KeyError, ValueError) as error:
        raise incomplete_part(header, "text encoder", error) from error
