"""Strength, steps and a noise schedule enter; LCM timesteps and the equations of one step leave.

Latent consistency models, Luo et al., arXiv 2310.04378: multistep consistency sampling
(algorithm 2) with the boundary condition of equation 9.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import LCMScheduler

from ..errors import ModelCorrupt

__all__ = [
    "Repaint",
    "Schedule",
    "add_noise",
    "first_step",
    "guidance_embedding",
    "guided",
    "lcm_step",
    "lcm_timesteps",
    "predict_x0",
]

_SIGMA_DATA = 0.5


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What sampling needs of a model's scheduler configuration.

    ``alphas_cumprod`` is a float32 tensor of ``num_train_timesteps`` values, falling.
    """

    alphas_cumprod: torch.Tensor
    prediction_type: str
    original_steps: int
    timestep_scaling: float
    final_alpha: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """Read any of diffusers' scheduler configurations, as its LCMScheduler would."""
        kind = str(config.get("prediction_type", "epsilon"))
        if kind not in ("epsilon", "v_prediction", "sample"):
            raise ModelCorrupt(
                f"The model predicts {kind!r}, which is not known here.",
                "Choose another model, or update Nijimi.",
            )
        taken = inspect.signature(LCMScheduler.__init__).parameters
        scheduler: Any = LCMScheduler(**{k: v for k, v in config.items() if k in taken})
        return cls(
            alphas_cumprod=scheduler.alphas_cumprod.float(),
            prediction_type=kind,
            original_steps=int(scheduler.config["original_inference_steps"]),
            timestep_scaling=float(scheduler.config["timestep_scaling"]),
            final_alpha=float(scheduler.final_alpha_cumprod),
        )

    def alpha(self, timestep: int) -> float:
        """The cumulative alpha at a timestep; -1 stands for the clean picture."""
        return self.final_alpha if timestep < 0 else float(self.alphas_cumprod[timestep])


def first_step(strength: float, original_steps: int) -> int:
    """How many of the solver's ``original_steps`` lie before the start.

    ``strength`` 1 starts at pure noise (0 skipped). Any strength above 0 leaves at least one step
    to run; 0 means that nothing runs, and all are skipped.
    """
    if strength <= 0.0:
        return original_steps
    return original_steps - max(1, min(original_steps, math.ceil(original_steps * strength - 1e-9)))


def lcm_timesteps(num_inference_steps: int, strength: float, schedule: Schedule) -> tuple[int, ...]:
    """The timesteps to visit, falling; empty for strength 0.

    ``num_inference_steps`` is the number that really runs, whatever the strength: the strength
    shortens the way, not the care taken on it. There are never more steps than the solver has.
    At strength 1 these are LCMScheduler's timesteps.
    """
    left = schedule.original_steps - first_step(strength, schedule.original_steps)
    if left == 0:
        return ()
    gap = len(schedule.alphas_cumprod) // schedule.original_steps
    origin = [n * gap - 1 for n in range(left, 0, -1)]
    count = min(num_inference_steps, left)
    return tuple(origin[n * left // count] for n in range(count))


def add_noise(
    latents: torch.Tensor, noise: torch.Tensor, timestep: int, schedule: Schedule
) -> torch.Tensor:
    """Diffuse clean latents to a timestep: sqrt(a) x + sqrt(1 - a) n."""
    alpha = schedule.alpha(timestep)
    return latents * math.sqrt(alpha) + noise * math.sqrt(1.0 - alpha)


def predict_x0(
    latents: torch.Tensor, output: torch.Tensor, timestep: int, schedule: Schedule
) -> torch.Tensor:
    """The clean latents that the network's output means."""
    alpha = schedule.alpha(timestep)
    signal, sigma = math.sqrt(alpha), math.sqrt(1.0 - alpha)
    if schedule.prediction_type == "epsilon":
        return (latents - sigma * output) / signal
    if schedule.prediction_type == "v_prediction":
        return signal * latents - sigma * output
    return output


@dataclass(frozen=True, kw_only=True)
class Repaint:
    """Which latents may change, and what the others must stay.

    Differential diffusion (Levin and Fried, arXiv 2306.00950, algorithm 1): a latent of strength m
    joins late, so that less noise was ever on it. With n steps the strengths fall into n classes:
    in step k (from 0) those above 1 - (k + 1) / n are free, and after the last all above 0.

    ``original``: clean latents, 1 x C x h x w. ``strength_map``: 1 x 1 x h x w in [0, 1].
    ``is_clean``: the network was trained with what stays as it is, without noise, so that its
    first step already sees what it has to fit to; else that carries the step's noise.
    """

    original: torch.Tensor
    strength_map: torch.Tensor
    is_clean: bool = False

    def held(
        self,
        latents: torch.Tensor,
        noised: torch.Tensor,
        clean: torch.Tensor,
        step: int,
        steps: int,
    ) -> torch.Tensor:
        """Latents with the original where nothing is free yet.

        ``noised`` is the original with this step's noise, ``clean`` without any, both at the scale
        of ``latents``; ``clean`` counts only where the network is shown it.
        """
        free = self.strength_map > 1.0 - (step + 1) / steps
        if not self.is_clean:
            return torch.where(free, latents, noised)
        # Without noise until now: what a step made of that counts for nothing.
        joins = self.strength_map <= 1.0 - step / steps
        return torch.where(free, torch.where(joins, noised, latents), clean)

    def finished(self, latents: torch.Tensor) -> torch.Tensor:
        """Clean latents, with the original where nothing was ever free."""
        return torch.where(self.strength_map > 0.0, latents, self.original)


def lcm_step(
    latents: torch.Tensor,
    output: torch.Tensor,
    timestep: int,
    previous: int,
    noise: torch.Tensor | None,
    schedule: Schedule,
) -> torch.Tensor:
    """One step from ``timestep`` to ``previous``; without ``noise`` it is the last one."""
    x0 = predict_x0(latents, output, timestep, schedule)
    scaled = timestep * schedule.timestep_scaling
    spread = scaled**2 + _SIGMA_DATA**2
    c_skip, c_out = _SIGMA_DATA**2 / spread, scaled / math.sqrt(spread)
    denoised = c_out * x0 + c_skip * latents
    if noise is None:
        return denoised
    return add_noise(denoised, noise, previous, schedule)


def guided(
    negative: torch.Tensor, positive: torch.Tensor, scale: float, rescale: float = 0.0
) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598, equation 6), N x C x h x w.

    ``rescale`` in [0, 1] goes towards the positive output's own spread, which a large scale widens
    (Lin et al., arXiv 2305.08891, equations 14 to 16).
    """
    made = negative + scale * (positive - negative)
    if rescale <= 0.0:
        return made
    axes = tuple(range(1, made.dim()))
    spread = positive.std(dim=axes, keepdim=True) / made.std(dim=axes, keepdim=True)
    return rescale * made * spread + (1.0 - rescale) * made


def guidance_embedding(scale: float, width: int) -> torch.Tensor:
    """The guidance scale as distilled models read it, 1 x width: sines and cosines of w = scale - 1
    at 1000 times its size (Luo et al., arXiv 2310.04378, as in its published code)."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32)
    frequencies = torch.exp(steps * -(math.log(10000.0) / (half - 1)))
    angles = max(0.0, scale - 1.0) * 1000.0 * frequencies
    made = torch.cat([angles.sin(), angles.cos()])
    return torch.nn.functional.pad(made, (0, width - 2 * half))[None]
