"""Noisy latents, a prompt and controls enter; denoised latents leave, some steps later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams

from ..errors import RenderCancelled
from ..models.loader import ModelBundle
from .cache import StageCache
from .control.residuals import Extras, Steering
from .frozen import frozen
from .sampling import Repaint, Schedule, lcm_step
from .stages import embed_prompts, seeded_noise

__all__ = ["Denoiser", "Start", "UNetWithExtras"]


class UNetWithExtras(torch.nn.Module):
    """The UNet with plain tensors in and out, as tracing wants it.

    Latents N x C x h x w, a timestep (0-dimensional), embeddings N x 77 x width, and then what
    controls add: ``down`` residuals and one for the middle, and ``within`` features.
    """

    def __init__(self, unet: Any, down: int = 0, within: int = 0) -> None:
        super().__init__()
        self.unet = unet
        self._down, self._within = down, within

    def forward(
        self, latents: torch.Tensor, timestep: torch.Tensor, embeds: torch.Tensor,
        *extras: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        skips = self._down + 1 if self._down else 0
        return self.unet(
            latents,
            timestep,
            encoder_hidden_states=embeds,
            down_block_additional_residuals=extras[: self._down] if self._down else None,
            mid_block_additional_residual=extras[self._down] if self._down else None,
            # A list: the UNet takes them out one by one.
            down_intrablock_additional_residuals=list(extras[skips:]) if self._within else None,
            return_dict=False,
        )[0]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where denoising begins: noisy ``latents`` (1 x C x h x w) at ``timesteps[0]``.

    ``repaint`` holds what is to stay; ``condition`` is what an inpaint checkpoint is told.
    """

    latents: torch.Tensor
    extent: Extent
    timesteps: tuple[int, ...]
    repaint: Repaint | None = None
    condition: torch.Tensor | None = None


class Denoiser:
    """Prompts, noises and the UNet of one model, each kept for as long as it may be needed."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self.schedule = Schedule.from_scheduler(bundle.scheduler)
        self.prompts: StageCache[torch.Tensor] = StageCache(16)
        self.noises: StageCache[torch.Tensor] = StageCache(4)
        self._unets: StageCache[Callable[..., Any]] = StageCache(4)

    @property
    def takes_masks(self) -> bool:
        """Whether this is an inpaint checkpoint: mask and known latents are inputs, too."""
        config = self._bundle.unet.config
        return int(config["in_channels"]) == 2 * int(config["out_channels"]) + 1

    def noise(self, seed: int, extent: Extent, count: int) -> torch.Tensor:
        """``count`` noises for pictures of ``extent``: count x 1 x C x h x w."""
        scale = self._bundle.latent_scale
        channels = int(self._bundle.unet.config["out_channels"])
        shape = (1, channels, extent.height // scale, extent.width // scale)
        device = self._bundle.device.torch_device
        # The generator gives the same first noises for any count: the seed keeps its meaning.
        return self.noises.get(
            (seed, shape, count), lambda: seeded_noise(seed, shape, count).to(device)
        )

    def embed(self, params: RenderParams) -> torch.Tensor:
        """1 x 77 x width, or 2 x 77 x width with the negative prompt first under guidance."""

        def one(prompt: str) -> torch.Tensor:
            return self.prompts.get(prompt, lambda: embed_prompts(self._bundle, [prompt]))

        positive = one(params.prompt)
        if params.guidance_scale <= 1.0:
            return positive
        return torch.cat([one(params.negative_prompt), positive])

    def run(
        self,
        params: RenderParams,
        start: Start,
        embeds: torch.Tensor,
        steering: Steering,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> torch.Tensor:
        """Clean latents 1 x C x h x w. Raises ``RenderCancelled`` between two steps."""
        latents, condition, count = start.latents, start.condition, len(start.timesteps)
        if condition is None and self.takes_masks:
            # Such a network wants a mask always: repaint all, and nothing is known.
            condition = torch.zeros_like(latents)
            condition = torch.cat([torch.ones_like(latents[:, :1]), condition], dim=1)
        noise = self.noise(params.seed, start.extent, count)
        for n, timestep in enumerate(start.timesteps):
            if should_stop():
                raise RenderCancelled
            is_last = n + 1 == count
            if start.repaint is not None:
                latents = start.repaint.held(latents, noise[n], timestep, n, count, self.schedule)
            output = self._predict(
                latents, timestep, embeds, params.guidance_scale, condition, steering, n / count
            )
            latents = lcm_step(
                latents,
                output,
                timestep,
                -1 if is_last else start.timesteps[n + 1],
                None if is_last else noise[n + 1],
                self.schedule,
            )
            on_step(n + 1, count)
        if start.repaint is not None:
            latents = start.repaint.finished(latents)
        if should_stop():
            raise RenderCancelled
        return latents

    def _predict(
        self,
        latents: torch.Tensor,
        timestep: int,
        embeds: torch.Tensor,
        guidance: float,
        condition: torch.Tensor | None,
        steering: Steering,
        part: float,
    ) -> torch.Tensor:
        dtype, batch = self._bundle.device.dtype, embeds.shape[0]
        when = torch.tensor(timestep, device=latents.device)
        plain = latents.to(dtype).expand(batch, -1, -1, -1).contiguous()
        extras = steering.extras(plain, when, embeds, part) or Extras()
        if condition is not None:
            both = torch.cat([latents, condition], dim=1)
            plain = both.to(dtype).expand(batch, -1, -1, -1).contiguous()
        inputs = (plain, when, embeds, *extras.tensors)
        down, within = len(extras.down), len(extras.within)
        unet = self._unets.get(
            (plain.shape, embeds.shape, down, within),
            lambda: frozen(UNetWithExtras(self._bundle.unet, down, within).eval(), inputs),
        )
        output = unet(*inputs).float()
        if batch == 1:
            return output
        negative, positive = output.chunk(2)
        return negative + guidance * (positive - negative)
