"""A model's folder or file enters; what it is called, made for and made of leaves."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from nijimi_protocol.geometry import Extent

from .recognise import Recognised, text_width_family

__all__ = [
    "EMBEDDED_DIR",
    "FLOW_FAMILIES",
    "ModelInfo",
    "data_dir",
    "default_models_dir",
    "describe_file",
    "describe_folder",
]

EMBEDDED_DIR = Path(__file__).resolve().parent.parent / "embedded"

_WORDS = ("vocab.json|tokenizer.json", "merges.txt|tokenizer.json")
"""Newer folders keep a tokenizer in one file; | stands between what will do."""

_PARTS = {
    "tokenizer": _WORDS,
    "text_encoder": ("config.json", "*.safetensors"),
    "unet": ("config.json", "*.safetensors"),
    "vae": ("config.json", "*.safetensors"),
    "scheduler": ("scheduler_config.json",),
}

_SECOND_PARTS = {
    "tokenizer_2": _WORDS,
    "text_encoder_2": ("config.json", "*.safetensors"),
}
"""SDXL's other text encoder."""

_FLOW_PARTS = {
    "transformer": ("config.json", "*.safetensors"),
    "vae": ("config.json", "*.safetensors"),
    "scheduler": ("scheduler_config.json",),
    "tokenizer": ("tokenizer_config.json",),
    "text_encoder": ("config.json", "*.safetensors"),
}

_NATIVE_PX = {
    "sdxl-refiner": 1024, "mini": 256, "sd1": 512, "sd2": 512, "sdxl": 1024,
    "sd3": 1024, "zimage": 1024,
}  # fmt: skip

FLOW_FAMILIES = ("sd3", "zimage")
"""Transformers that were trained by flow matching (Lipman et al., arXiv 2210.02747)."""

_BESIDE = {
    "text_encoder": "its text encoder (Qwen3, 4B, such as qwen_3_4b.safetensors)",
    "vae": "its autoencoder (FLUX's, such as ae.safetensors)",
    "tokenizer": "its tokenizer (the folder of that name from Z-Image's own)",
}
"""What a file of Z-Image's network needs beside it."""

_FLOW_CLASSES = {"SD3Transformer2DModel": "sd3", "ZImageTransformer2DModel": "zimage"}
"""What a folder's transformer says that it is."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One model on disk: a folder in diffusers' layout, or a file in the original one.

    ``native_px`` is the side of the square that the model was trained on. ``size_bytes`` of all
    its weights.
    """

    name: str
    title: str
    family: str
    path: Path
    native_px: int
    embedded: bool = False
    is_file: bool = False
    size_bytes: int = 0
    beside: tuple[tuple[str, Path], ...] = ()
    """Parts that the file does not hold, where they lie in files of their own, by name."""

    @property
    def native_extent(self) -> Extent:
        return Extent(self.native_px, self.native_px)

    def missing_files(self) -> list[str]:
        """Parts that a complete model has and this one lacks."""
        if self.is_file:
            known = dict(self.beside)
            wanted = _BESIDE if self.family == "zimage" else {}
            return [what for part, what in wanted.items() if part not in known]
        parts = _FLOW_PARTS if self.family in FLOW_FAMILIES else _PARTS
        if self.family in ("sdxl", "sd3"):
            parts = {**parts, **_SECOND_PARTS}
        missing = [part for part in parts if not (self.path / part).is_dir()]
        for part, patterns in parts.items():
            if part not in missing:
                missing += [
                    f"{part}/{pattern.partition('|')[0]}"
                    for pattern in patterns
                    if not any(any((self.path / part).glob(each)) for each in pattern.split("|"))
                ]
        return missing


def default_models_dir() -> Path:
    """Where painters put models of their own: NIJIMI_MODELS, or models in the user's data."""
    named = os.environ.get("NIJIMI_MODELS")
    return Path(named) if named else data_dir() / "models"


def data_dir() -> Path:
    """Where this user's programs keep what they made."""
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "nijimi"


def describe_file(
    path: Path, found: Recognised, size_bytes: int, beside: tuple[tuple[str, Path], ...] = ()
) -> ModelInfo:
    """A checkpoint file, whose header said what it is; ``beside``: what it does not hold itself."""
    native = 768 if (found.family, found.form) == ("sd2", "v") else _NATIVE_PX[found.family]
    return ModelInfo(
        name=path.stem,
        title=_title(path.stem),
        family=found.family,
        path=path,
        native_px=native,
        is_file=True,
        size_bytes=size_bytes,
        beside=beside,
    )


def describe_folder(path: Path, *, embedded: bool = False) -> ModelInfo:
    """A folder with a model_index.json; what it lacks shows when it is loaded."""
    unet = _json(path / "unet" / "config.json")
    vae = _json(path / "vae" / "config.json")
    transformer = _json(path / "transformer" / "config.json")
    width = unet.get("cross_attention_dim")
    family = _FLOW_CLASSES.get(str(transformer.get("_class_name")), "")
    family = family or text_width_family(width if isinstance(width, int) else 0) or "mini"
    # Z-Image's names no size: it has no table of places.
    sample = (unet or transformer).get("sample_size")
    channels = vae.get("encoder_block_out_channels") or vae.get("block_out_channels")
    scale = 2 ** (len(cast("list[int]", channels)) - 1) if isinstance(channels, list) else 8
    native = sample * scale if isinstance(sample, int) else _NATIVE_PX[family]
    return ModelInfo(
        name=path.name,
        title=_title(path.name),
        family=family,
        path=path,
        native_px=native,
        embedded=embedded,
        size_bytes=sum(file.stat().st_size for file in path.glob("*/*.safetensors")),
    )


def _title(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")


def _json(path: Path) -> dict[str, Any]:
    """A configuration, or nothing where it cannot be read: the loader says what is wrong."""
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
