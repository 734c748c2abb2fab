"""A model folder in diffusers' layout enters; its networks and tokenizers leave, part by part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from transformers import (
    AutoTokenizer,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen3Model,
    T5EncoderModel,
)

from .bundle import Autoencoder, Backbone, TextTower, special_token
from .catalog import ModelInfo

__all__ = ["FlowFolder", "Folder", "wordy_tower"]


class Folder:
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
        first = self._clip_tower("te1" if is_xl else "te", "", CLIPTextModel, is_xl=is_xl)
        if not is_xl:
            return (first,)
        return first, self._clip_tower("te2", "_2", CLIPTextModelWithProjection, is_xl=True)

    def _clip_tower(self, name: str, ending: str, kind: Any, *, is_xl: bool) -> TextTower:
        tokenizer = CLIPTokenizer.from_pretrained(
            self._path / f"tokenizer{ending}", local_files_only=True
        )
        return TextTower(
            name=name,
            tokenizer=tokenizer,
            encoder=self._encoder(ending, kind),
            pad_token_id=special_token(tokenizer, "pad"),
            clip_skip=2 if is_xl else 1,
            normed=not is_xl,
        )

    def _encoder(self, ending: str, kind: Any) -> Any:
        path = self._path / f"text_encoder{ending}"
        return kind.from_pretrained(
            path, dtype=self._dtype, local_files_only=True, use_safetensors=True, **_variant(path)
        )

    def unet(self) -> Backbone:
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


class FlowFolder(Folder):
    """The same for a flow-matching transformer: ``transformer`` in place of ``unet``, and the text
    encoders of its family."""

    def __init__(self, info: ModelInfo, dtype: torch.dtype) -> None:
        super().__init__(info, dtype)
        self._family = info.family

    def towers(self) -> tuple[TextTower, ...]:
        if self._family == "zimage":
            return (wordy_tower("te", self._path / "tokenizer", self._encoder("", Qwen3Model)),)
        towers = tuple(
            self._clip_tower(name, ending, CLIPTextModelWithProjection, is_xl=True)
            for name, ending in (("te1", ""), ("te2", "_2"))
        )
        if not (self._path / "text_encoder_3").is_dir():
            # SD3 was trained to do without T5, which is larger than all the rest.
            return towers
        t5 = self._encoder("_3", T5EncoderModel)
        return *towers, wordy_tower("te3", self._path / "tokenizer_3", t5)

    def unet(self) -> Backbone:
        path = self._path / "transformer"
        kind = ZImageTransformer2DModel if self._family == "zimage" else SD3Transformer2DModel
        return kind.from_pretrained(path, **self._options, **_variant(path))


def wordy_tower(name: str, tokenizer_folder: Path, encoder: Any) -> TextTower:
    """A text encoder that is not CLIP's, with the tokenizer of a folder."""
    tokenizer = AutoTokenizer.from_pretrained(
        tokenizer_folder, local_files_only=True, trust_remote_code=False
    )
    pad = special_token(tokenizer, "pad")
    return TextTower(name=name, tokenizer=tokenizer, encoder=encoder, pad_token_id=pad)


def _variant(path: Path) -> dict[str, str]:
    """Many published folders hold their weights only as ``….fp16.safetensors``."""
    names = [file.name for file in path.glob("*.safetensors")]
    return {"variant": "fp16"} if names and all(".fp16" in name for name in names) else {}
