"""A ModelInfo and a Device enter; a ModelBundle of networks ready to run leaves. No network."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ..errors import ModelCorrupt, OutOfMemory
from .bundle import Autoencoder, ModelBundle, TextTower, special_token
from .catalog import ModelInfo
from .device import Device, is_out_of_memory
from .headers import first_line
from .single_file import SingleFile
from .weight_files import own_memory

__all__ = ["LoadProgress", "ModelBundle", "load_model"]

log = logging.getLogger(__name__)

LoadProgress = Callable[[str, int, int], None]

_PARTS = 5


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
            "Copy its folder again, whole.",
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
    source: _Folder | SingleFile
    source = SingleFile(info.path, device.dtype) if info.is_file else _Folder(info, device.dtype)
    progress("text encoder", 0, _PARTS)
    towers = source.towers()
    progress("UNet", 1, _PARTS)
    unet = source.unet()
    progress("autoencoder", 2, _PARTS)
    vae = source.vae()
    progress("LCM-LoRA", 3, _PARTS)
    lora = info.path / "lcm_lora" / "pytorch_lora_weights.safetensors"
    if lora.is_file():
        fuse_lora(unet, lora)
    progress("moving to the device", 4, _PARTS)
    channels = vae.config.get("encoder_block_out_channels") or vae.config["block_out_channels"]
    bundle = ModelBundle(
        info=info,
        device=device,
        towers=towers,
        unet=unet,
        vae=vae,
        scheduler_config=source.scheduler(),
        latent_scale=2 ** (len(channels) - 1),
    )
    _settle(bundle)
    progress("ready", _PARTS, _PARTS)
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
        network.to(device.torch_device)
        if part in ("unet", "vae"):
            network.to(memory_format=torch.channels_last)
    if bundle.info.family == "sdxl" and device.dtype == torch.float16:
        # SDXL's own autoencoder overflows in fp16 (its model card says so).
        vae: Any = bundle.vae
        vae.to(torch.float32)


class _Folder:
    """One model folder in diffusers' layout; each part is read when it is asked for."""

    def __init__(self, info: ModelInfo, dtype: torch.dtype) -> None:
        self._path, self._dtype = info.path, dtype
        self._options: dict[str, Any] = {
            "torch_dtype": dtype,
            "local_files_only": True,
            "use_safetensors": True,
            # The detour over empty networks costs a small model more than it saves.
            "low_cpu_mem_usage": info.family != "mini",
        }

    def towers(self) -> tuple[TextTower, ...]:
        is_xl = (self._path / "text_encoder_2").is_dir()
        first = self._tower("te1" if is_xl else "te", "", CLIPTextModel, is_xl=is_xl)
        if not is_xl:
            return (first,)
        return first, self._tower("te2", "_2", CLIPTextModelWithProjection, is_xl=True)

    def _tower(self, name: str, ending: str, kind: Any, *, is_xl: bool) -> TextTower:
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(
            self._path / f"tokenizer{ending}", local_files_only=True
        )
        path = self._path / f"text_encoder{ending}"
        encoder = kind.from_pretrained(
            path, dtype=self._dtype, local_files_only=True, use_safetensors=True, **_variant(path)
        )
        return TextTower(
            name=name,
            tokenizer=tokenizer,
            encoder=encoder,
            pad_token_id=special_token(tokenizer, "pad"),
            clip_skip=2 if is_xl else 1,
            normed=not is_xl,
        )

    def unet(self) -> UNet2DConditionModel:
        path = self._path / "unet"
        return UNet2DConditionModel.from_pretrained(path, **self._options, **_variant(path))

    def vae(self) -> Autoencoder:
        path = self._path / "vae"
        tiny = "encoder_block_out_channels" in (path / "config.json").read_text("utf-8")
        kind = AutoencoderTiny if tiny else AutoencoderKL
        return kind.from_pretrained(path, **self._options, **_variant(path))

    def scheduler(self) -> dict[str, Any]:
        text = (self._path / "scheduler" / "scheduler_config.json").read_text("utf-8")
        value: object = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("scheduler_config.json holds no settings")
        return {str(key): each for key, each in value.items()}


def _variant(path: Path) -> dict[str, str]:
    """Many published folders hold their weights only as ``….fp16.safetensors``."""
    names = [file.name for file in path.glob("*.safetensors")]
    return {"variant": "fp16"} if names and all(".fp16" in name for name in names) else {}


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
