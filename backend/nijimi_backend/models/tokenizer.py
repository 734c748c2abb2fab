"""Nothing enters; CLIP's tokenizer leaves, for checkpoints that carry none of their own.

All Stable Diffusion families share the vocabulary that OpenAI released with CLIP (Radford et al.,
2021). It is read from the package openai-clip, which is never imported: that would want more.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

from transformers import CLIPTokenizer

from ..errors import ModelMissing

__all__ = ["clip_tokenizer"]

_MERGES = 49152 - 256 - 2
"""Rows of the table that CLIP uses, after its title row; the file has more."""

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def clip_tokenizer() -> CLIPTokenizer:
    """49408 tokens: 256 bytes, the same at a word's end, merges, start and end."""
    with gzip.open(_vocabulary(), "rt", encoding="utf-8") as file:
        rows = file.read().split("\n")[1 : _MERGES + 1]
    merges = [tuple(row.split()) for row in rows]
    letters = list(_byte_letters())
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += ["".join(pair) for pair in merges]
    tokens += _SPECIAL
    return CLIPTokenizer(
        vocab={token: n for n, token in enumerate(tokens)},
        merges=merges,  # pyright: ignore[reportArgumentType]
        model_max_length=77,
    )


def _vocabulary() -> Path:
    found = importlib.util.find_spec("clip")
    folders = found.submodule_search_locations if found is not None else None
    for folder in folders or ():
        path = Path(folder) / "bpe_simple_vocab_16e6.txt.gz"
        if path.is_file():
            return path
    raise ModelMissing(
        "CLIP's vocabulary is not installed, without which this model cannot read a prompt.",
        "Run the installer again: python3 installer run.",
    )


def _byte_letters() -> list[str]:
    """A printable letter for each of the 256 bytes, in the order of the vocabulary (GPT-2's)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [n for n in range(256) if n not in printable]
    return [chr(n) for n in printable] + [chr(256 + n) for n in range(len(others))]
