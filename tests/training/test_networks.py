"""The networks as they are trained give what they give when they are used."""

from __future__ import annotations

import torch

from training.networks import make_text_encoder, make_unet, with_learnable_attention


@torch.no_grad()
def test_attention_as_products_gives_the_same() -> None:
    torch.manual_seed(0)
    unet, text = make_unet().eval(), make_text_encoder(100, 99).eval()
    noisy, timesteps = torch.randn(2, 4, 16, 16), torch.tensor([20, 800])
    words = torch.randint(0, 98, (2, 77))
    words[:, 9:] = 99
    embeds = text(words).last_hidden_state
    asked = unet(noisy, timesteps, encoder_hidden_states=embeds).sample
    for network in (unet, text):
        with_learnable_attention(network, torch.device("cpu"))
    found = text(words).last_hidden_state
    assert torch.allclose(found, embeds, atol=1e-5)
    made = unet(noisy, timesteps, encoder_hidden_states=found).sample
    assert torch.allclose(made, asked, atol=1e-4)
