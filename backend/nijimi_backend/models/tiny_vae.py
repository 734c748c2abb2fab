"""A library and a model enter; the tiny autoencoder that live frames are decoded with leaves.

TAESD (its model card: a distilled autoencoder for the same latents) decodes some fifty times
quicker than the full one. Nothing but the number of channels says in such a file for which family
it is: "xl" in its name means SDXL's, "f1" or "flux" those of FLUX, which are Z-Image's.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderTiny

from ..errors import ModelCorrupt, NijimiError
from .bundle import Autoencoder
from .catalog import ModelInfo
from .device import Device
from .enlarging import lay_out
from .headers import WeightsHeader, read_header
from .library import Library
from .recognise import FileKind
from .weight_files import read_weights

__all__ = ["can_encode", "find_tiny_vae", "load_tiny_vae"]

log = logging.getLogger(__name__)

_MARKS: dict[str, tuple[int, tuple[str, ...]]] = {
    "sd1": (4, ()),
    "sd2": (4, ()),
    "sdxl": (4, ("xl",)),
    "sd3": (16, ()),
    "zimage": (16, ("f1", "flux")),
}
"""Channels of a family's latents, and words in a name that mark its own among those of as many."""


def find_tiny_vae(info: ModelInfo, library: Library | None) -> Path | None:
    """A file or folder of the model's family; None where there is none or none is needed."""
    if library is None or info.family not in _MARKS:
        return None
    files = [file for file in library.files() if file.found.kind is FileKind.TAESD]
    found = [(file.path, _file_channels(file.path)) for file in files]
    found += [(path, _folder_channels(path)) for path in library.part_folders()]
    channels, marks = _MARKS[info.family]
    others = [mark for count, each in _MARKS.values() if count == channels for mark in each]
    for path, count in found:
        name = path.name.lower()
        marked = any(mark in name for mark in marks or others)
        if count == channels and marked == bool(marks):
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
    lay_out(network, on_gpu=device.is_cuda)
    return network


def can_encode(vae: Autoencoder) -> bool:
    """Whether it is more than a decoder."""
    return getattr(vae, "encoder", None) is not None


def _folder_channels(path: Path) -> int:
    """Of the latents of a tiny autoencoder; 0 for any other folder."""
    try:
        config: object = json.loads((path / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return 0
    if not isinstance(config, dict) or "encoder_block_out_channels" not in config:
        return 0
    made = cast("dict[str, object]", config).get("latent_channels", 4)
    return made if isinstance(made, int) else 0


def _file_channels(path: Path) -> int:
    """What its decoder begins with; 0 where it cannot be read."""
    try:
        return _latent_channels(read_header(path))
    except NijimiError:
        return 0


def _latent_channels(header: WeightsHeader) -> int:
    firsts = (f"{prefix}.weight" for prefix in ("decoder.layers.0", "taesd_decoder.1", "decoder.1",
                                                "1"))  # fmt: skip
    return next((header.shapes[key][1] for key in firsts if key in header.shapes), 0)


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
        network: Any = AutoencoderTiny(latent_channels=_latent_channels(header) or 4)
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
