"""A model that was exported is trained on: its checkpoints come back as they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from training.export import EMBEDDED
from training.networks import averaged, fill_averaged, make_text_encoder, make_unet
from training.reopen import reopen, weights_of
from training.tokens import load_tokenizer
from training.train_control import KINDS, few_step_base, load_base
from training.workspace import load_checkpoint, resume

MODEL = Path(__file__).parents[2] / EMBEDDED


def test_every_step_finds_its_checkpoint(tmp_path: Path) -> None:
    made = reopen(MODEL, tmp_path)
    assert made == ["autoencoder", "base", "lcm", *(f"control_{kind}" for kind in KINDS)]
    for name in made:
        saved = load_checkpoint(tmp_path / f"{name}.pt")
        assert saved is not None
        assert saved["step"] == 0


def test_training_goes_on_from_the_exported_weights_with_a_new_optimizer(tmp_path: Path) -> None:
    reopen(MODEL, tmp_path)
    unet = make_unet()
    vocab_size = len(load_tokenizer(MODEL / "tokenizer"))
    text = make_text_encoder(vocab_size, vocab_size - 1)
    parameters = [*unet.parameters(), *text.parameters()]
    optimizer, ema = torch.optim.AdamW(parameters, lr=0.5), averaged(parameters)
    step = resume(tmp_path / "base.pt", unet=unet, text=text, optimizer=optimizer, ema=ema)
    assert step == 0
    assert optimizer.param_groups[0]["lr"] == 0.5
    for key, value in weights_of(MODEL / "unet").items():
        assert torch.equal(unet.state_dict()[key], value)
    # What is exported again is the average.
    again = make_unet()
    fill_averaged({"ema": ema.state_dict()}, again, text)
    assert all(
        torch.equal(one, other)
        for one, other in zip(again.parameters(), unet.parameters(), strict=True)
    )


def test_the_few_step_model_is_the_exported_one(tmp_path: Path) -> None:
    reopen(MODEL, tmp_path)
    unet, _ = load_base(tmp_path, len(load_tokenizer(MODEL / "tokenizer")))
    few = few_step_base(tmp_path, unet)
    # Asked as diffusers' own pipeline loads them.
    reference = make_unet()
    reference.load_state_dict(weights_of(MODEL / "unet"))
    reference.load_lora_adapter(weights_of(MODEL / "lcm_lora"), prefix="unet")
    torch.manual_seed(0)
    latents, words = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 192)
    with torch.inference_mode():
        asked = reference(latents, 500, encoder_hidden_states=words).sample
        got = few(latents, 500, encoder_hidden_states=words).sample
        plain = unet(latents, 500, encoder_hidden_states=words).sample
    assert torch.allclose(got, asked, atol=1e-5)
    assert not torch.allclose(got, plain, atol=1e-2)


def test_a_model_without_controls_has_none_to_go_on_from(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model, ignore=shutil.ignore_patterns("controlnet"))
    assert reopen(model, tmp_path / "work") == ["autoencoder", "base", "lcm"]
