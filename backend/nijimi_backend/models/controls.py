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
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter
from safetensors import SafetensorError

from ..errors import ModelCorrupt, ModelMissing, OutOfMemory
from .catalog import ModelInfo
from .control_files import (
    ControlNetwork,
    adapter_config,
    adapter_from_file,
    controlnet_from_file,
)
from .device import Device, is_out_of_memory
from .headers import first_line, read_header
from .library import Library, own_folder
from .recognise import FileKind, recognise, text_width_family
from .weight_files import own_memory

__all__ = [
    "UNION_KINDS",
    "ControlInfo",
    "ControlNetwork",
    "controls_state",
    "find_control",
    "list_controls",
    "load_control",
]

log = logging.getLogger(__name__)

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

UNION_KINDS: tuple[tuple[str, ...], ...] = (
    ("pose",),
    ("depth",),
    ("softedge", "scribble"),
    ("canny", "lineart", "mlsd"),
    ("normal",),
    ("seg",),
    ("tile", "blur"),
    ("inpaint",),
)
"""What the tasks of a union network are, in its order (ControlNet++ for SDXL, its README; the
first form has six of them)."""


@dataclass(frozen=True, kw_only=True)
class ControlInfo:
    """One network on disk; ``path`` is a folder or a file. ``width``: that of the text it reads,
    0 for an adapter, which reads none. ``channels``: of each level, () where not known.
    ``adapter``: diffusers' word for a T2I-Adapter's form, "" for a ControlNet. ``kinds``: a union
    network serves many."""

    name: str
    kinds: tuple[str, ...]
    path: Path
    adapter: str
    width: int
    channels: tuple[int, ...] = ()

    @property
    def family(self) -> str:
        return text_width_family(self.width) or "another family"

    def fits(self, unet: Any) -> bool:
        """Whether it was made for a UNet of that text width, those channels and that order."""
        config = unet.config
        levels = tuple(config["block_out_channels"])
        if self.channels and self.channels[: len(levels)] != levels:
            return False
        if self.adapter:
            # Where the first level has no attention (SDXL), it halves before features are added.
            is_xl = not str(config["down_block_types"][0]).startswith("CrossAttn")
            return is_xl == (self.adapter == "full_adapter_xl")
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
            if file.found.kind in (FileKind.CONTROLNET, FileKind.T2I_ADAPTER) and not file.trouble
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
    of_kind = [info for info in list_controls(model, library) if kind in info.kinds]
    # One that was made for this alone does it better than one for all.
    of_kind.sort(key=lambda info: len(info.kinds))
    for info in of_kind:
        if info.fits(unet):
            return info
    folder = own_folder(library) / "controlnet"
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


def load_control(info: ControlInfo, unet: Any, device: Device) -> ControlNetwork:
    """Load from disk, safetensors only, what is to steer ``unet``. Raises ``ModelCorrupt`` or
    ``OutOfMemory``."""
    try:
        network: Any = _read(info, unet, device.dtype)
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
                f"The control {info.name} does not fit into memory.",
                "Close other programs, or switch it off.",
            ) from error
        raise ModelCorrupt(
            f"The control {info.name} cannot be read ({first_line(error)}).",
            "Copy or download it again, or switch it off.",
        ) from error
    return network


def _read(info: ControlInfo, unet: Any, dtype: torch.dtype) -> ControlNetwork:
    if not info.path.is_dir():
        if info.adapter:
            return adapter_from_file(info.path, dtype)
        return controlnet_from_file(info.path, unet, dtype)
    kind: Any = ControlNetModel
    if info.adapter:
        kind = T2IAdapter
    elif len(info.kinds) > 1:
        kind = ControlNetUnionModel
    return kind.from_pretrained(
        info.path, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False,
        torch_dtype=dtype,
    )  # fmt: skip


def _describe(path: Path) -> ControlInfo | None:
    if (path / "config.json").is_file():
        return _describe_folder(path)
    if path.suffix == ".safetensors":
        return _describe_file(path)
    return None


def _describe_folder(path: Path) -> ControlInfo | None:
    try:
        config = cast("dict[str, Any]", json.loads((path / "config.json").read_text("utf-8")))
        adapter = ""
        if config.get("_class_name") == "T2IAdapter":
            adapter = str(config.get("adapter_type", "full_adapter"))
        channels = config["channels" if adapter else "block_out_channels"]
        kinds = (str(config.get("control_kind") or _kind_of(path.name)),)
        if config.get("_class_name") == "ControlNetUnionModel":
            kinds = _union_kinds(int(config["num_control_type"]))
        width = 0 if adapter else int(config["cross_attention_dim"])
        channels = tuple(int(value) for value in channels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        log.warning("%s is no control network", path)
        return None
    return ControlInfo(
        name=path.name, kinds=kinds, path=path, adapter=adapter, width=width,
        channels=channels,
    )  # fmt: skip


def _describe_file(path: Path) -> ControlInfo | None:
    try:
        header = read_header(path)
    except ModelCorrupt as error:
        log.warning("%s", error)
        return None
    shapes = header.shapes
    kinds = (_kind_of(path.stem),)
    if tasks := shapes.get("task_embedding"):
        kinds = _union_kinds(tasks[0])
    adapter, channels = "", ()
    if recognise(header).kind is FileKind.T2I_ADAPTER:
        try:
            config = adapter_config(shapes)
        except (KeyError, ValueError) as error:
            log.warning("%s cannot be used: %s", path, error)
            return None
        adapter, channels = config["adapter_type"], tuple(config["channels"])
    reads = (shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight"))
    return ControlInfo(
        name=path.stem, kinds=kinds, path=path, adapter=adapter, width=next(reads, 0),
        channels=channels,
    )  # fmt: skip


def _union_kinds(tasks: int) -> tuple[str, ...]:
    return tuple(kind for kinds in UNION_KINDS[:tasks] for kind in kinds)


def _kind_of(name: str) -> str:
    """The kind by the last word of a name that says one: sd15_canny, v11p_sd15_openpose."""
    words = re.split(r"[^a-z]+", name.lower())
    for word in reversed(words):
        for kind, known in _WORDS.items():
            if word in known:
                return kind
    return ""
