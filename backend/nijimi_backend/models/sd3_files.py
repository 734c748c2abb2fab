"""Stable Diffusion 3 in one file, or its parts in files apart, enters; its networks leave.

The released files of SD3.5 hold the network and the autoencoder, and painters keep CLIP's two
encoders and T5 beside them, as ComfyUI does. The model was trained to do without T5, which is
larger than all the rest: it is left out where it would fill the main memory, or where its words,
which no file of weights holds, are not there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, SD3Transformer2DModel
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from transformers import T5Config, T5EncoderModel
from transformers.initialization import no_init_weights

from .architecture import (
    TEXT_PREFIXES,
    count_parts,
    flow_scheduler_config,
    incomplete_part,
    sd3_config,
)
from .bundle import Backbone, TextTower
from .folders import wordy_tower
from .headers import WeightsHeader, read_header
from .package_files import files_dir
from .recognise import UNET, VAE
from .single_file import SingleFile, fill_network, read_vae_file

__all__ = ["T5_WORDS", "SD3Files"]

log = logging.getLogger(__name__)

T5_WORDS = "t5-words"
"""T5's words in the list of downloads."""

_T5 = "text_encoders.t5xxl.transformer."
_T5_MARK = "encoder.final_layer_norm.weight"
_MOST_OF_MEMORY = 0.5
"""T5 alone may take so much of the main memory."""


class SD3Files(SingleFile):
    """Each part is read when it is asked for. ``beside``: files of their own for what the
    checkpoint lacks, by the names that ``apart`` gives them."""

    def __init__(
        self,
        path: Path,
        beside: Mapping[str, Path],
        dtype: torch.dtype,
        note: Callable[[float], None] = lambda _part: None,
    ) -> None:
        super().__init__(path, dtype, note)
        clip_l, clip_g = TEXT_PREFIXES["sd3"]
        # Who has one with both CLIP encoders in it, and no T5, chose the small one.
        left_out = ("t5",) if self._holds(clip_l) else ()
        self._beside = {name: file for name, file in beside.items() if name not in left_out}
        self._names = {clip_l: "clip_l", clip_g: "clip_g", _T5: "t5", VAE: "vae"}
        wanted = [name for prefix, name in self._names.items() if not self._holds(prefix)]
        apart = [read_header(beside[name]) for name in wanted if name in beside]
        self._total_bytes += sum(header.size_bytes for header in apart)

    def unet(self) -> Backbone:
        with init_empty_weights():
            network: Any = SD3Transformer2DModel(**sd3_config(self.header))
        convert = convert_sd3_transformer_checkpoint_to_diffusers
        return fill_network(network, self._read(self.header, UNET), convert, self.header)

    def vae(self) -> AutoencoderKL:
        if self._holds(VAE) or "vae" not in self._beside:
            return super().vae()
        header, prefix = self._place(VAE)
        return read_vae_file(header, "sd3", prefix, self._dtype)

    def towers(self) -> tuple[TextTower, ...]:
        towers = super().towers()
        header, prefix = self._place(_T5)
        if prefix + _T5_MARK not in header.shapes:
            return towers
        words = self._words()
        if words is None:
            log.warning("%s holds T5, which is not read: its words are missing. "
                        "Run: nijimi models fetch %s", header.path.name, T5_WORDS)  # fmt: skip
            return towers
        config = _t5_config(header, prefix)
        size_bytes = _t5_bytes(header, prefix) * self._dtype.itemsize
        if size_bytes > _MOST_OF_MEMORY * psutil.virtual_memory().total:
            log.warning("T5 is not read: it would take %.1f GB of memory", size_bytes / 1e9)
            return towers
        with init_empty_weights(), no_init_weights():
            encoder: Any = T5EncoderModel(T5Config(**config))

        def names_of_ours(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            own = {key.removeprefix(prefix): value for key, value in weights.items()}
            # One table under two names, of which a file holds either.
            table = own.get("shared.weight", own.get("encoder.embed_tokens.weight"))
            if table is not None:
                own["shared.weight"] = own["encoder.embed_tokens.weight"] = table
            return own

        fill_network(encoder, self._read(header, prefix), names_of_ours, header)
        return *towers, wordy_tower("te3", words, encoder)

    def scheduler(self) -> dict[str, Any]:
        return flow_scheduler_config()

    def _place(self, prefix: str) -> tuple[WeightsHeader, str]:
        """The file that holds a part, and the prefix that it has there."""
        name = self._names[prefix]
        if self._holds(prefix) or name not in self._beside:
            return self.header, prefix
        header = read_header(self._beside[name])
        return header, VAE if name == "vae" and header.has(VAE + "decoder.conv_in.weight") else ""

    def _holds(self, prefix: str) -> bool:
        return any(key.startswith(prefix) for key in self.header.shapes)

    def _words(self) -> Path | None:
        if (apart := self._beside.get("t5_words")) is not None:
            return apart
        fetched = files_dir(T5_WORDS)
        return fetched if (fetched / "tokenizer.json").is_file() else None


def _t5_bytes(header: WeightsHeader, prefix: str) -> int:
    """How many numbers T5 has."""
    return sum(torch.Size(shape).numel() for shape in header.with_prefix(prefix).values())


def _t5_config(header: WeightsHeader, prefix: str) -> dict[str, Any]:
    """Arguments of ``T5Config``; raises ``ModelCorrupt``. Version 1.1, as T5-XXL of SD3 is."""
    shapes = header.with_prefix(prefix)
    block = "encoder.block.0.layer"
    try:
        table = shapes.get("shared.weight") or shapes["encoder.embed_tokens.weight"]
        buckets, heads = shapes[f"{block}.0.SelfAttention.relative_attention_bias.weight"]
        return {
            "vocab_size": table[0],
            "d_model": table[1],
            "d_kv": shapes[f"{block}.0.SelfAttention.q.weight"][0] // heads,
            "d_ff": shapes[f"{block}.1.DenseReluDense.wi_0.weight"][0],
            "num_layers": count_parts(shapes, "encoder.block"),
            "num_heads": heads,
            "relative_attention_num_buckets": buckets,
            "feed_forward_proj": "gated-gelu",
        }
    except (KeyError, ValueError) as error:
        raise incomplete_part(header, "T5", error) from error
