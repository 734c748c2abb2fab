"""A ModelInfo and a Device enter; a ModelBundle of networks ready to run leaves. No network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, LCMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from ..errors import ModelCorrupt, OutOfMemory
from .catalog import ModelInfo
from .device import Device, is_out_of_memory

__all__ = ["ModelBundle", "load_model"]

log = logging.getLogger(__name__)

LoadProgress = Callable[[str, int, int], None]

_PARTS = 5


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """The networks of one checkpoint on one device. Its LCM-LoRA, if any, is fused in."""

    info: ModelInfo
    device: Device
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderTiny | AutoencoderKL
    scheduler: LCMScheduler
    latent_scale: int
    """Pixels to a latent cell, per side."""

    @property
    def size_multiple_px(self) -> int:
        """Picture sides must be multiples of this: a cell at the UNet's lowest level."""
        levels = len(self.unet.config["block_out_channels"])
        return self.latent_scale * 2 ** (levels - 1)


def load_model(
    info: ModelInfo, device: Device, progress: LoadProgress = lambda *_: None
) -> ModelBundle:
    """Load from disk, safetensors only. Raises ``ModelCorrupt`` or ``OutOfMemory``."""
    if missing := info.missing_files():
        raise ModelCorrupt(
            f"The model {info.name} is incomplete: {', '.join(missing)} is missing.",
            "Copy its folder again, whole.",
        )
    try:
        return _load(info, device, progress)
    except (OSError, ValueError, KeyError, SafetensorError, EOFError) as error:
        log.warning("loading %s failed", info.path, exc_info=True)
        raise ModelCorrupt(
            f"The model {info.name} cannot be read: its files are damaged ({_first_line(error)}).",
            "Copy or download it again, or choose another model.",
        ) from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large(info) from error
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise _too_large(info) from error
        # torch reports weights of another shape than the configuration so.
        log.warning("loading %s failed", info.path, exc_info=True)
        raise ModelCorrupt(
            f"The model {info.name} does not match its own description ({_first_line(error)}).",
            "Copy or download it again, or choose another model.",
        ) from error


def _too_large(info: ModelInfo) -> OutOfMemory:
    return OutOfMemory(
        f"The model {info.name} does not fit into memory.",
        "Close other programs or choose a smaller model.",
    )


def _load(info: ModelInfo, device: Device, progress: LoadProgress) -> ModelBundle:
    options: dict[str, Any] = {
        "torch_dtype": device.dtype,
        "local_files_only": True,
        "use_safetensors": True,
        # A few megabytes: the meta-device detour would cost more than it saves.
        "low_cpu_mem_usage": False,
    }
    progress("text encoder", 0, _PARTS)
    tokenizer = CLIPTokenizer.from_pretrained(info.path / "tokenizer", local_files_only=True)
    text_encoder = CLIPTextModel.from_pretrained(
        info.path / "text_encoder",
        dtype=device.dtype,
        local_files_only=True,
        use_safetensors=True,
    )
    progress("UNet", 1, _PARTS)
    unet = UNet2DConditionModel.from_pretrained(info.path / "unet", **options)
    progress("autoencoder", 2, _PARTS)
    tiny = "encoder_block_out_channels" in (info.path / "vae" / "config.json").read_text()
    vae_class = AutoencoderTiny if tiny else AutoencoderKL
    vae = vae_class.from_pretrained(info.path / "vae", **options)
    progress("LCM-LoRA", 3, _PARTS)
    lora = info.path / "lcm_lora" / "pytorch_lora_weights.safetensors"
    if lora.is_file():
        fuse_lora(unet, lora)
    scheduler: Any = LCMScheduler.from_pretrained(info.path / "scheduler", local_files_only=True)
    progress("moving to the device", 4, _PARTS)
    networks: tuple[Any, ...] = (text_encoder, unet, vae)
    for network, part in zip(networks, ("text_encoder", "unet", "vae"), strict=True):
        _check_weights(network, info, part)
        network.requires_grad_(False)
        network.eval()
        network.to(device.torch_device)
    for network in networks[1:]:
        network.to(memory_format=torch.channels_last)
    progress("ready", _PARTS, _PARTS)
    channels = vae.config.get("encoder_block_out_channels") or vae.config["block_out_channels"]
    return ModelBundle(
        info=info,
        device=device,
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        unet=unet,
        vae=vae,
        scheduler=scheduler,
        latent_scale=2 ** (len(channels) - 1),
    )


def fuse_lora(unet: UNet2DConditionModel, path: Path, scale: float = 1.0) -> None:
    """Add a LoRA to the weights for good: no cost per step, no way back without a reload."""
    weights = load_file(path)
    prefix: Any = "unet" if any(key.startswith("unet.") for key in weights) else None
    unet.load_lora_adapter(weights, prefix=prefix, adapter_name="lcm")
    unet.fuse_lora(lora_scale=scale, adapter_names=["lcm"])
    unet.unload_lora()


def _check_weights(network: torch.nn.Module, info: ModelInfo, part: str) -> None:
    for parameter in network.parameters():
        if not torch.isfinite(parameter).all():
            raise ModelCorrupt(
                f"The {part} of the model {info.name} holds numbers that are not finite.",
                "Copy or download it again, or choose another model.",
            )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
