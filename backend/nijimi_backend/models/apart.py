"""Files and folders of a collection enter; models whose parts lie apart in them leave.

So ComfyUI keeps the newer families: the network in one file, text encoder and autoencoder in
others, which several models share.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from .catalog import ModelInfo, describe_file
from .recognise import FileKind, Recognised

__all__ = ["apart", "beside_sd3"]

_TEXT_ENCODERS = ("clip_l", "clip_g", "t5")

_OF_FLUX = re.compile(r"^ae(?![a-z])|flux|z[_-]?image", re.IGNORECASE)
"""Names of autoencoders with 16 channels that are not SD3's; nothing in them tells."""


class FoundFile(Protocol):
    """What is looked at of a file of the library."""

    @property
    def path(self) -> Path: ...

    @property
    def found(self) -> Recognised: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def trouble(self) -> str: ...


def apart(files: Sequence[FoundFile], folders: Sequence[Path]) -> list[ModelInfo]:
    """One model for each file of a Z-Image network; what is not there is missing in it."""
    kinds = [((file.found.kind, file.found.family), file) for file in files if not file.trouble]
    networks = [file for what, file in kinds if what == (FileKind.TRANSFORMER, "zimage")]
    if not networks:
        return []
    beside: dict[str, Path] = {}
    for what, file in kinds:
        if what == (FileKind.TEXT_ENCODER, "qwen3"):
            beside.setdefault("text_encoder", file.path)
        if what == (FileKind.VAE, "16-channel") and _OF_FLUX.search(file.path.stem):
            beside.setdefault("vae", file.path)
    for folder in folders:
        if _tokenizer_class(folder).startswith("Qwen2Tokenizer"):
            beside.setdefault("tokenizer", folder)
    return [
        describe_file(file.path, file.found, file.size_bytes, tuple(beside.items()))
        for file in networks
    ]


def beside_sd3(files: Sequence[FoundFile], folders: Sequence[Path]) -> dict[str, Path]:
    """What a checkpoint of SD3 may lack, by name: clip_l, clip_g, t5, t5_words, vae."""
    beside: dict[str, Path] = {}
    for file in files:
        kind, family = file.found.kind, file.found.family
        if file.trouble:
            continue
        if kind is FileKind.TEXT_ENCODER and family in _TEXT_ENCODERS:
            beside.setdefault(family, file.path)
        if (kind, family) == (FileKind.VAE, "16-channel") and not _OF_FLUX.search(file.path.stem):
            beside.setdefault("vae", file.path)
    for folder in folders:
        if _tokenizer_class(folder).startswith("T5Tokenizer"):
            beside.setdefault("t5_words", folder)
    return beside


def _tokenizer_class(folder: Path) -> str:
    """What a folder's tokenizer says that it is; "" where there is none."""
    try:
        value: object = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    said = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    return str(said.get("tokenizer_class", ""))
