"""A model's bundle enters; how a model of its family reads texts and is asked leaves.

A new flow-matching family is a module beside this one, a row in ``flow_family`` and one in
``models.catalog``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from ...models.bundle import ModelBundle
from ..prompt.encode import Conditioning, Vectors
from .sd3 import SD3
from .zimage import ZImage

__all__ = ["FlowFamily", "flow_family"]


class FlowFamily(Protocol):
    """One model that was trained by flow matching (Lipman et al., arXiv 2210.02747)."""

    def chunks(self, texts: Sequence[tuple[str, float]], vectors: Vectors) -> int:
        """How many chunks of 75 tokens the texts take; 1 where nothing is cut."""
        ...

    def encode(
        self, texts: Sequence[tuple[str, float]], vectors: Vectors, clip_skip: int, chunks: int
    ) -> Conditioning:
        """One prompt, in at least so many chunks."""
        ...

    def sigmas(self, steps: int) -> list[float] | None:
        """Noise before each step, before the schedule's shift; None for the schedule's own."""
        ...

    def velocity(self, latents: torch.Tensor, time: float, told: Conditioning) -> torch.Tensor:
        """Where the noised latents N x C x h x w come from, noise minus picture, alike in shape.

        ``time`` in [0, 1000]: thousandths of noise in them.
        """
        ...


def flow_family(bundle: ModelBundle) -> FlowFamily | None:
    """None for UNets, which ``denoiser`` and ``prompt.encode`` know by themselves."""
    if not bundle.is_flow:
        return None
    return ZImage(bundle) if bundle.info.family == "zimage" else SD3(bundle)
