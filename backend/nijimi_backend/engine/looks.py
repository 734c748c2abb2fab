"""Latents that are not finished enter; a small picture of what they are becoming leaves.

Decoding each step would cost as much as a step. Latents are nearly a linear map of the colours of a
small picture; which one, every autoencoder shows by itself when it encodes some flat colours.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from nijimi_protocol.limits import MAX_LOOK_PX

from ..models.bundle import ModelBundle
from .request import Pixels
from .stages import encode_canvas, opaque_bgra

__all__ = ["Looks"]

_LEVELS = (0, 85, 170, 255)
_PATCH_CELLS = 4


class Looks:
    """One model's map from latents to colours, found at the first look. Not thread-safe."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self._map: torch.Tensor | None = None

    def look(self, latents: torch.Tensor) -> Pixels:
        """Scaled latents 1 x C x h x w become opaque BGRA, a pixel a cell, at most
        ``MAX_LOOK_PX`` a side."""
        if self._map is None:
            self._map = self._find_map()
        most = max(latents.shape[-2:])
        if most > MAX_LOOK_PX:
            size = [max(1, side * MAX_LOOK_PX // most) for side in latents.shape[-2:]]
            latents = torch.nn.functional.interpolate(latents.float(), size, mode="area")
        cells = latents[0].float().permute(1, 2, 0)  # h x w x C
        colours = cells @ self._map[:-1] + self._map[-1]
        rgb = colours.clamp(0.0, 255.0).round().to(torch.uint8).cpu().numpy()
        return opaque_bgra(rgb)

    def _find_map(self) -> torch.Tensor:
        """(C + 1) x 3: the least squares fit to patches of each colour, the last row an offset."""
        colours = np.array(list(itertools.product(_LEVELS, repeat=3)), dtype=np.uint8)  # 64 x 3
        side = round(len(colours) ** 0.5)
        patch_px = _PATCH_CELLS * self._bundle.latent_scale
        rgb = colours.reshape(side, side, 3).repeat(patch_px, axis=0).repeat(patch_px, axis=1)
        latents = encode_canvas(self._bundle, rgb)[0].float()  # C x 4 side x 4 side
        # Only the inner cells of a patch: the network looks beyond the edges of the others.
        inner = latents.unfold(1, _PATCH_CELLS, _PATCH_CELLS).unfold(2, _PATCH_CELLS, _PATCH_CELLS)
        known = inner[..., 1:-1, 1:-1].mean(dim=(-2, -1)).flatten(1).T  # 64 x C
        known = torch.cat([known, torch.ones_like(known[:, :1])], dim=1)
        wanted = torch.from_numpy(colours.astype(np.float32)).to(known.device)
        # The pseudo-inverse: an autoencoder may leave a channel unused.
        return torch.linalg.pinv(known) @ wanted
