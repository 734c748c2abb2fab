"""Latents and captions enter; UNet and text encoder leave: ``python -m training.train_base``.

v-prediction (Salimans and Ho, arXiv 2202.00512, section 4) with min-SNR weighting (Hang et al.,
arXiv 2303.09556, equation 8 in its form for v), and 10 % of captions dropped for guidance.

We depart from it in five points. Below an SNR of 1 the weight is that of an SNR of 1 (truncated
SNR, Salimans and Ho, section 4): min-SNR alone leaves almost nothing to the high noise, where it is
decided what the picture shows, and subjects stayed unknown. The weight of a timestep is how often
it is drawn, not a factor: no step is spent on noise that counts for nothing. Subjects count for
more than what surrounds them, and pictures with one come more often: there are fifty, and only one
sky. And because it is what live painting asks, in part of each batch the noised latents are those
of the rough sketch of the scene, and the velocity to be predicted is the one that leads to the
finished picture; in another part only a selection is noised and learnt (``selections``).
"""

from __future__ import annotations

import time
from typing import Any

import torch
from diffusers import DDPMScheduler

from .networks import (
    SCHEDULER,
    averaged,
    make_text_encoder,
    make_unet,
    with_learnable_attention,
)
from .orthogonal import MuonWithAdamW
from .selections import selections
from .workspace import Log, arguments, device_of, mixed, resume, save_parts

SNR_FLOOR, SNR_GAMMA = 1.0, 5.0
CAPTION_DROP = 0.1
SKETCH_FROM = 150
"""Below this timestep a noised sketch would have to jump too far in one velocity."""
TYPICAL_AREA = 0.15
"""Of subjects, as a part of the picture."""
NAMED = 2 / 3
"""Of what fills selections."""

Fills = slice | torch.Tensor
"""Which rows of a batch fill a selection: a slice, or N of True and False."""


def chances_of(signal: torch.Tensor) -> torch.Tensor:
    """How often each timestep is drawn, for ``signal``, its alphas_cumprod; the sum is 1."""
    snr = signal / (1 - signal)
    weight = snr.clamp(SNR_FLOOR, SNR_GAMMA) / (snr + 1)
    return weight / weight.sum()


def draw(chances: torch.Tensor, count: int, rough: int) -> torch.Tensor:
    """``count`` timesteps, the first ``rough`` of which are those of noised sketches."""
    timesteps = torch.multinomial(chances, count, replacement=True)
    if rough:
        noisy_enough = torch.where(torch.arange(len(chances)) < SKETCH_FROM, 0.0, chances)
        timesteps[:rough] = torch.multinomial(noisy_enough, rough, replacement=True)
    return timesteps


def draw_words(data: dict[str, Any], rows: torch.Tensor, fills: Fills) -> torch.Tensor:
    """One caption of each row's picture, N x 77; of two in three of ``fills`` the subject's name
    alone, where there is one: who fills a selection does not tell the scene again."""
    tokens, names, empty = data["tokens"], data["names"], data["empty"]
    words = tokens[rows // 2, torch.randint(tokens.shape[1], (len(rows),))].long()
    named = names[rows[fills] // 2].long()
    is_chosen = (torch.rand(len(named)) < NAMED) & (named != empty.long()).any(1)
    words[fills] = torch.where(is_chosen[:, None], named, words[fills])
    return words


def draw_rows(shares: torch.Tensor, count: int) -> torch.Tensor:
    """``count`` rows of the latents, picture n as often as ``shares[n]`` says, half mirrored.

    Row 2n is picture n, row 2n + 1 its mirror.
    """
    rows = 2 * torch.multinomial(shares, count, replacement=True)
    return rows + torch.randint(2, (count,))


def mean_by(
    error: torch.Tensor, cover: torch.Tensor, weight: float, learnt: torch.Tensor | None = None
) -> torch.Tensor:
    """The mean of N x h x w errors, where ``cover`` (N x h x w) counts ``weight`` for each 1.

    Where ``learnt`` is 0 they count for nothing.
    """
    counts = 1 + (weight - 1) * cover
    if learnt is not None:
        counts = counts * learnt
    return (error * counts).sum() / counts.sum()


def evened(cover: torch.Tensor) -> torch.Tensor:
    """``cover``, N x h x w in [0, 1], but more where a subject is small, up to four times.

    Houses are a twentieth of their picture on the mean, and half of the colours asked for theirs.
    """
    area = cover.mean((1, 2), keepdim=True)  # N x 1 x 1
    return cover * (TYPICAL_AREA / area.clamp(min=1e-6)).clamp(1.0, 4.0)


def main() -> None:
    parser = arguments("Train the base model.", 45)
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument("--sketches", type=float, default=0.3, help="part of each batch")
    parser.add_argument("--inpaint", type=float, default=0.25, help="part of each batch")
    parser.add_argument("--subject-weight", type=float, default=3.0, help="beside 1 elsewhere")
    parser.add_argument("--subject-share", type=float, default=3.0, help="beside 1 of the others")
    options = parser.parse_args()
    device = device_of(options.threads)
    torch.manual_seed(options.seed)
    data = torch.load(options.work / "latents.pt", weights_only=True)
    latents, empty = data["latents"], data["empty"]
    shares = 1 + (options.subject_share - 1) * data["worth"]
    rough = round(options.batch * options.sketches)
    # The last rows of a batch.
    fills = options.batch - round(options.batch * options.inpaint)
    unet = make_unet().to(device, memory_format=torch.channels_last)
    text = make_text_encoder(data["vocab_size"], data["vocab_size"] - 1).to(device)
    for network in (unet, text):
        with_learnable_attention(network, device)
    parameters = [*unet.parameters(), *text.parameters()]
    named = [*unet.named_parameters(), *text.named_parameters()]
    optimizer = MuonWithAdamW(named, options.rate)
    ema = averaged(parameters)
    scheduler: Any = DDPMScheduler(**SCHEDULER)
    signal = scheduler.alphas_cumprod.to(device)
    chances = chances_of(scheduler.alphas_cumprod)
    path = options.work / "base.pt"
    parts: dict[str, Any] = {"unet": unet, "text": text, "optimizer": optimizer, "ema": ema}
    step = resume(path, **parts)
    log = Log(options.work, "base", options.minutes)
    saved_at = time.monotonic()
    while not log.is_over:
        rows = draw_rows(shares, options.batch)
        clean = latents[rows].to(device).float() * data["scale"]
        words = draw_words(data, rows, slice(fills, None))
        words[torch.rand(options.batch) < CAPTION_DROP] = empty[0].long()
        noise = torch.randn_like(clean)
        timesteps = draw(chances, options.batch, rough).to(device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        target = scheduler.get_velocity(clean, noise, timesteps)
        if rough:
            sketch = data["sketches"][rows[:rough]].to(device).float() * data["scale"]
            noisy[:rough] = scheduler.add_noise(sketch, noise[:rough], timesteps[:rough])
            alpha = signal[timesteps[:rough]].sqrt().view(-1, 1, 1, 1)
            # x0 = alpha * noisy - sigma * v, solved for v.
            target[:rough] = (alpha * noisy[:rough] - clean[:rough]) / (1 - alpha**2).sqrt()
        cover = data["masks"][rows].to(device).float() / 255
        learnt = torch.ones_like(cover)
        learnt[fills:] = selections(cover[fills:].cpu())[:, 0].to(device)
        noisy = torch.where(learnt[:, None] > 0, noisy, clean)
        with mixed(device):
            embeds = text(words.to(device)).last_hidden_state  # N x 77 x 192
            predicted = unet(noisy, timesteps, encoder_hidden_states=embeds).sample
        error = (predicted.float() - target).square().mean(1)  # N x h x w
        loss = mean_by(error, evened(cover), options.subject_weight, learnt)
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
            v_error=error[rough:fills].mean().item(),
            subject_error=mean_by(error[rough:fills], cover[rough:fills], 1e6).item(),
            sketch_error=error[:rough].mean().item() if rough else 0.0,
            inpaint_error=mean_by(error[fills:], cover[fills:], 1.0, learnt[fills:]).item()
            if fills < options.batch
            else 0.0,
        )
        if time.monotonic() - saved_at > 120 or log.is_over:
            saved_at = time.monotonic()
            save_parts(path, step, **parts)


if __name__ == "__main__":
    main()
