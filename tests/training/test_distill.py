"""Distilling: the consistency function's boundary, its targets and the student's own first step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler

from training.distill_lcm import LAST, begun, boundary, consistency_target, drawn_starts
from training.networks import SCHEDULER

SIGNAL = DDPMScheduler(**SCHEDULER).alphas_cumprod


def knowing(picture: torch.Tensor) -> Any:
    """A model that finds ``picture`` in any noise: v is what leads there exactly."""

    def model(noisy: torch.Tensor, timesteps: torch.Tensor, encoder_hidden_states: Any) -> Any:
        alpha = (SIGNAL[timesteps] ** 0.5).view(-1, 1, 1, 1)
        sigma = (1 - alpha**2) ** 0.5
        return SimpleNamespace(sample=(alpha * noisy - picture) / sigma)

    return model


def test_nearly_clean_latents_are_kept_and_noise_is_not() -> None:
    skip, out = boundary(torch.tensor([0, 19, 999]))
    assert skip[0].item() == 1.0
    assert out[0].item() == 0.0
    assert skip[2].item() < 1e-6
    assert out[2].item() > 0.999


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


def test_a_student_that_knows_the_picture_is_its_own_target() -> None:
    torch.manual_seed(0)
    picture, noisy = torch.randn(2, 1, 4, 8, 8)
    model = knowing(picture)
    target = consistency_target(
        lambda both, timesteps, encoder_hidden_states: SimpleNamespace(
            sample=torch.cat([model(both[:1], timesteps[:1], None).sample] * 2)
        ),
        model, noisy, torch.tensor([599]), torch.zeros(1, 7, 192), torch.zeros(1, 7, 192),
        torch.ones(1, 1, 1, 1), SIGNAL, 20, picture, torch.ones(1, 1, 8, 8),
    )  # fmt: skip
    assert torch.allclose(target, picture, atol=1e-3)


def test_what_is_distilled_begins_in_much_noise_and_what_is_told_leaves_a_step_before() -> None:
    torch.manual_seed(0)
    starts = drawn_starts(4000, 1000)
    noisy, told = starts[:3000], starts[3000:]
    assert noisy.min() >= 499
    assert 0.4 < (noisy == LAST).float().mean() < 0.5
    assert told.min() >= 0
    assert told.max() + 250 <= LAST
