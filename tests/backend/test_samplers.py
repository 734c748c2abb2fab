"""Samplers: each way through the noise solves the equation that its paper states.

The data are one Gaussian, so the best denoiser is known in closed form, and so is the solution of
the probability flow equation (Song et al., arXiv 2011.13456; Karras et al., arXiv 2206.00364,
equation 1): a sample at noise sigma keeps its place among its like,
x(sigma) = mean + (x(start) - mean) sqrt((s^2 + sigma^2) / (s^2 + start^2)).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from nijimi_backend.engine.samplers import Run, make_way
from nijimi_backend.engine.sampling import Schedule
from nijimi_backend.errors import BadInput
from nijimi_backend.models.architecture import scheduler_config
from nijimi_protocol.params import SAMPLERS, RenderParams

CONFIG = scheduler_config(predicts_v=False)
SCHEDULE = Schedule.from_config(CONFIG)
MEAN, SPREAD = 0.7, 0.5
ODE = ("ddim", "euler", "heun", "dpmpp_2m", "unipc")
SDE = ("euler_a", "dpmpp_2m_sde", "dpmpp_sde")


def _run(sampler: str, steps: int, strength: float = 1.0, schedule: str = "auto") -> Run:
    way = make_way(sampler, schedule, strength, steps, SCHEDULE, CONFIG)
    assert way is not None
    return way(RenderParams(seed=3))


def _alpha_at(timestep: float) -> float:
    """Schedules of sigmas fall between two whole timesteps."""
    low = math.floor(timestep)
    high = min(999, low + 1)
    sigmas = [math.sqrt((1 - a) / a) for a in map(SCHEDULE.alpha, (low, high))]
    sigma = math.exp(
        math.log(sigmas[0]) + (timestep - low) * (math.log(sigmas[1]) - math.log(sigmas[0]))
    )
    return 1.0 / (1.0 + sigma**2)


def _solve(
    run: Run,
    noise: torch.Tensor,
    clean: torch.Tensor | None = None,
    stepped: Callable[[torch.Tensor], None] = lambda _x0: None,
) -> torch.Tensor:
    """Denoise with the exact denoiser of the Gaussian; after each step ``stepped`` hears what that
    took the data to be."""
    latents = run.begin(clean, noise)
    for n, timestep in enumerate(run.timesteps):
        alpha = _alpha_at(timestep)
        inputs = run.scaled(latents, n)  # sqrt(a) x0 + sqrt(1 - a) e
        signal, sigma = math.sqrt(alpha), math.sqrt(1 - alpha)
        gain = signal * SPREAD**2 / (alpha * SPREAD**2 + sigma**2)
        x0 = MEAN + gain * (inputs - signal * MEAN)
        epsilon = (inputs - signal * x0) / sigma
        latents = run.step(epsilon, n, latents, noise)
        stepped(x0)
    return latents


def _exact(noise: torch.Tensor, run: Run) -> torch.Tensor:
    alpha = _alpha_at(run.timesteps[0])
    start = run.scaled(run.begin(None, noise), 0) / math.sqrt(alpha)  # x0 + sigma e
    sigma = math.sqrt((1 - alpha) / alpha)
    return MEAN + (start - MEAN) * SPREAD / math.sqrt(SPREAD**2 + sigma**2)


def _error(run: Run, noise: torch.Tensor) -> float:
    # First, while the run is still at its start.
    exact = _exact(noise, run)
    return float((_solve(run, noise) - exact).abs().mean())


def _noise(count: int = 4096) -> torch.Tensor:
    return torch.randn(1, 1, 1, count, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sampler", ODE)
def test_deterministic_samplers_solve_the_flow(sampler: str) -> None:
    noise = _noise()
    errors: list[float] = []
    for steps in (10, 40):
        run = _run(sampler, steps)
        errors.append(_error(run, noise))
    assert errors[1] < 0.05
    # First order: four times the steps, a quarter of the error; higher orders gain more.
    assert errors[1] < 0.45 * errors[0]


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "unipc"])
def test_second_order_beats_first_order(sampler: str) -> None:
    noise = _noise()
    # Karras' steps end small, so that the last one, of first order for all, hardly counts.
    first, second = (_run(name, 20, schedule="karras") for name in ("euler", sampler))
    assert _error(second, noise) < 0.5 * _error(first, noise)


@pytest.mark.parametrize("sampler", [*ODE, *SDE, "lcm", "tcd"])
def test_every_sampler_ends_at_the_data(sampler: str) -> None:
    """The mean is right for all; the spread for those that solve an equation in many steps."""
    made = _solve(_run(sampler, 40), _noise())
    assert float(made.mean()) == pytest.approx(MEAN, abs=0.06)
    if sampler not in ("lcm", "tcd"):
        assert float(made.std()) == pytest.approx(SPREAD, rel=0.15)


@pytest.mark.parametrize("sampler", [*ODE, *SDE, "lcm", "tcd"])
def test_each_step_can_say_what_it_takes_the_picture_to_be(sampler: str) -> None:
    run = _run(sampler, 6)
    far: list[float] = []
    _solve(run, _noise(), stepped=lambda x0: far.append(float((run.guess() - x0).abs().mean())))
    # LCM's boundary condition keeps a little of its input.
    assert max(far) < (0.05 if sampler == "lcm" else 0.005)


@pytest.mark.parametrize("schedule", ["karras", "exponential"])
@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "dpmpp_2m_sde", "unipc"])
def test_schedules_of_sigmas_end_at_the_data(sampler: str, schedule: str) -> None:
    made = _solve(_run(sampler, 40, schedule=schedule), _noise())
    assert float(made.mean()) == pytest.approx(MEAN, abs=0.06)


def test_karras_steps_are_those_of_the_paper() -> None:
    """Equation 5 with rho = 7, between the largest and the smallest sigma of training."""
    run = _run("euler", 10, schedule="karras")
    low, high = (math.sqrt((1 - a) / a) for a in map(SCHEDULE.alpha, (0, 999)))
    expected = [(high ** (1 / 7) + n / 9 * (low ** (1 / 7) - high ** (1 / 7))) ** 7
                for n in range(10)]  # fmt: skip
    found = [math.sqrt((1 - a) / a) for a in map(_alpha_at, run.timesteps)]
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ("auto",)])
@pytest.mark.parametrize(("strength", "steps"), [(1.0, 4), (0.5, 4), (0.3, 7), (0.01, 4)])
def test_as_many_steps_run_as_were_asked_for(sampler: str, strength: float, steps: int) -> None:
    run = _run(sampler, steps, strength)
    calls = len(run.timesteps)
    expected = 2 * steps - 1 if sampler == "heun" else steps
    if strength > 0.1:
        assert calls == expected
    assert 1 <= calls <= expected
    assert run.part(0) == 0.0
    assert list(run.timesteps) == sorted(run.timesteps, reverse=True)
    # A weaker start begins at less noise.
    assert run.timesteps[0] <= 1000 * strength + 25


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ("auto",)])
def test_strength_zero_runs_nothing(sampler: str) -> None:
    assert make_way(sampler, "auto", 0.0, 4, SCHEDULE, CONFIG) is None


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ("auto",)])
def test_runs_of_one_way_know_nothing_of_each_other(sampler: str) -> None:
    way = make_way(sampler, "auto", 0.8, 6, SCHEDULE, CONFIG)
    assert way is not None
    params, noise = RenderParams(seed=3), _noise(16)
    clean = torch.full_like(noise, MEAN)
    alone = _solve(way(params), noise, clean)
    left, whole = way(params), way(params)
    # One is given up on its way, and another goes on beside it.
    left.step(noise, 0, left.begin(clean, noise), noise)
    left.step(noise, 1, noise, noise)
    assert torch.equal(_solve(whole, noise, clean), alone)
    assert torch.equal(_solve(way(params), noise, clean), alone)


@pytest.mark.parametrize("sampler", SDE)
def test_the_same_seed_adds_the_same_noise(sampler: str) -> None:
    noise = _noise(64)
    first, again = (_solve(_run(sampler, 6), noise) for _ in range(2))
    assert torch.equal(first, again)


def test_a_schedule_that_a_sampler_has_not_is_told() -> None:
    with pytest.raises(BadInput, match="euler_a has no karras schedule"):
        _run("euler_a", 4, schedule="karras")
