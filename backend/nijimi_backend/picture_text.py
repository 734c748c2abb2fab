"""A picture, its parameters and the library enter; the text that its PNG carries leaves.

Model and LoRAs are named with the hashes by which the web UIs find them again.
"""

from __future__ import annotations

from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams
from nijimi_protocol.picture_info import info_text

from .engine.prompt.syntax import read_prompt
from .engine.request import Picture
from .models.catalog import ModelInfo
from .models.headers import file_sha256, weights_sha256
from .models.library import Library
from .models.recognise import FileKind

__all__ = ["picture_text"]


def picture_text(
    params: RenderParams, made: Picture, model: ModelInfo, library: Library, extent: Extent
) -> str:
    """A model's hash for a checkpoint file only: a folder's would be of no use to anyone."""
    digest = file_sha256(model.path) if model.is_file else ""
    hashes: dict[str, str] = {}
    for use in read_prompt(params.prompt, made.seed).adapters:
        file = None if use.is_hypernet else library.find([FileKind.LORA], use.name)
        if file is not None:
            hashes[use.name] = weights_sha256(file.path)
    return info_text(params, made.sampler, *extent, model.name, digest, hashes)
