"""A ModelInfo and a Device enter; a ModelBundle of networks ready to run leaves. No network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import ModelCorrupt, OutOfMemory
from .bundle import ModelBundle
from .catalog import FLOW_FAMILIES, ModelInfo
from .device import Device, is_out_of_memory
from .enlarging import lay_out
from .folders import FlowFolder, Folder
from .headers import first_line
from .placement import Placement
from .sd3_files import SD3Files
from .single_file import SingleFile
from .weight_files import own_memory
from .zimage_files import ZImageFiles

__all__ = ["LoadProgress", "ModelBundle", "load_model"]

log = logging.getLogger(__name__)

LoadProgress = Callable[[str, int, int], None]
"""What is read now, and how far all of it is: so much, of so much. Called between two tensors where
a file is read, on the thread that loads: it may take its time there."""

_WHOLE = 100


def load_model(
    info: ModelInfo, device: Device, progress: LoadProgress = lambda *_: None
) -> ModelBundle:
    """Load from disk, safetensors only. Raises ``ModelCorrupt`` or ``OutOfMemory``."""
    if info.family == "sdxl-refiner":
        raise ModelCorrupt(
            f"The model {info.name} is SDXL's refiner, which only finishes other models' pictures.",
            "Choose an SDXL base model.",
        )
    if missing := info.missing_files():
        raise ModelCorrupt(
            f"The model {info.name} is incomplete: {', '.join(missing)} is missing.",
            "Put it anywhere into the models folder."
            if info.is_file
            else "Copy its folder again, whole.",
        )
    try:
        return _load(info, device, progress)
    except (OSError, ValueError, KeyError, SafetensorError, EOFError) as error:
        log.warning("loading %s failed", info.path, exc_info=True)
        raise ModelCorrupt(
            f"The model {info.name} cannot be read: its files are damaged ({first_line(error)}).",
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
            f"The model {info.name} does not match its own description ({first_line(error)}).",
            "Copy or download it again, or choose another model.",
        ) from error


def _too_large(info: ModelInfo) -> OutOfMemory:
    return OutOfMemory(
        f"The model {info.name} does not fit into memory.",
        "Close other programs or choose a smaller model.",
    )


def _load(info: ModelInfo, device: Device, progress: LoadProgress) -> ModelBundle:
    source: Folder | SingleFile | ZImageFiles
    # Autoencoders are not packed: theirs is what the device computes quickest.
    vae_dtype, device = device.dtype, device.for_weights(info.size_bytes)
    label = "text encoder"

    def note(part: float) -> None:
        progress(label, round(0.9 * _WHOLE * part), _WHOLE)

    if info.is_file and info.family == "zimage":
        source = ZImageFiles(info.path, dict(info.beside), device.dtype)
    elif info.is_file and info.family == "sd3":
        source = SD3Files(info.path, dict(info.beside), device.dtype, note)
    elif info.is_file:
        source = SingleFile(info.path, device.dtype, note)
    else:
        kind = FlowFolder if info.family in FLOW_FAMILIES else Folder
        source = kind(info, device.dtype)
    progress(label, 0, _WHOLE)
    towers = source.towers()
    label = "UNet"
    if not info.is_file:
        note(0.2)
    unet = source.unet()
    label = "autoencoder"
    note(0.95)
    vae: Any = source.vae()
    if device.dtype != vae_dtype:
        vae.to(vae_dtype)
    lora = info.path / "lcm_lora" / "pytorch_lora_weights.safetensors"
    if lora.is_file() and isinstance(unet, UNet2DConditionModel):
        fuse_lora(unet, lora)
    progress("moving to the device", 95, _WHOLE)
    channels = vae.config.get("encoder_block_out_channels") or vae.config["block_out_channels"]
    networks = (*(tower.encoder for tower in towers), unet, vae)
    weights_bytes = sum(p.nbytes for network in networks for p in network.parameters())
    bundle = ModelBundle(
        info=info,
        device=device,
        towers=towers,
        unet=unet,
        vae=vae,
        scheduler_config=source.scheduler(),
        latent_scale=2 ** (len(channels) - 1),
        placement=Placement.for_model(device, weights_bytes, info.title),
    )
    _settle(bundle)
    progress("ready", _WHOLE, _WHOLE)
    return bundle


def _settle(bundle: ModelBundle) -> None:
    """Check every network, and move it to where and how it will run."""
    device = bundle.device
    for part, made in bundle.networks.items():
        network: Any = made
        if not bundle.info.is_file:
            # A single file's numbers were checked as they were read.
            _check_weights(network, bundle.info, part)
            own_memory(network)
        network.requires_grad_(False)
        network.eval()
        if part == "unet":
            network.to(memory_format=torch.channels_last)
        elif part == "vae":
            lay_out(network, on_gpu=device.is_cuda)
    if bundle.info.family == "sdxl" and device.dtype == torch.float16:
        # SDXL's own autoencoder overflows in fp16 (its model card says so).
        vae: Any = bundle.vae
        vae.to(torch.float32)
    bundle.placement.settle(bundle.networks, bundle.latent_scale)


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
