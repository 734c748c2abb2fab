"""A UNet and all that it is told enter as plain tensors; its output leaves."""

from __future__ import annotations

from typing import Any

import torch

from .control.reference import References
from .control.regional import Regional
from .joined import JoinedLayers

__all__ = ["UNetWithExtras"]


class UNetWithExtras(torch.nn.Module):
    """The UNet with plain tensors in and out, as tracing wants it.

    Latents N x C x h x w, a timestep (0-dimensional), embeddings N x T x width, and then, in this
    order: the ``references``' tokens and a scale for each, what the ``regional`` texts need, with
    ``pooled`` the text's vector and SDXL's six sizes, with ``scaled`` the embedding of the guidance
    scale (LCM models), and what controls add: ``down`` residuals and one for the middle, and
    ``within`` features.
    """

    def __init__(
        self, unet: Any, down: int = 0, within: int = 0, *, references: References | None = None,
        regional: Regional | None = None, pooled: bool = False, scaled: bool = False,
        joined: JoinedLayers | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        # As the UNet is. ``eval`` would walk through all of its layers, at every step.
        self.training = False
        self.unet = unet
        self._down, self._within = down, within
        self._references = references or References()
        self._regional = regional or Regional()
        self._pooled, self._scaled = pooled, scaled
        self._joined = joined

    @property
    def is_pure(self) -> bool:
        """Whether it listens to its inputs alone: not to processors that others set up."""
        return not self._references.tokens and self._regional.rack is None

    @property
    def is_current(self) -> bool:
        """Whether the UNet is set up for these references, and for no others."""
        laid = {each for each in self.unet.attn_processors.values() if hasattr(each, "to_k_ip")}
        return laid == set(self._references.processors)

    @property
    def form(self) -> tuple[int, int]:
        """How many of the inputs are residuals, and how many features."""
        return self._down, self._within

    def forward(
        self, latents: torch.Tensor, timestep: torch.Tensor, embeds: torch.Tensor,
        *extras: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        if self._joined is not None:
            self._joined.forget()
        added: dict[str, Any] = {}
        if count := len(self._references.tokens):
            added["image_embeds"] = list(extras[:count])
            self._references.use(extras[count : 2 * count])
            extras = extras[2 * count :]
        if rack := self._regional.rack:
            used = self._regional.count + rack.levels
            rack.use(extras[:used], self._regional.count)
            extras = extras[used:]
        if self._pooled:
            added |= {"text_embeds": extras[0], "time_ids": extras[1]}
            extras = extras[2:]
        condition = None
        if self._scaled:
            condition, extras = extras[0], extras[1:]
        skips = self._down + 1 if self._down else 0
        try:
            return self.unet(
                latents,
                timestep,
                encoder_hidden_states=embeds,
                timestep_cond=condition,
                added_cond_kwargs=added or None,
                down_block_additional_residuals=extras[: self._down] if self._down else None,
                mid_block_additional_residual=extras[self._down] if self._down else None,
                # A list: the UNet takes them out one by one.
                down_intrablock_additional_residuals=list(extras[skips:]) if self._within else None,
                return_dict=False,
            )[0]
        finally:
            # Also where memory ran out: the next picture may have no regions.
            if rack := self._regional.rack:
                rack.use((), 0)
