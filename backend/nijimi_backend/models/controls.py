"""A model and a kind of control enter; the network that steers the one by the other leaves.

Networks lie in the model's own folder ``controlnet`` or anywhere in the library, as diffusers
folders or as single .safetensors files. What model one fits is read from its shapes; its kind is
in no weight, so it is told by its configuration (``control_kind``) or by its name.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import ControlNetModel, T2IAdapter
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import ModelCorrupt, ModelMissing, OutOfMemory
from .catalog import ModelInfo, default_models_dir
from .device import Device, is_out_of_memory
from .headers import first_line, read_header
from .library import Library
from .recognise import FileKind, text_width_family
from .weight_files import own_memory

__all__ = [
    "ControlInfo",
    "ControlNetwork",
    "controls_state",
    "find_control",
    "list_controls",
    "load_control",
]

log = logging.getLogger(__name__)

ControlNetwork = ControlNetModel | T2IAdapter

_WORDS = {
    "pose": ("openpose", "pose"),
    "scribble": ("scribble", "sketch"),
    "lineart": ("lineart",),
    "softedge": ("softedge", "hed"),
    "canny": ("canny",),
    "mlsd": ("mlsd",),
    "depth": ("depth",),
    "normal": ("normal", "normalbae"),
    "seg": ("seg", "segmentation"),
    "tile": ("tile",),
    "blur": ("blur",),
    "inpaint": ("inpaint",),
}
"""Words in a network's name, by kind, as the published ones are called."""

_SHAPES: dict[str, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768},
    "sd2": {
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
}
"""What differs from diffusers' defaults, for single files, which carry no configuration."""


@dataclass(frozen=True, kw_only=True)
class ControlInfo:
    """One network on disk; ``path`` is a folder or a file. ``width``: that of the text it reads,
    0 for an adapter, which reads none. ``channels``: of each level, () where not known."""

    name: str
    kind: str
    path: Path
    is_adapter: bool
    width: int
    channels: tuple[int, ...] = ()

    @property
    def family(self) -> str:
        return text_width_family(self.width) or "another family"

    def fits(self, unet: Any) -> bool:
        """Whether it was made for a UNet of that text width, those channels and that order."""
        config = unet.config
        if self.channels and self.channels != tuple(config["block_out_channels"]):
            return False
        if self.is_adapter:
            # Where the first level has no attention, it halves before features are added.
            return str(config["down_block_types"][0]).startswith("CrossAttn")
        return self.width == int(config["cross_attention_dim"])


def list_controls(model: ModelInfo, library: Library | None = None) -> tuple[ControlInfo, ...]:
    """Every control network, the model's own first. What cannot be read is left out, and logged."""
    own = model.path / "controlnet"
    found = list(map(_describe, sorted(own.iterdir()))) if own.is_dir() else []
    if library is not None:
        found += map(_describe, library.part_folders())
        found += [
            _describe_file(file.path)
            for file in library.files()
            if file.found.kind is FileKind.CONTROLNET and not file.trouble
        ]
    return tuple(info for info in found if info is not None)


def controls_state(model: ModelInfo, library: Library | None = None) -> tuple[int, int]:
    """Changes when a network is put into a folder or taken out of it; costs a stat a folder."""
    try:
        own = (model.path / "controlnet").stat().st_mtime_ns
    except OSError:
        own = 0
    return own, library.version if library is not None else 0


def find_control(
    kind: str, model: ModelInfo, unet: Any, library: Library | None = None
) -> ControlInfo:
    """The first network of that kind that fits. Raises ``ModelMissing`` with what there is."""
    of_kind = [info for info in list_controls(model, library) if info.kind == kind]
    for info in of_kind:
        if info.fits(unet):
            return info
    root = library.roots[0] if library is not None and library.roots else default_models_dir()
    folder = root / "controlnet"
    if of_kind:
        raise ModelMissing(
            f"The {kind} control {of_kind[0].name} is for {of_kind[0].family}, not for the model "
            f"{model.title}.",
            f"Put one that fits into {folder}, or choose another model.",
        )
    raise ModelMissing(
        f"There is no {kind} control for the model {model.title}.",
        f"Put one into {folder}, or switch this control off.",
    )


def load_control(info: ControlInfo, device: Device) -> ControlNetwork:
    """Load from disk, safetensors only. Raises ``ModelCorrupt`` or ``OutOfMemory``."""
    try:
        read = _from_folder if info.path.is_dir() else _from_file
        network: Any = read(info, device.dtype)
        if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
            raise ValueError("it holds numbers that are not finite")
        own_memory(network)
        network.requires_grad_(False)
        network.eval()
        network.to(device.torch_device)
        network.to(memory_format=torch.channels_last)
    except (RuntimeError, MemoryError, OSError, ValueError, KeyError, SafetensorError) as error:
        log.warning("loading %s failed", info.path, exc_info=True)
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"The {info.kind} control {info.name} does not fit into memory.",
                "Close other programs, or switch it off.",
            ) from error
        raise ModelCorrupt(
            f"The {info.kind} control {info.name} cannot be read ({first_line(error)}).",
            "Copy or download it again, or switch it off.",
        ) from error
    return network


def _from_folder(info: ControlInfo, dtype: torch.dtype) -> ControlNetwork:
    options: dict[str, Any] = {
        "local_files_only": True, "use_safetensors": True, "low_cpu_mem_usage": False,
        "torch_dtype": dtype,
    }  # fmt: skip
    if info.is_adapter:
        return T2IAdapter.from_pretrained(info.path, **options)
    return ControlNetModel.from_pretrained(info.path, **options)


def _from_file(info: ControlInfo, dtype: torch.dtype) -> ControlNetwork:
    if info.family not in _SHAPES:
        raise ValueError(f"single files for {info.family} are not read yet")
    network = ControlNetModel(**_SHAPES[info.family])
    weights = convert_controlnet_checkpoint(load_file(info.path), dict(network.config))
    # Assigned, not copied: the weights made above are never held twice.
    network.load_state_dict({key: v.to(dtype) for key, v in weights.items()}, assign=True)
    return network


def _describe(path: Path) -> ControlInfo | None:
    if (path / "config.json").is_file():
        return _describe_folder(path)
    if path.suffix == ".safetensors":
        return _describe_file(path)
    return None


def _describe_folder(path: Path) -> ControlInfo | None:
    try:
        config = cast("dict[str, Any]", json.loads((path / "config.json").read_text("utf-8")))
        is_adapter = config.get("_class_name") == "T2IAdapter"
        channels = config["channels" if is_adapter else "block_out_channels"]
        kind = str(config.get("control_kind") or _kind_of(path.name))
        width = 0 if is_adapter else int(config["cross_attention_dim"])
        channels = tuple(int(value) for value in channels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        log.warning("%s is no control network", path)
        return None
    return ControlInfo(
        name=path.name, kind=kind, path=path, is_adapter=is_adapter, width=width, channels=channels
    )


def _describe_file(path: Path) -> ControlInfo | None:
    try:
        shapes = read_header(path).shapes
    except ModelCorrupt as error:
        log.warning("%s", error)
        return None
    reads = (shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight"))
    width = next(reads, 0)
    return ControlInfo(
        name=path.stem, kind=_kind_of(path.stem), path=path, is_adapter=False, width=width
    )


def _kind_of(name: str) -> str:
    """The kind by the last word of a name that says one: sd15_canny, v11p_sd15_openpose."""
    words = re.split(r"[^a-z]+", name.lower())
    for word in reversed(words):
        for kind, known in _WORDS.items():
            if word in known:
                return kind
    return ""
