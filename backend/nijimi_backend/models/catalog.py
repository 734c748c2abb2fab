"""Folders enter; the models found in them leave, known by their files, not by their names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import ModelMissing

__all__ = ["EMBEDDED_DIR", "ModelInfo", "default_models_dir", "find_model", "list_models"]

EMBEDDED_DIR = Path(__file__).resolve().parent.parent / "embedded"

_PARTS = {
    "tokenizer": ("vocab.json", "merges.txt"),
    "text_encoder": ("config.json", "*.safetensors"),
    "unet": ("config.json", "*.safetensors"),
    "vae": ("config.json", "*.safetensors"),
    "scheduler": ("scheduler_config.json",),
}

_NATIVE_PX = {"mini": 256, "sd1": 512, "sd2": 768}


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One model on disk, in diffusers' folder layout.

    ``native_px`` is the side of the square that the model was trained on.
    """

    name: str
    title: str
    family: str
    path: Path
    native_px: int
    embedded: bool = False

    def missing_files(self) -> list[str]:
        """Parts that a complete model has and this one lacks."""
        missing = [part for part in _PARTS if not (self.path / part).is_dir()]
        for part, patterns in _PARTS.items():
            if part not in missing:
                missing += [
                    f"{part}/{pattern}"
                    for pattern in patterns
                    if not any((self.path / part).glob(pattern))
                ]
        return missing


def default_models_dir() -> Path:
    """Where painters put models of their own: NIJIMI_MODELS, or models in the user's data."""
    named = os.environ.get("NIJIMI_MODELS")
    if named:
        return Path(named)
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "nijimi" / "models"


def list_models(models_dir: Path | None = None) -> tuple[ModelInfo, ...]:
    """Every model, the embedded ones first, then those of the folder by name."""
    found = [_describe(path, embedded=True) for path in _folders(EMBEDDED_DIR)]
    folder = models_dir or default_models_dir()
    found += [_describe(path, embedded=False) for path in _folders(folder)]
    return tuple(found)


def find_model(name: str, models_dir: Path | None = None) -> ModelInfo:
    """The model of that name; "" means the first there is."""
    if name and Path(name).is_absolute() and (Path(name) / "model_index.json").is_file():
        return _describe(Path(name), embedded=False)
    models = list_models(models_dir)
    for model in models:
        if name in ("", model.name):
            return model
    if not models:
        raise ModelMissing(
            "There is no model on this machine.",
            f"Reinstall Nijimi, or put a model folder into {models_dir or default_models_dir()}.",
        )
    known = ", ".join(model.name for model in models)
    raise ModelMissing(f"There is no model named {name!r}.", f"Choose one of: {known}.")


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if (path / "model_index.json").is_file())


def _describe(path: Path, *, embedded: bool) -> ModelInfo:
    unet = _json(path / "unet" / "config.json")
    vae = _json(path / "vae" / "config.json")
    width = unet.get("cross_attention_dim")
    family = {768: "sd1", 1024: "sd2"}.get(width if isinstance(width, int) else 0, "mini")
    sample = unet.get("sample_size")
    channels = vae.get("encoder_block_out_channels") or vae.get("block_out_channels")
    scale = 2 ** (len(cast("list[int]", channels)) - 1) if isinstance(channels, list) else 8
    native = sample * scale if isinstance(sample, int) else _NATIVE_PX[family]
    return ModelInfo(
        name=path.name,
        title=path.name.replace("-", " ").replace("_", " "),
        family=family,
        path=path,
        native_px=native,
        embedded=embedded,
    )


def _json(path: Path) -> dict[str, Any]:
    """A configuration, or nothing where it cannot be read: the loader says what is wrong."""
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
