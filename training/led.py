"""A UNet, a ControlNet and hints enter; what they say together, and should say, leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils import set_peft_model_state_dict

from .distill_lcm import LORA_TARGETS, finished, told_by
from .networks import make_unet
from .workspace import load_checkpoint

__all__ = ["Led", "few_step_base", "led_target"]


LED = 2.0
"""Guidance of words and hint together. What words alone are distilled with (3.5) gave glaring
colours where both counted so much."""


class Led:
    """A UNet with a ControlNet beside it, called as the UNet alone is."""

    def __init__(self, unet: Any, network: Any, hint: torch.Tensor) -> None:
        """``hint``: N x 3 x 8h x 8w in [0, 1], for N x 4 x h x w latents."""
        self._unet, self._network, self._hint = unet, network, hint

    def __call__(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, *, encoder_hidden_states: torch.Tensor
    ) -> Any:
        down, middle = self._network(
            noisy, timesteps, encoder_hidden_states=encoder_hidden_states,
            controlnet_cond=self._hint, return_dict=False,
        )  # fmt: skip
        return self._unet(
            noisy, timesteps, encoder_hidden_states=encoder_hidden_states,
            down_block_additional_residuals=down, mid_block_additional_residual=middle,
        )  # fmt: skip


def few_step_base(folder: Path, unet: Any) -> Any:
    """A copy of the base with the LCM-LoRA in its weights, not to be trained."""
    saved = load_checkpoint(folder / "lcm.pt")
    if saved is None:
        raise SystemExit("Distil it first (python -m training.distill_lcm), or pass --guided 0.")
    made = make_unet()
    made.load_state_dict(unet.state_dict())
    rank = next(value.shape[0] for key, value in saved["lora"].items() if "lora_A" in key)
    made.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_TARGETS))
    set_peft_model_state_dict(made, saved["lora"])
    # Beside the weights it would cost half as much again in each call.
    made.fuse_lora()
    made.unload_lora()
    return made.requires_grad_(False).eval()


@torch.no_grad()
def led_target(
    base: Any,
    few: Any,
    network: Any,
    hint: torch.Tensor,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    embeds: torch.Tensor,
    nothing: torch.Tensor,
    signal: torch.Tensor,
    first: int,
) -> torch.Tensor:
    """The picture that the led few-step model should see in ``noisy``, N x C x h x w.

    What the led base says with guidance away from what it says without words and without hint, so
    that the hint counts as much more as the words do. The ``first`` rows are at the first step:
    for them, what four steps end with.
    """
    blank = base(noisy, timesteps, encoder_hidden_states=nothing.expand_as(embeds)).sample.float()
    led = Led(base, network, hint)
    given = led(noisy, timesteps, encoder_hidden_states=embeds).sample.float()
    v = blank + LED * (given - blank)
    x0, eps = told_by(v, noisy, timesteps, signal)
    if first:
        x0[:first] = finished(
            Led(few, network, hint[:first]), (x0[:first], eps[:first]), embeds[:first],
            signal, x0[:first], torch.ones_like(x0[:first, :1]),
        )  # fmt: skip
    return x0
