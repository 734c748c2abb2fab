"""Captions enter; a tokenizer in CLIP's own file layout leaves, and token rows for training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

__all__ = ["MAX_TOKENS", "load_tokenizer", "make_tokenizer", "token_rows"]

MAX_TOKENS = 77
START, END = "<|startoftext|>", "<|endoftext|>"

_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""  # CLIP's own word pattern


def make_tokenizer(captions: Sequence[str], folder: Path, vocab_size: int = 1600) -> CLIPTokenizer:
    """Learn byte-pair merges from the captions and write vocab.json and merges.txt.

    All 256 bytes are in the vocabulary, with and without the end-of-word mark, so that any
    prompt in any language becomes tokens, if untrained ones.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    merges = [
        tuple(merge) if not isinstance(merge, str) else tuple(merge.split(" "))
        for merge in json.loads(learner.to_str())["model"]["merges"]
    ]
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    known = set(tokens)
    for left, right in merges:
        if left + right not in known:
            tokens.append(left + right)
            known.add(left + right)
    vocab = {token: n for n, token in enumerate([*tokens, START, END])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    return load_tokenizer(folder)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def token_rows(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """N captions become N x 77 token numbers."""
    encoded = tokenizer(
        list(captions),
        padding="max_length",
        max_length=MAX_TOKENS,
        truncation=True,
        return_tensors="pt",
    )
    return encoded.input_ids
