"""A network and example inputs enter; the same function with its weights packed leaves.

On a CPU an eager convolution repacks its weights for oneDNN at every call, which costs a small
UNet more than the arithmetic: nijimi-mini's forward took 37 ms eager and 23 ms frozen on two Ice
Lake cores. Tracing fixes the shapes, so there is one frozen function a shape; the weights are
held twice, so large networks stay eager.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["MAX_FROZEN_PARAMETERS", "UNetFunction", "eager_unet", "frozen_unet"]

log = logging.getLogger(__name__)

MAX_FROZEN_PARAMETERS = 100_000_000

UNetFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Latents N x C x h x w, a timestep (0-dimensional tensor), embeddings N x 77 x width."""


class _Plain(torch.nn.Module):
    """The UNet with plain tensors in and out, as tracing wants it."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, latents: torch.Tensor, timestep: torch.Tensor, prompt_embeds: torch.Tensor
    ) -> torch.Tensor:
        return self.unet(latents, timestep, encoder_hidden_states=prompt_embeds, return_dict=False)[
            0
        ]


def eager_unet(unet: Any) -> UNetFunction:
    """The network as it is."""
    return _Plain(unet).eval()


def frozen_unet(
    unet: Any, latents: torch.Tensor, timestep: torch.Tensor, prompt_embeds: torch.Tensor
) -> UNetFunction:
    """A traced, frozen copy for inputs of these shapes; the eager one where that cannot be."""
    plain = _Plain(unet).eval()
    is_large = sum(p.numel() for p in unet.parameters()) > MAX_FROZEN_PARAMETERS
    if is_large or latents.device.type != "cpu" or latents.dtype != torch.float32:
        return plain
    try:
        # Inference tensors cannot be traced: the examples are copied outside of that mode.
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            examples = tuple(x.clone() for x in (latents, timestep, prompt_embeds))
            traced = torch.jit.trace(plain, examples, check_trace=False)
            frozen: Any = torch.jit.freeze(traced)
            # The first calls specialise the graph; they must not fall into a painter's frame.
            for _ in range(2):
                frozen(*examples)
    except (RuntimeError, TypeError, ValueError):
        log.warning("the UNet cannot be frozen; it stays eager", exc_info=True)
        return plain
    return frozen
