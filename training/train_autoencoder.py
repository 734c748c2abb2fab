"""Pictures enter; a tiny autoencoder leaves: ``python -m training.train_autoencoder``.

``--decoder-only`` keeps the encoder as it is, so that latents and networks made of them stay true.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from .networks import make_autoencoder
from .workspace import Log, arguments, device_of, mixed, resume, save_parts


def edges(x: torch.Tensor) -> torch.Tensor:
    """Horizontal and vertical differences, N x 2C x H-1 x W-1."""
    down = x[..., 1:, :-1] - x[..., :-1, :-1]
    right = x[..., :-1, 1:] - x[..., :-1, :-1]
    return torch.cat([down, right], 1)


def main() -> None:
    parser = arguments("Train the autoencoder on random crops.", 13)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, default=4000, help="length of the learning-rate decay")
    parser.add_argument("--decoder-only", action="store_true", help="the encoder stays as it is")
    options = parser.parse_args()
    device = device_of(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    # Rough sketches pass through it, too: they are what live painting begins with.
    pictures, sketches = (
        np.load(options.work / f"{name}.npy", mmap_mode="r") for name in ("train", "train_sketch")
    )
    model = make_autoencoder().to(device, memory_format=torch.channels_last)
    # What has no gradient is skipped, decay included.
    model.encoder.requires_grad_(not options.decoder_only)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=1e-4)
    path = options.work / "autoencoder.pt"
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer}
    step = resume(path, **parts)
    log = Log(options.work, "autoencoder", options.minutes)
    crop = options.crop
    while not log.is_over:
        rows = rng.integers(0, len(pictures), options.batch)
        ys, xs = rng.integers(0, 257 - crop, (2, options.batch))
        batch = np.stack(
            [
                (sketches if k % 4 == 3 else pictures)[n, y : y + crop, x : x + crop]
                for k, (n, y, x) in enumerate(zip(rows, ys, xs, strict=True))
            ]
        )
        images = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        warm = min(1.0, (step + 1) / 100)
        decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / options.steps)))
        for group in optimizer.param_groups:
            group["lr"] = options.rate * warm * max(0.03, decay)
        with mixed(device):
            latents = model.encode(images).latents.float()
            # A little noise makes the decoder forgive what a few-step sampler gets slightly wrong.
            noisy = latents + 0.03 * torch.randn_like(latents)
            decoded = model.decode(noisy).sample.float()
        l1 = functional.l1_loss(decoded, images)
        edge = functional.l1_loss(edges(decoded), edges(images))
        spread = (latents.mean() ** 2) + (latents.std() - 1) ** 2
        loss = l1 + 0.5 * edge + 0.02 * spread
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        mse = functional.mse_loss(decoded.detach(), images).item() / 4
        log.add(step, step * options.batch, l1=l1.item(), psnr=-10 * math.log10(mse))
        if step % 300 == 0 or log.is_over:
            save_parts(path, step, **parts)


if __name__ == "__main__":
    main()
