"""A sampler's name, a schedule and a strength enter; the steps of one picture leave.

LCM is ours (``sampling``), because the live loop is built around it. The others are diffusers'
schedulers, of which tests hold the ones used here to the equations of their papers. Every one is
driven alike: scale what goes into the network, step, and noise a clean picture to a step.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from nijimi_protocol.params import SAMPLERS, RenderParams

from ..errors import BadInput
from .sampling import Schedule, add_noise, lcm_step, lcm_timesteps, predict_x0

__all__ = ["LcmRun", "Run", "Sampler", "SchedulerRun", "Way", "count_steps", "make_way"]


class Run(Protocol):
    """One way from noise to a picture. Timesteps are the network's, 0 to 999; steps count from 0.

    ``calls`` is how often the network runs: two times a step but one for Heun's method.
    """

    @property
    def timesteps(self) -> tuple[float, ...]: ...

    def begin(self, latents: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor: ...

    def scaled(self, latents: torch.Tensor, n: int) -> torch.Tensor: ...

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, n: int) -> torch.Tensor: ...

    def step(
        self, output: torch.Tensor, n: int, latents: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor: ...

    def guess(self) -> torch.Tensor:
        """What the last step took the clean picture to be, 1 x C x h x w."""
        ...

    def part(self, n: int) -> float: ...


Way = Callable[[RenderParams], Run]
"""A run from its beginning: making a scheduler takes longer than the run's own arithmetic."""


class LcmRun:
    """Multistep consistency sampling; ``noise`` of ``step`` is what the next step begins with."""

    def __init__(self, timesteps: tuple[int, ...], schedule: Schedule) -> None:
        self._steps, self._schedule = timesteps, schedule
        self._last: tuple[torch.Tensor, torch.Tensor, int] | None = None

    @property
    def timesteps(self) -> tuple[float, ...]:
        return self._steps

    def begin(self, latents: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
        return noise if latents is None else self.noised(latents, noise, 0)

    def scaled(self, latents: torch.Tensor, n: int) -> torch.Tensor:
        return latents

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, n: int) -> torch.Tensor:
        return add_noise(latents, noise, self._steps[n], self._schedule)

    def step(
        self, output: torch.Tensor, n: int, latents: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        is_last = n + 1 == len(self._steps)
        self._last = latents, output, self._steps[n]
        return lcm_step(
            latents, output, self._steps[n], -1 if is_last else self._steps[n + 1],
            None if is_last else noise, self._schedule,
        )  # fmt: skip

    def guess(self) -> torch.Tensor:
        assert self._last is not None, "no step was made"
        return lcm_step(*self._last, -1, None, self._schedule)

    def part(self, n: int) -> float:
        return n / len(self._steps)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How one of diffusers' schedulers is made. ``schedules``: those that it can follow.

    ``own_strength``: it begins where a strength says by itself, among the steps it was trained on.
    """

    scheduler: Any
    options: Mapping[str, Any]
    schedules: tuple[str, ...] = ("normal", "trailing")
    spacing: str = "linspace"
    order: int = 1
    own_strength: bool = False


_SIGMAS = ("normal", "trailing", "karras", "exponential")

_KNOWN: dict[str, Sampler] = {
    "ddim": Sampler(scheduler=DDIMScheduler, options={"clip_sample": False}, spacing="leading"),
    "euler": Sampler(scheduler=EulerDiscreteScheduler, options={}, schedules=_SIGMAS),
    "euler_a": Sampler(scheduler=EulerAncestralDiscreteScheduler, options={}),
    "heun": Sampler(scheduler=HeunDiscreteScheduler, options={}, schedules=_SIGMAS, order=2),
    "dpmpp_2m": Sampler(
        scheduler=DPMSolverMultistepScheduler,
        options={"algorithm_type": "dpmsolver++", "solver_order": 2},
        schedules=_SIGMAS,
    ),
    "dpmpp_2m_sde": Sampler(
        scheduler=DPMSolverMultistepScheduler,
        options={"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
        schedules=_SIGMAS,
    ),
    "dpmpp_sde": Sampler(
        scheduler=DPMSolverSinglestepScheduler,
        options={"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
        schedules=("normal", "karras", "exponential"),
    ),
    "unipc": Sampler(scheduler=UniPCMultistepScheduler, options={}, schedules=_SIGMAS),
    "tcd": Sampler(
        scheduler=TCDScheduler,
        options={},
        schedules=("normal",),
        spacing="leading",
        own_strength=True,
    ),
}
assert set(_KNOWN) | {"auto", "lcm"} == set(SAMPLERS)


class SchedulerRun:
    """One of diffusers' schedulers, begun where the strength says."""

    def __init__(
        self, scheduler: Any, begin: int, options: Mapping[str, Any], schedule: Schedule
    ) -> None:
        """``options``: what the scheduler's ``step`` takes beside the network's output."""
        self._scheduler, self._schedule, self._options = scheduler, schedule, options
        self._times = scheduler.timesteps[begin:]
        self._numbers = tuple(float(t) for t in self._times)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        self._guess: torch.Tensor | None = None
        self._last: tuple[torch.Tensor, torch.Tensor, int] | None = None

    @property
    def timesteps(self) -> tuple[float, ...]:
        return self._numbers

    def begin(self, latents: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
        if latents is None:
            return noise * float(self._scheduler.init_noise_sigma)
        return self.noised(latents, noise, 0)

    def scaled(self, latents: torch.Tensor, n: int) -> torch.Tensor:
        return self._scheduler.scale_model_input(latents, self._times[n])

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, n: int) -> torch.Tensor:
        return self._scheduler.add_noise(latents, noise, self._times[n : n + 1])

    def step(
        self, output: torch.Tensor, n: int, latents: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        made = self._scheduler.step(output, self._times[n], latents, **self._options)
        # Solvers of higher order keep it, and TCD does neither.
        kept = getattr(self._scheduler, "model_outputs", [None])[-1]
        self._guess = getattr(made, "pred_original_sample", kept)
        self._last = latents, output, n
        return made.prev_sample

    def guess(self) -> torch.Tensor:
        if self._guess is not None:
            return self._guess
        assert self._last is not None, "no step was made"
        latents, output, n = self._last
        return predict_x0(latents, output, int(self._times[n]), self._schedule)

    def part(self, n: int) -> float:
        return n / len(self._times)


def make_way(
    sampler: str,
    schedule_name: str,
    strength: float,
    steps: int,
    schedule: Schedule,
    config: Mapping[str, Any],
) -> Way | None:
    """How runs of these steps begin; None for strength 0. ``steps`` really run, whatever the
    strength.

    ``config``: the model's scheduler configuration. Raises ``BadInput`` for what does not go
    together.
    """
    if sampler == "lcm":
        timesteps = lcm_timesteps(steps, strength, schedule)
        return (lambda _params: LcmRun(timesteps, schedule)) if timesteps else None
    if strength <= 0.0:
        return None
    known = _KNOWN[sampler]
    name = schedule_name if schedule_name != "auto" else "normal"
    if name not in known.schedules:
        raise BadInput(
            f"The sampler {sampler} has no {name} schedule.",
            f"Choose one of: {', '.join(known.schedules)}.",
        )
    scheduler = known.scheduler(**_options(known, name, config))
    # Timesteps stay on the CPU: schedulers look numbers up by them, and a graphics card would have
    # to be waited for at each.
    if known.own_strength:
        origin = int(scheduler.config["original_inference_steps"])
        part = max(strength, 1.0 / origin)
        scheduler.set_timesteps(min(steps, int(origin * part + 1e-9)), strength=part)
        return _way(scheduler, 0, schedule)
    whole, run = count_steps(steps, strength)
    scheduler.set_timesteps(whole)
    count = len(scheduler.timesteps)
    return _way(scheduler, count - min(count, run * known.order - (known.order - 1)), schedule)


def _way(scheduler: Any, begin: int, schedule: Schedule) -> Way:
    """Runs of a scheduler whose steps are set."""
    accepted = inspect.signature(scheduler.step).parameters

    def run(params: RenderParams) -> Run:
        options: dict[str, Any] = {}
        if "eta" in accepted:
            options["eta"] = params.eta
        if "generator" in accepted:
            # On the CPU, so that a seed gives the same noise on every device; not the seed's own,
            # which the picture began with.
            options["generator"] = torch.Generator("cpu").manual_seed(params.seed ^ 0x5EED)
        return SchedulerRun(_unused(scheduler), begin, options, schedule)

    return run


def _unused(scheduler: Any) -> Any:
    """One that no step was made with: they write into lists, and put tensors in place of others."""
    made = copy.copy(scheduler)
    vars(made).update({k: list(v) for k, v in vars(made).items() if isinstance(v, list)})
    return made


def count_steps(steps: int, strength: float) -> tuple[int, int]:
    """Steps of the whole way, and how many of them run: as many as were asked for, if they fit."""
    if strength >= 1.0:
        return steps, steps
    whole = round(steps / strength)
    if whole <= 500:
        return whole, steps
    # Hardly any way is left: fewer steps than asked for, but one at least.
    return 500, max(1, math.floor(500 * strength))


def _options(known: Sampler, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    taken = inspect.signature(known.scheduler.__init__).parameters
    options: dict[str, Any] = {
        key: config[key]
        for key in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule",
                    "prediction_type", "rescale_betas_zero_snr", "set_alpha_to_one",
                    "steps_offset")
        if key in config and key in taken
    }  # fmt: skip
    options["timestep_spacing"] = "trailing" if name == "trailing" else known.spacing
    for key in ("karras", "exponential"):
        if name == key:
            options[f"use_{key}_sigmas"] = True
    options.update(known.options)
    return {key: value for key, value in options.items() if key in taken}
