"""A library and a model enter; the tiny autoencoder that live frames are decoded with leaves.

TAESD (its model card: a distilled autoencoder for the same latents) decodes some fifty times
quicker than the full one. Nothing in such a file says for which family it is: "xl" in its name
means SDXL's.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderTiny

from ..errors import ModelCorrupt, NijimiError
from .bundle import Autoencoder
from .catalog import ModelInfo
from .device import Device
from .headers import read_header
from .library import Library
from .recognise import FileKind
from .weight_files import read_weights

__all__ = ["can_encode", "find_tiny_vae", "load_tiny_vae"]

log = logging.getLogger(__name__)


def find_tiny_vae(info: ModelInfo, library: Library | None) -> Path | None:
    """A file or folder of the model's family; None where there is none or none is needed."""
    if library is None or info.family not in ("sd1", "sd2", "sdxl"):
        return None
    found = [file.path for file in library.files() if file.found.kind is FileKind.TAESD]
    found += [path for path in library.part_folders() if _is_tiny(path)]
    for path in found:
        if ("xl" in path.name.lower()) == (info.family == "sdxl"):
            return path
    return None


def load_tiny_vae(path: Path, device: Device) -> AutoencoderTiny | None:
    """None where it cannot be read, with a word in the log: the full one does as well."""
    try:
        network: Any = _from_folder(path) if path.is_dir() else _from_file(path)
    except (NijimiError, OSError, ValueError, RuntimeError, KeyError):
        log.warning("the tiny autoencoder %s cannot be used", path, exc_info=True)
        return None
    network.requires_grad_(False)
    network.eval()
    network.to(device.torch_device, device.dtype)
    network.to(memory_format=torch.channels_last)
    return network


def can_encode(vae: Autoencoder) -> bool:
    """Whether it is more than a decoder."""
    return getattr(vae, "encoder", None) is not None


def _is_tiny(path: Path) -> bool:
    try:
        config: object = json.loads((path / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "encoder_block_out_channels" in config


def _from_folder(path: Path) -> AutoencoderTiny:
    return AutoencoderTiny.from_pretrained(
        path, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
    )


def _from_file(path: Path) -> AutoencoderTiny:
    """diffusers' names, or the original's, which publishes decoder and encoder apart.

    Without an encoder in the file or beside it the network has none: see ``can_encode``.
    """
    header = read_header(path)
    with init_empty_weights():
        network: Any = AutoencoderTiny()
    inside = [name for name in header.shapes if "encoder." in name]
    # The original counts its decoder's first clamp as a layer, diffusers does not.
    names = _renamed((name for name in header.shapes if name not in inside), "decoder", 1)
    beside = path.with_name(path.name.replace("decoder", "encoder"))
    if not names:
        weights = read_weights(header, {key: key for key in header.shapes}, torch.float32)
    else:
        weights = read_weights(header, names | _renamed(inside, "encoder", 0), torch.float32)
        if not inside and beside != path and beside.is_file():
            other = read_header(beside)
            weights |= read_weights(other, _renamed(other.shapes, "encoder", 0), torch.float32)
        elif not inside:
            network.encoder = None
    missing, _ = network.load_state_dict(weights, strict=False, assign=True)
    if missing:
        raise ModelCorrupt(f"{path.name} is no whole autoencoder ({missing[0]} is missing).")
    return network


def _renamed(names: Iterable[str], part: str, first: int) -> dict[str, str]:
    """From the original files' names to ours; {} where they are diffusers' already."""
    pattern = re.compile(rf"(?:(?:taesd_)?{part}\.)?(\d+)\.(.+)")
    found = [(name, match) for name in names if (match := pattern.fullmatch(name))]
    return {name: f"{part}.layers.{int(match[1]) - first}.{match[2]}" for name, match in found}
