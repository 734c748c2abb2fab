"""A path and a shape enter; a file of an ESRGAN network in its published layout is written."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

__all__ = ["write_esrgan"]


def write_esrgan(path: Path, *, scale: int = 4, channels: int = 3, width: int = 8) -> None:
    """RRDB of one block, random but small weights (Wang et al., arXiv 1809.00219; names as in
    BasicSR, in which Real-ESRGAN was published). Scale 2 reads 2 x 2 pixels as one."""
    torch.manual_seed(scale * 10 + channels)
    taken = channels * (4 if scale == 2 else 1)
    grow = 32  # as published, and not told by the weights
    layers = {"conv_first": (width, taken), "conv_body": (width, width)}
    for dense in (1, 2, 3):
        for n in range(1, 6):
            out = grow if n < 5 else width
            layers[f"body.0.rdb{dense}.conv{n}"] = (out, width + (n - 1) * grow)
    for name in ("conv_up1", "conv_up2", "conv_hr"):
        layers[name] = (width, width)
    layers["conv_last"] = (channels, width)
    weights: dict[str, torch.Tensor] = {}
    for name, (out, into) in layers.items():
        weights[f"{name}.weight"] = torch.randn(out, into, 3, 3) / (9 * into) ** 0.5
        weights[f"{name}.bias"] = torch.full((out,), 0.1)
    # What comes out lies about mid-grey, and is cut off nowhere.
    weights["conv_last.weight"] *= 0.3
    weights["conv_last.bias"][:] = 0.5
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
