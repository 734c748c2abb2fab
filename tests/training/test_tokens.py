"""The tokenizer has CLIP's own layout, and takes any text."""

# diffusers types its configuration and its outputs too narrowly.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
from __future__ import annotations

from pathlib import Path

import torch

from training.networks import make_autoencoder, make_text_encoder, make_unet
from training.tokens import load_tokenizer, make_tokenizer, token_rows

CAPTIONS = ["a red house on green hills", "pine trees at night", "the sea at sunset"] * 20


def test_any_prompt_becomes_seventy_seven_tokens(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(CAPTIONS, tmp_path / "tokenizer", 700)
    assert tokenizer.model_max_length == 77
    prompts = ["a red house", "", "日本語 ünïcödé 🎨", "word " * 400]
    rows = token_rows(tokenizer, prompts)
    assert rows.shape == (4, 77)
    assert int(rows.max()) < len(tokenizer)
    assert len({tuple(row.tolist()) for row in rows}) == 4
    again = load_tokenizer(tmp_path / "tokenizer")
    assert torch.equal(token_rows(again, prompts), rows)


def test_a_known_word_is_one_token(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(CAPTIONS, tmp_path / "tokenizer", 700)
    assert tokenizer.tokenize("house hills") == ["house</w>", "hills</w>"]


def test_the_networks_fit_together() -> None:
    vae, unet = make_autoencoder().eval(), make_unet().eval()
    text = make_text_encoder(700, 699).eval()
    with torch.no_grad():
        latents = vae.encode(torch.zeros(1, 3, 256, 256)).latents
        assert latents.shape == (1, 4, 32, 32)
        embeds = text(torch.zeros(1, 77, dtype=torch.long)).last_hidden_state
        predicted = unet(latents, 500, encoder_hidden_states=embeds).sample
        assert predicted.shape == latents.shape
        assert vae.decode(predicted).sample.shape == (1, 3, 256, 256)
