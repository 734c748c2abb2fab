"""A sampler's name and a strength enter; the steps of one flow-matching picture leave.

Rectified flow (Liu et al., arXiv 2209.03003): noised latents are (1 - sigma) picture + sigma noise,
and the network says noise - picture. The solvers are diffusers'.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from ...errors import BadInput
from ..samplers import Run, count_steps
from .family import FlowFamily

__all__ = ["FLOW_SAMPLERS", "FlowRun", "make_flow_run"]

_TIMES = 1000.0
"""Networks are told the noise in thousandths."""

_MULTISTEP: dict[str, Any] = {
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}

FLOW_SAMPLERS = ("euler", *_MULTISTEP)


class FlowRun:
    """One of diffusers' solvers, begun where the strength says; see ``samplers.Run``."""

    def __init__(self, scheduler: Any, begin: int) -> None:
        self._scheduler = scheduler
        self._sigmas = [float(sigma) for sigma in scheduler.sigmas[begin:]]
        self._asked = scheduler.timesteps[begin:]
        scheduler.set_begin_index(begin)
        self._last: torch.Tensor | None = None

    @property
    def timesteps(self) -> tuple[float, ...]:
        # One more sigma than steps: the picture's.
        return tuple(sigma * _TIMES for sigma in self._sigmas[:-1])

    def begin(self, latents: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
        return noise if latents is None else self.noised(latents, noise, 0)

    def scaled(self, latents: torch.Tensor, n: int) -> torch.Tensor:
        return latents

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, n: int) -> torch.Tensor:
        return torch.lerp(latents, noise, self._sigmas[n])

    def step(
        self, output: torch.Tensor, n: int, latents: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        self._last = latents - self._sigmas[n] * output
        return self._scheduler.step(output, self._asked[n], latents).prev_sample

    def guess(self) -> torch.Tensor:
        assert self._last is not None, "no step was made"
        return self._last

    def part(self, n: int) -> float:
        return n / len(self._asked)


def make_flow_run(
    family: FlowFamily, sampler: str, schedule_name: str, strength: float, steps: int,
    config: Mapping[str, Any], device: torch.device,
) -> Run | None:  # fmt: skip
    """The steps to run; None for strength 0. ``steps`` really run, whatever the strength.

    ``config``: the model's scheduler configuration. Raises ``BadInput`` for a sampler or a schedule
    that such models do not have.
    """
    if strength <= 0.0:
        return None
    if sampler not in FLOW_SAMPLERS or schedule_name not in ("auto", "normal"):
        what = sampler if sampler not in FLOW_SAMPLERS else f"{schedule_name} schedule"
        raise BadInput(
            f"This model has no {what}.",
            f"Choose auto, or one of the samplers {', '.join(FLOW_SAMPLERS)} with the schedule "
            "normal.",
        )
    whole, run = count_steps(steps, strength)
    if sampler == "euler":
        taken = inspect.signature(FlowMatchEulerDiscreteScheduler.__init__).parameters
        given = {key: value for key, value in config.items() if key in taken}
        scheduler: Any = FlowMatchEulerDiscreteScheduler(**given)
        # Where the shift depends on the picture's size, the middle of its range is taken.
        middle = (float(config.get("base_shift", 0.5)) + float(config.get("max_shift", 1.15))) / 2
        shift = {"mu": middle} if config.get("use_dynamic_shifting") else {}
        sigmas = family.sigmas(whole)
        told = {"num_inference_steps": whole} if sigmas is None else {"sigmas": sigmas}
        scheduler.set_timesteps(**told, device=device, **shift)
    else:
        scheduler = _MULTISTEP[sampler](
            use_flow_sigmas=True,
            flow_shift=float(config.get("shift", 1.0)),
            prediction_type="flow_prediction",
        )
        scheduler.set_timesteps(whole, device=device)
    return FlowRun(scheduler, whole - run)
