"""A few-step model with a ControlNet: what leads it, and what it is taught to say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from training.distill_lcm import LAST, LORA_TARGETS, told_by
from training.led import LED, Led, few_step_base, led_target
from training.networks import SCHEDULER, make_unet
from training.train_control import make_controlnet
from training.workspace import save_checkpoint

SIGNAL = DDPMScheduler(**SCHEDULER).alphas_cumprod


def few_steps_of(unet: Any, folder: Path, *, change: float) -> Any:
    """The few-step model of a LoRA whose outer half is ``change`` everywhere."""
    student = make_unet()
    student.load_state_dict(unet.state_dict())
    student.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=LORA_TARGETS))
    lora = get_peft_model_state_dict(student)
    outer = {key: torch.full_like(value, change) for key, value in lora.items() if "lora_B" in key}
    save_checkpoint(folder / "lcm.pt", {"lora": {**lora, **outer}})
    return few_step_base(folder, unet)


def test_the_few_step_model_is_the_base_with_its_lora(tmp_path: Path) -> None:
    torch.manual_seed(0)
    unet = make_unet().eval()
    latents, words = torch.randn(1, 4, 16, 16), torch.randn(1, 7, 192)
    with torch.inference_mode():
        plain = unet(latents, 500, encoder_hidden_states=words).sample
        same = few_steps_of(unet, tmp_path, change=0.0)(latents, 500, words).sample
        other = few_steps_of(unet, tmp_path, change=0.01)(latents, 500, words).sample
    assert torch.allclose(plain, same, atol=1e-5)
    assert (plain - other).abs().max() > 1e-3


def test_a_pose_that_is_to_be_guided_wants_the_few_step_model_first(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="distill_lcm"):
        few_step_base(tmp_path, make_unet())


def test_a_led_unet_is_the_unet_as_long_as_the_controlnet_is_silent() -> None:
    torch.manual_seed(0)
    unet = make_unet().eval()
    led = Led(unet, make_controlnet(unet).eval(), torch.rand(1, 3, 128, 128))
    latents, words = torch.randn(1, 4, 16, 16), torch.randn(1, 7, 192)
    with torch.inference_mode():
        alone = unet(latents, torch.tensor([500]), encoder_hidden_states=words).sample
        both = led(latents, torch.tensor([500]), encoder_hidden_states=words).sample
    assert torch.equal(alone, both)


def says(*values: float) -> Any:
    """A stand-in for a UNet: each call says the next velocity everywhere; residuals add to it."""
    left = list(values)

    def call(noisy: torch.Tensor, _timesteps: torch.Tensor, **given: Any) -> Any:
        added = given.get("mid_block_additional_residual", 0.0)
        return SimpleNamespace(sample=torch.full_like(noisy, left.pop(0)) + added)

    return call


def adds(value: float) -> Any:
    """A stand-in for a ControlNet."""
    return lambda *_args, **_given: ((), value)


def test_what_is_taught_is_guided_away_from_neither_words_nor_hint() -> None:
    noisy, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([800, 900])
    words = torch.zeros(2, 7, 4)
    told = led_target(
        says(0.25, 0.5), says(), adds(0.5), torch.zeros(2, 3, 64, 64), noisy, timesteps, words,
        words[:1], SIGNAL, 0,
    )  # fmt: skip
    guided = torch.full_like(noisy, 0.25 + LED * (0.5 + 0.5 - 0.25))
    assert torch.allclose(told, told_by(guided, noisy, timesteps, SIGNAL)[0])


def test_a_first_step_is_taught_what_its_other_three_end_with() -> None:
    noisy, words = torch.randn(2, 4, 8, 8), torch.zeros(2, 7, 4)
    timesteps = torch.tensor([LAST, 749])
    hint = torch.zeros(2, 3, 64, 64)
    told = led_target(
        says(0.0, 0.0), says(0.1, 0.2, 0.3), adds(0.0), hint, noisy, timesteps, words, words[:1],
        SIGNAL, 1,
    )  # fmt: skip
    x0, eps = told_by(torch.zeros_like(noisy), noisy, timesteps, SIGNAL)
    assert torch.allclose(told[1], x0[1])
    x0, eps = x0[:1], eps[:1]
    for at, v in ((749, 0.1), (499, 0.2), (249, 0.3)):
        noised = SIGNAL[at].sqrt() * x0 + (1 - SIGNAL[at]).sqrt() * eps
        x0, eps = told_by(torch.full_like(noised, v), noised, torch.tensor([at]), SIGNAL)
    assert torch.allclose(told[:1], x0, atol=1e-5)
