"""Distilling: what the guided base and the student's own steps see, and where examples begin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from training.distill_lcm import (
    GENTLE,
    HUBER_C,
    LAST,
    LATER_STEPS,
    STRONG,
    begun,
    drawn_starts,
    fills_of,
    finished,
    guided,
    huber,
)
from training.networks import SCHEDULER

SIGNAL = DDPMScheduler(**SCHEDULER).alphas_cumprod


def knowing(picture: torch.Tensor) -> Any:
    """A model that finds ``picture`` in any noise: v is what leads there exactly."""

    def model(noisy: torch.Tensor, timesteps: torch.Tensor, encoder_hidden_states: Any) -> Any:
        alpha = (SIGNAL[timesteps] ** 0.5).view(-1, 1, 1, 1)
        sigma = (1 - alpha**2) ** 0.5
        return SimpleNamespace(sample=(alpha * noisy - picture) / sigma)

    return model


def test_the_first_step_leaves_what_the_programs_sampler_leaves() -> None:
    torch.manual_seed(0)
    picture, noise = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    model, words = knowing(picture), torch.zeros(1, 7, 192)
    everywhere = torch.ones(1, 1, 8, 8)
    last, later = torch.tensor([999]), torch.tensor([749])
    made = begun(model, noise, last, later, words, SIGNAL, picture, everywhere)
    sampler = DDIMScheduler(
        **SCHEDULER, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    sampler.set_timesteps(4)
    v = model(noise, torch.tensor([999]), words).sample
    asked = sampler.step(v, 999, noise).prev_sample  # type: ignore[union-attr]
    assert torch.allclose(made, asked, atol=1e-4)


def test_what_surrounds_a_selection_stays_as_it_is() -> None:
    torch.manual_seed(0)
    known, noise = torch.randn(2, 1, 4, 8, 8)
    learnt = torch.zeros(1, 1, 8, 8)
    learnt[..., :4] = 1
    words, at, later = torch.zeros(1, 7, 192), torch.tensor([999]), torch.tensor([499])
    nothing = knowing(torch.zeros(1, 4, 8, 8))
    made = begun(nothing, noise, at, later, words, SIGNAL, known, learnt)
    assert torch.equal(made[..., 4:], known[..., 4:])
    assert not torch.allclose(made[..., :4], known[..., :4], atol=0.1)


def test_a_student_that_knows_the_picture_ends_with_it() -> None:
    torch.manual_seed(0)
    picture, other, noise, known = torch.randn(4, 1, 4, 8, 8)
    learnt = torch.ones(1, 1, 8, 8)
    learnt[..., :2] = 0
    made = finished(knowing(picture), (other, noise), torch.zeros(1, 7, 192), SIGNAL, known, learnt)
    assert torch.allclose(made[..., 2:], picture[..., 2:], atol=1e-4)
    assert torch.equal(made[..., :2], known[..., :2])


def test_its_other_steps_are_those_that_the_programs_sampler_takes() -> None:
    sampler = DDIMScheduler(**SCHEDULER, timestep_spacing="trailing")
    sampler.set_timesteps(4)
    assert sampler.timesteps is not None
    assert tuple(sampler.timesteps.tolist()) == (LAST, *LATER_STEPS)


def test_guidance_goes_beyond_the_words_and_more_so_in_noise_and_in_selections() -> None:
    blank, given = torch.zeros(3, 4, 8, 8), torch.ones(3, 4, 8, 8)
    torch.manual_seed(0)
    noisy, timesteps = torch.randn(3, 4, 8, 8), torch.tensor([899, 299, 299])
    fills = torch.tensor([False, False, True])

    def teacher(both: torch.Tensor, steps: torch.Tensor, encoder_hidden_states: Any) -> Any:
        # Without words it sees black, with them white.
        is_told = encoder_hidden_states[:, 0, 0] > 0
        picture = torch.where(is_told[:, None, None, None], given.repeat(2, 1, 1, 1), 0.0)
        return knowing(picture)(both, steps, None)

    embeds, nothing = torch.ones(3, 7, 192), torch.zeros(1, 7, 192)
    picture, noise = guided(teacher, noisy, timesteps, embeds, nothing, SIGNAL, fills)
    assert torch.allclose(picture[0], blank[0] + STRONG, atol=1e-3)
    assert torch.allclose(picture[1], blank[1] + GENTLE, atol=1e-3)
    assert torch.allclose(picture[2], blank[2] + STRONG, atol=1e-3)
    alpha = (SIGNAL[timesteps] ** 0.5).view(-1, 1, 1, 1)
    again = alpha * picture + (1 - alpha**2) ** 0.5 * noise
    assert torch.allclose(again, noisy, atol=1e-4)


def test_some_begin_in_pure_noise_and_the_others_anywhere_before() -> None:
    torch.manual_seed(0)
    starts = drawn_starts(1000, 4000)
    assert bool((starts[:1000] == LAST).all())
    assert set(starts[1000:].tolist()) == {50 * n - 1 for n in range(1, 20)}


def test_a_large_difference_counts_as_it_is_and_a_tiny_one_by_its_square() -> None:
    loss = huber(torch.tensor([0.0, 1e-5, 2.0, -2.0]))
    assert loss[0] == 0.0
    assert loss[1] < 1e-6
    assert loss[2] == loss[3] == pytest.approx(2.0 - HUBER_C, abs=1e-4)


def test_half_of_each_kind_fills_a_selection() -> None:
    fills = fills_of(16)
    assert int(fills.sum()) == 8
    assert int(fills[::2].sum()) == 4, "also of those that go on from their own step"
    assert 0 < int(fills[:6].sum()) < 6
