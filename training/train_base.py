"""Latents and captions enter; UNet and text encoder leave: ``python -m training.train_base``.

v-prediction (Salimans and Ho, arXiv 2202.00512, section 4) with min-SNR weighting (Hang et al.,
arXiv 2303.09556, equation 8 in its form for v), and 10 % of captions dropped for guidance.

We depart from it in two points. Below an SNR of 1 the weight is that of an SNR of 1 (truncated SNR,
Salimans and Ho, section 4): min-SNR alone leaves almost nothing to the high noise, where it is
decided what the picture shows, and subjects stayed unknown. And because it is what live painting
asks, in part of each batch the noised latents are those of the rough sketch of the scene, and the
velocity to be predicted is the one that leads to the finished picture.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel

from .networks import SCHEDULER, begin_from, make_text_encoder, make_unet
from .tokens import same_words
from .workspace import Log, arguments, device_of, resume, save_parts

SNR_FLOOR, SNR_GAMMA = 1.0, 5.0
CAPTION_DROP = 0.1
SKETCH_FROM = 150
"""Below this timestep a noised sketch would have to jump too far in one velocity."""


def main() -> None:
    parser = arguments("Train the base model.", 45)
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument("--sketches", type=float, default=0.3, help="part of each batch")
    parser.add_argument("--start", type=Path, help="an exported model to begin with")
    options = parser.parse_args()
    device = device_of(options.threads)
    torch.manual_seed(options.seed)
    data = torch.load(options.work / "latents.pt", weights_only=True)
    latents, tokens, empty = data["latents"], data["tokens"], data["empty"]
    rough = round(options.batch * options.sketches)
    unet = make_unet().to(device, memory_format=torch.channels_last)
    text = make_text_encoder(data["vocab_size"], data["vocab_size"] - 1).to(device)
    parameters = [*unet.parameters(), *text.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=1e-2, betas=(0.9, 0.98))
    ema = EMAModel(parameters, decay=0.998, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    scheduler = DDPMScheduler(**SCHEDULER)
    signal = scheduler.alphas_cumprod.to(device)
    path = options.work / "base.pt"
    parts: dict[str, Any] = {"unet": unet, "text": text, "optimizer": optimizer, "ema": ema}
    step = resume(path, **parts)
    if not step and options.start:
        begin_from(options.start / "unet", unet)
        if same_words(options.start / "tokenizer", options.work / "tokenizer"):
            begin_from(options.start / "text_encoder", text)
        parts["ema"] = ema = EMAModel(
            parameters, decay=0.998, use_ema_warmup=True, inv_gamma=1.0, power=0.75
        )
    log = Log(options.work, "base", options.minutes)
    saved_at = time.monotonic()
    while not log.is_over:
        rows = torch.randint(len(latents), (options.batch,))
        clean = latents[rows].to(device).float() * data["scale"]
        # Row 2n is picture n, row 2n + 1 its mirror.
        words = tokens[rows // 2, torch.randint(tokens.shape[1], (options.batch,))].long()
        words[torch.rand(options.batch) < CAPTION_DROP] = empty[0].long()
        embeds = text(words.to(device)).last_hidden_state  # N x 77 x 192
        noise = torch.randn_like(clean)
        timesteps = torch.randint(1000, (options.batch,), device=device)
        if rough:
            timesteps[:rough] = torch.randint(SKETCH_FROM, 1000, (rough,), device=device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        target = scheduler.get_velocity(clean, noise, timesteps)
        if rough:
            sketch = data["sketches"][rows[:rough]].to(device).float() * data["scale"]
            noisy[:rough] = scheduler.add_noise(sketch, noise[:rough], timesteps[:rough])
            alpha = signal[timesteps[:rough]].sqrt().view(-1, 1, 1, 1)
            # x0 = alpha * noisy - sigma * v, solved for v.
            target[:rough] = (alpha * noisy[:rough] - clean[:rough]) / (1 - alpha**2).sqrt()
        predicted = unet(noisy, timesteps, encoder_hidden_states=embeds).sample
        snr = signal[timesteps] / (1 - signal[timesteps])
        weight = snr.clamp(SNR_FLOOR, SNR_GAMMA) / (snr + 1)
        error = (predicted - target).square().mean((1, 2, 3))
        loss = (weight * error).mean()
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 100)
            group["lr"] = options.rate * warm * min(1.0, max(0.02, (1 - log.part) / 0.3))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        ema.step(parameters)
        step += 1
        log.add(
            step,
            step * options.batch,
            loss=loss.item(),
            v_error=error[rough:].mean().item(),
            sketch_error=error[:rough].mean().item() if rough else 0.0,
        )
        if time.monotonic() - saved_at > 120 or log.is_over:
            saved_at = time.monotonic()
            save_parts(path, step, **parts)


if __name__ == "__main__":
    main()
