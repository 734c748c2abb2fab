"""A checkpoint of one .safetensors file in the original layout enters; its networks leave.

The networks are made without memory of their own and take the file's tensors as their weights, one
network after another, so that no weight is ever held twice. diffusers translates the names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
from transformers.initialization import no_init_weights

from ..errors import ModelCorrupt
from .architecture import (
    TEXT_PREFIXES,
    scheduler_config,
    text_config,
    unet_config,
    vae_config,
)
from .bundle import Backbone, TextTower, special_token
from .headers import WeightsHeader, read_header
from .recognise import UNET, VAE, Recognised, recognise
from .tokenizer import clip_tokenizer
from .weight_files import iterate_weights, read_weights

__all__ = ["SingleFile", "fill_network", "read_vae_file"]

_V_MARK = UNET + "output_blocks.11.1.transformer_blocks.0.norm1.bias"
_V_SPREAD = 0.09
"""SD2's v models have a wide spread in this bias and its epsilon models have not: so ComfyUI tells
them apart, too, where no one says it."""


class SingleFile:
    """One checkpoint file; each part is read when it is asked for."""

    def __init__(
        self, path: Path, dtype: torch.dtype, note: Callable[[float], None] = lambda _part: None
    ) -> None:
        """``note`` hears, tensor by tensor, what part of the file has been read, in [0, 1]."""
        self._note = note
        self._read_bytes = 0
        self.header = read_header(path)
        self._total_bytes = self.header.size_bytes
        self.found: Recognised = recognise(self.header)
        self._dtype = dtype
        if self.found.family not in TEXT_PREFIXES:
            raise ModelCorrupt(
                f"{path.name} is no checkpoint that Nijimi can paint with "
                f"({self.found.kind.value}, {self.found.family or 'of an unknown family'}).",
                "Choose one for SD 1.x, SD 2.x, SDXL or SD3.",
            )

    def unet(self) -> Backbone:
        config = unet_config(self.header, self.found.family)
        with init_empty_weights():
            network: Any = UNet2DConditionModel(**config)
        return fill_network(
            network, self._read(self.header, UNET),
            lambda w: convert_ldm_unet_checkpoint(w, network.config), self.header,
        )  # fmt: skip

    def vae(self) -> AutoencoderKL:
        """The file's own, or that of ``NAME.vae.safetensors`` beside it, as for the web UIs."""
        family, beside = self.found.family, self.header.path.with_suffix(".vae.safetensors")
        if not beside.is_file():
            return read_vae_file(self.header, family, VAE, self._dtype)
        header = read_header(beside)
        prefix = VAE if any(key.startswith(VAE) for key in header.shapes) else ""
        return read_vae_file(header, family, prefix, self._dtype)

    def towers(self) -> tuple[TextTower, ...]:
        prefixes = TEXT_PREFIXES[self.found.family]
        is_xl = len(prefixes) > 1
        is_sd3 = self.found.family == "sd3"
        tokenizer = clip_tokenizer()
        return tuple(
            TextTower(
                name=f"te{n + 1}" if is_xl else "te",
                tokenizer=tokenizer,
                encoder=self._text_encoder(prefix, projects=is_sd3 or n > 0),
                pad_token_id=0 if _is_open_clip(prefix) else special_token(tokenizer, "eos"),
                clip_skip=2 if is_xl else 1,
                normed=not is_xl,
            )
            for n, prefix in enumerate(prefixes)
        )

    def scheduler(self) -> dict[str, Any]:
        return scheduler_config(predicts_v=self._predicts_v(), zero_snr=self.header.has("ztsnr"))

    def _text_encoder(
        self, prefix: str, *, projects: bool
    ) -> CLIPTextModel | CLIPTextModelWithProjection:
        header, place = self._place(prefix)
        config = text_config(header, place)
        # Random numbers for weights that are not even there take as long as reading some.
        with init_empty_weights(), no_init_weights():
            made = (CLIPTextModelWithProjection if projects else CLIPTextModel)(
                CLIPTextConfig(**config)
            )
        network: Any = made
        wraps = hasattr(network, "text_model")

        def names_of_ours(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            if not place:
                converted = weights
            elif prefix.endswith("transformer."):
                converted = convert_ldm_clip_checkpoint(weights, prefix)
            else:
                converted = convert_open_clip_checkpoint(network, weights, prefix=prefix)
            kept = {
                key if wraps else key.removeprefix("text_model."): value
                for key, value in converted.items()
                if not key.endswith("position_ids")
            }
            if not projects:
                kept.pop("text_projection.weight", None)
            elif prefix == TEXT_PREFIXES["sd3"][0]:
                # SD3 reads what CLIP says as it is, also where a file brings CLIP's projection.
                width = config["hidden_size"]
                kept["text_projection.weight"] = torch.eye(width, dtype=self._dtype)
            return kept

        layers = config["num_hidden_layers"]
        return fill_network(network, self._read(header, place, layers), names_of_ours, header)

    def _place(self, prefix: str) -> tuple[WeightsHeader, str]:
        """The file that holds what is named by ``prefix``, and the prefix that it has there."""
        return self.header, prefix

    def _read(
        self, header: WeightsHeader, prefix: str, layers: int = 1000
    ) -> dict[str, torch.Tensor]:
        keys = [key for key in header.shapes if key.startswith(prefix)]
        block = re.compile(r"resblocks\.(\d+)\.")
        wanted = [key for key in keys if not (m := block.search(key)) or int(m.group(1)) < layers]
        return read_weights(header, {key: key for key in wanted}, self._dtype, self._count)

    def _count(self, read_bytes: int) -> None:
        self._read_bytes += read_bytes
        self._note(min(1.0, self._read_bytes / self._total_bytes))

    def _predicts_v(self) -> bool:
        if self.found.form == "v":
            return True
        beside = self.header.path.with_suffix(".yaml")
        if beside.is_file():
            # The web UIs' way to say it: the training configuration beside the checkpoint.
            text = beside.read_text(encoding="utf-8", errors="replace")
            return re.search(r"parameterization:\s*[\"']?v", text) is not None
        if self.found.family != "sd2" or _V_MARK not in self.header.shapes:
            return False
        _, bias = next(iterate_weights(self.header, [_V_MARK]))
        return float(bias.float().std()) > _V_SPREAD


def _is_open_clip(prefix: str) -> bool:
    """Whether the encoder there is OpenCLIP's, and not OpenAI's own."""
    return not prefix.endswith("transformer.") or prefix == TEXT_PREFIXES["sd3"][1]


def read_vae_file(
    header: WeightsHeader, family: str, prefix: str, dtype: torch.dtype
) -> AutoencoderKL:
    """An autoencoder below ``prefix``, in the original layout or under diffusers' names."""
    config = vae_config(header, family, prefix)
    with init_empty_weights():
        network: Any = AutoencoderKL(**config)
    keys = [key for key in header.shapes if key.startswith(prefix)]
    # The training loss's own networks are in some files, too.
    names = {key: key for key in keys if not key.removeprefix(prefix).startswith("loss.")}
    weights = read_weights(header, names, dtype)

    def names_of_ours(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if any(".down_blocks." in key for key in weights):
            return {_newer_name(key): value for key, value in weights.items()}
        return convert_ldm_vae_checkpoint(weights, config)

    return fill_network(network, weights, names_of_ours, header)


def _newer_name(key: str) -> str:
    """diffusers renamed the parts of its attention; the released files have the older names."""
    head, mark, rest = key.partition(".mid_block.attentions.0.")
    part, dot, ending = rest.partition(".")
    newer = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    return head + mark + newer.get(part, part) + dot + ending


def fill_network(
    network: Any,
    weights: dict[str, torch.Tensor],
    convert: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    header: WeightsHeader,
) -> Any:
    """The network with the weights as its own; every one of them must be there and fit."""
    converted = convert(weights)
    weights.clear()
    wanted = network.state_dict()
    for key, target in wanted.items():
        given = converted.get(key)
        if given is None:
            raise ModelCorrupt(
                f"{header.path.name} is incomplete: {key} is missing.",
                "Copy or download it again, whole.",
            )
        if given.shape != target.shape:
            if given.numel() != target.numel():
                raise ModelCorrupt(
                    f"{header.path.name} does not fit its own layout: {key} is "
                    f"{tuple(given.shape)}, not {tuple(target.shape)}.",
                    "Copy or download it again, or choose another model.",
                )
            # A 1 x 1 convolution where a linear layer stands, or the other way round.
            converted[key] = given.reshape(target.shape)
    network.load_state_dict({key: converted[key] for key in wanted}, assign=True)
    return network
