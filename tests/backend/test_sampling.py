"""Sampling: our equations are those of the paper, as diffusers has them."""

from __future__ import annotations

import itertools

import pytest
import torch
from diffusers import LCMScheduler
from hypothesis import given
from hypothesis import strategies as st
from nijimi_backend.engine.sampling import (
    Repaint,
    Schedule,
    add_noise,
    first_step,
    lcm_step,
    lcm_timesteps,
)


def _reference(prediction_type: str = "epsilon") -> LCMScheduler:
    return LCMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction_type,
        set_alpha_to_one=False,
        clip_sample=False,
    )


SCHEDULE = Schedule.from_config(_reference().config)


@given(st.floats(0, 1), st.integers(1, 200))
def test_any_strength_above_zero_runs_at_least_one_step(strength: float, steps: int) -> None:
    left = steps - first_step(strength, steps)
    assert (left == 0) == (strength == 0)
    assert 0 <= left <= steps


def test_strength_zero_runs_nothing_and_one_runs_all() -> None:
    assert lcm_timesteps(4, 0.0, SCHEDULE) == ()
    assert first_step(1.0, 50) == 0
    assert first_step(1e-9, 50) == 49


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("strength", [1.0, 0.8, 0.5, 0.3])
def test_timesteps_are_those_of_the_reference(steps: int, strength: float) -> None:
    reference = _reference()
    reference.set_timesteps(steps, original_inference_steps=50, strength=strength)
    assert list(lcm_timesteps(steps, strength, SCHEDULE)) == reference.timesteps.tolist()


@given(st.integers(1, 100), st.floats(0.001, 1))
def test_timesteps_fall_and_never_repeat(steps: int, strength: float) -> None:
    found = lcm_timesteps(steps, strength, SCHEDULE)
    assert 1 <= len(found) <= steps
    assert all(a > b for a, b in itertools.pairwise(found))
    assert all(0 <= timestep < 1000 for timestep in found)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_run_of_steps_equals_the_reference(prediction_type: str) -> None:
    reference = _reference(prediction_type)
    schedule = Schedule.from_config(reference.config)
    reference.set_timesteps(4, original_inference_steps=50)
    timesteps = lcm_timesteps(4, 1.0, schedule)
    torch.manual_seed(3)
    ours = theirs = torch.randn(1, 4, 8, 8)
    for n, timestep in enumerate(timesteps):
        output = torch.randn(1, 4, 8, 8)
        is_last = n == len(timesteps) - 1
        generator = torch.Generator().manual_seed(n)
        noise = torch.randn(ours.shape, generator=torch.Generator().manual_seed(n))
        previous = -1 if is_last else timesteps[n + 1]
        ours = lcm_step(ours, output, timestep, previous, None if is_last else noise, schedule)
        theirs = reference.step(output, timestep, theirs, generator=generator, return_dict=False)[0]
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_noise_is_added_as_the_reference_adds_it() -> None:
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 1, 4, 8, 8)
    expected = _reference().add_noise(latents, noise, torch.tensor([499]))  # pyright: ignore[reportArgumentType]
    assert torch.allclose(add_noise(latents, noise, 499, SCHEDULE), expected, atol=1e-5)


def test_weaker_latents_join_later() -> None:
    strength_map = torch.tensor([1.0, 0.6, 0.3, 0.0]).view(1, 1, 1, 4)
    original = torch.zeros(1, 4, 1, 4)
    repaint = Repaint(original=original, strength_map=strength_map)
    latents = torch.ones(1, 4, 1, 4)

    clean = torch.full_like(original, 9.0)

    seen = [repaint.held(latents, original, clean, step, 4)[0, 0, 0].tolist() for step in range(4)]
    assert seen == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    assert repaint.finished(latents)[0, 0, 0].tolist() == [1, 1, 1, 0]


def test_what_stays_is_clean_until_it_joins_noised() -> None:
    strength_map = torch.tensor([1.0, 0.6, 0.3, 0.0]).view(1, 1, 1, 4)
    original = torch.zeros(1, 4, 1, 4)
    repaint = Repaint(original=original, strength_map=strength_map, is_clean=True)
    latents, noised = torch.ones(1, 4, 1, 4), torch.full((1, 4, 1, 4), 7.0)

    seen = [repaint.held(latents, noised, original, n, 4)[0, 0, 0].tolist() for n in range(4)]
    assert seen == [[7, 0, 0, 0], [1, 7, 0, 0], [1, 1, 7, 0], [1, 1, 1, 0]]
