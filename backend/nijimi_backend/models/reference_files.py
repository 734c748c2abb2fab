"""A library and a UNet enter; the IP-Adapter that fits it and its image encoder leave.

IP-Adapter: Ye et al., arXiv 2308.06721. Files are known by their tensors. What the weights cannot
show, whether an adapter was made for faces, its name does.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ..errors import ModelCorrupt, ModelMissing
from .architecture import count_parts
from .device import Device
from .headers import WeightsHeader, read_header
from .library import Library, own_folder
from .recognise import FileKind
from .weight_files import read_weights

__all__ = [
    "REFERENCE_KINDS",
    "AdapterFile",
    "ImageEncoder",
    "find_adapter",
    "find_image_encoder",
    "load_image_encoder",
    "read_adapter",
]

log = logging.getLogger(__name__)

REFERENCE_KINDS = ("reference", "style", "face")

_HEADS = 16
"""Of every released image encoder (ViT-L, H, bigG), whatever its width."""


@dataclass(frozen=True, kw_only=True)
class AdapterFile:
    """``width``: of the text that the UNet reads. ``reads``: of what the encoder must give, its
    projection or, with ``of_patches``, its last hidden layer but one. ``date_ns``: a file that is
    replaced is another one."""

    name: str
    path: Path
    date_ns: int
    width: int
    reads: int
    of_patches: bool

    @property
    def is_for_faces(self) -> bool:
        return "face" in re.split(r"[^a-z]+", self.name.lower())


@dataclass(frozen=True, kw_only=True)
class ImageEncoder:
    """``network`` takes pictures of ``side_px``."""

    network: Any
    side_px: int


def find_adapter(kind: str, unet: Any, title: str, library: Library | None) -> AdapterFile:
    """The first file for that kind that fits. Raises ``ModelMissing`` with what there is."""
    width = int(unet.config["cross_attention_dim"])
    found = list(_adapters(library))
    of_kind = [each for each in found if each.is_for_faces == (kind == "face")]
    for each in of_kind:
        if each.width == width:
            return each
    folder = own_folder(library) / "ipadapter"
    word = "IP-Adapter for faces" if kind == "face" else "IP-Adapter"
    if of_kind:
        raise ModelMissing(
            f"The {word} {of_kind[0].name} is for another family than the model {title}.",
            f"Put one that fits into {folder}, or choose another model.",
        )
    raise ModelMissing(
        f"There is no {word} for the model {title}.",
        f"Put one into {folder}, or switch this control off.",
    )


def _adapters(library: Library | None) -> list[AdapterFile]:
    described: list[AdapterFile] = []
    for file in library.files() if library is not None else ():
        if file.found.kind is not FileKind.IP_ADAPTER or file.trouble:
            continue
        try:
            described.append(_describe(read_header(file.path)))
        except (ModelCorrupt, OSError, KeyError, ValueError) as error:
            log.warning("%s cannot be used: %s", file.path, error)
    return described


def _describe(header: WeightsHeader) -> AdapterFile:
    """Raises ``KeyError`` or ``ValueError`` for forms that are not read."""
    shapes = header.with_prefix("image_proj.")
    width = next(shape[1] for key, shape in header.shapes.items()
                 if key.endswith("to_k_ip.weight"))  # fmt: skip
    if "perceiver_resampler.proj_in.weight" in shapes or any(
        "to_q_lora" in key for key in header.shapes
    ):
        raise ValueError("it is a FaceID adapter, which needs a face recogniser")
    if "proj.weight" in shapes:
        reads, of_patches = shapes["proj.weight"][1], False
    elif "proj.3.weight" in shapes:
        reads, of_patches = shapes["proj.0.weight"][1], True
    else:
        reads, of_patches = shapes["proj_in.weight"][1], True
    return AdapterFile(
        name=header.path.stem, path=header.path, date_ns=header.path.stat().st_mtime_ns,
        width=width, reads=reads, of_patches=of_patches,
    )  # fmt: skip


def read_adapter(file: AdapterFile, dtype: torch.dtype) -> dict[str, dict[str, torch.Tensor]]:
    """Its tensors by part, as diffusers' loader takes them. Raises ``ModelCorrupt``."""
    header = read_header(file.path)
    weights = read_weights(header, {key: key for key in header.shapes}, dtype)
    parts: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in weights.items():
        part, _, rest = key.partition(".")
        if part in parts:
            parts[part][rest] = value
    return parts


def find_image_encoder(file: AdapterFile, library: Library) -> Path:
    """The first encoder that gives what this adapter reads. Raises ``ModelMissing``."""
    for each in library.files():
        if each.found.kind is not FileKind.IMAGE_ENCODER or each.trouble:
            continue
        try:
            config = _vision_config(read_header(each.path))
        except KeyError:
            continue
        gives = config["hidden_size"] if file.of_patches else config["projection_dim"]
        if gives == file.reads:
            return each.path
    raise ModelMissing(
        f"The IP-Adapter {file.name} needs an image encoder of width {file.reads}.",
        f"Put it (for most: CLIP ViT-H) into {own_folder(library) / 'clip_vision'}.",
    )


def _vision_config(header: WeightsHeader) -> dict[str, Any]:
    """Arguments of ``CLIPVisionConfig``, from the shapes. Raises ``KeyError``."""
    shapes = header.shapes
    body = "vision_model."
    width, _, _, patch_px = shapes[body + "embeddings.patch_embedding.weight"]
    places = shapes[body + "embeddings.position_embedding.weight"][0]
    return {
        "hidden_size": width,
        "intermediate_size": shapes[body + "encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": count_parts(shapes, body + "encoder.layers"),
        "num_attention_heads": _HEADS,
        "projection_dim": shapes["visual_projection.weight"][0],
        "image_size": round((places - 1) ** 0.5) * patch_px,
        "patch_size": patch_px,
        # OpenAI's own (ViT-L) was trained with the quick form, OpenCLIP's larger ones were not.
        "hidden_act": "quick_gelu" if width == 1024 else "gelu",
    }


def load_image_encoder(path: Path, device: Device) -> ImageEncoder:
    """What ``find_image_encoder`` found. Raises ``ModelCorrupt``."""
    header = read_header(path)
    config = _vision_config(header)
    side_px, patch_px = int(config["image_size"]), int(config["patch_size"])
    with init_empty_weights():
        network: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
    names = {key: key for key in header.shapes if not key.endswith("position_ids")}
    weights = read_weights(header, names, device.dtype)
    missing, _ = network.load_state_dict(weights, strict=False, assign=True)
    if missing:
        raise ModelCorrupt(
            f"The image encoder {header.path.name} is incomplete ({missing[0]} is missing).",
            "Copy or download it again, whole.",
        )
    # The one table that is no weight: which place is which.
    places = torch.arange((side_px // patch_px) ** 2 + 1)[None]
    network.vision_model.embeddings.register_buffer("position_ids", places, persistent=False)
    network.requires_grad_(False)
    network.eval()
    network.to(device.torch_device)
    return ImageEncoder(network=network, side_px=side_px)
