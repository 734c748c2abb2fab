"""Tensors of overlapping windows enter; the one tensor that they are parts of leaves."""

from __future__ import annotations

import torch
from nijimi_protocol.geometry import Bounds

__all__ = ["FusedWindows"]

_LEAST = 0.02
"""What a window's outermost cells count: never nothing, as at the edge there is no other."""


class FusedWindows:
    """Averages windows where they overlap; the nearer to its middle, the more one counts."""

    def __init__(self, like: torch.Tensor) -> None:
        """``like``: 1 x C x h x w, of which shape, type and device count."""
        self._sum = torch.zeros_like(like)
        self._weights = torch.zeros_like(like[:, :1])

    def add(self, window: Bounds, values: torch.Tensor) -> None:
        """``values``: 1 x C x the window's height x its width."""
        rows = slice(window.y, window.bottom)
        columns = slice(window.x, window.right)
        weight = _hat(window.height, values)[:, None] * _hat(window.width, values)[None, :]
        self._sum[..., rows, columns] += values * weight
        self._weights[..., rows, columns] += weight

    def mean(self) -> torch.Tensor:
        return self._sum / self._weights


def _hat(length: int, like: torch.Tensor) -> torch.Tensor:
    """Rises to the middle and falls again, as a sine's half wave squared."""
    at = (torch.arange(length, device=like.device, dtype=like.dtype) + 0.5) / length
    return torch.sin(at * torch.pi).square().clamp_min(_LEAST)
