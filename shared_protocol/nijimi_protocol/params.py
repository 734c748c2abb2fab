"""What the painter set in the docker enters; a checked, frozen RenderParams leaves."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace

from .errors import RejectedChange
from .inpaint import InpaintParams
from .limits import Limits

__all__ = ["MAX_SEED", "MAX_STEPS", "SAMPLERS", "SCHEDULES", "RenderMode", "RenderParams"]

MAX_SEED = 2**32 - 1
"""Seeds are 32 bit, as painters know them from the web UIs."""

MAX_STEPS = 100


SAMPLERS = ("auto", "lcm", "tcd", "ddim", "euler", "euler_a", "heun", "dpmpp_2m", "dpmpp_2m_sde",
            "dpmpp_sde", "unipc")  # fmt: skip
"""Ways through the noise, by the names that ComfyUI gives them; "auto" is what the model wants."""

SCHEDULES = ("auto", "normal", "karras", "exponential", "trailing")
"""How a sampler's steps are spread; "auto" is what the model and the sampler want."""


class RenderMode(str, enum.Enum):
    """Where the picture starts from."""

    IMG2IMG = "img2img"
    TXT2IMG = "txt2img"
    INPAINT = "inpaint"


@dataclass(frozen=True, kw_only=True)
class RenderParams:
    """One state of the docker.

    ``strength`` in [0, 1]: 0 leaves the canvas unchanged, any value above runs at least one step.
    ``guidance_scale`` 1 means no classifier-free guidance. ``model`` "" is the backend's default,
    ``vae`` "" the model's own autoencoder.
    ``live`` false pauses rendering and keeps the mirror up to date. ``prompt_blend`` in [0, 1]
    goes from ``prompt`` to ``second_prompt``. ``clip_skip`` counts the text encoder's layers from
    the end (1: the last), 0 is what the model was trained on. ``eta`` in [0, 1] is how much fresh
    noise DDIM adds (TCD: gamma); ``guidance_rescale`` in [0, 1] as in arXiv 2305.08891.
    """

    prompt: str = ""
    negative_prompt: str = ""
    strength: float = 0.6
    num_inference_steps: int = 4
    guidance_scale: float = 1.0
    seed: int = 0
    mode: RenderMode = RenderMode.IMG2IMG
    model: str = ""
    vae: str = ""
    live: bool = True
    refine: bool = True
    sampler: str = "auto"
    schedule: str = "auto"
    eta: float = 0.0
    guidance_rescale: float = 0.0
    clip_skip: int = 0
    second_prompt: str = ""
    prompt_blend: float = 0.0
    inpaint: InpaintParams = field(default_factory=InpaintParams)

    def variation(self, index: int) -> RenderParams:
        """Those of the picture ``index`` of a batch: seeds follow each other, modulo 2**32."""
        return replace(self, seed=(self.seed + index) % (MAX_SEED + 1))

    def checked(self, limits: Limits, revision: int = 0) -> RenderParams:
        """Itself, or ``RejectedChange`` with what is wrong and what to do."""
        limits.check_prompt(self.prompt, "prompt", revision)
        limits.check_prompt(self.negative_prompt, "negative prompt", revision)
        limits.check_prompt(self.second_prompt, "second prompt", revision)
        _check_range("blend of prompts", self.prompt_blend, 0.0, 1.0, revision)
        _check_range("eta", self.eta, 0.0, 1.0, revision)
        _check_range("guidance rescale", self.guidance_rescale, 0.0, 1.0, revision)
        _check_range("clip skip", self.clip_skip, 0, 12, revision)
        _check_choice("sampler", self.sampler, SAMPLERS, revision)
        _check_choice("schedule", self.schedule, SCHEDULES, revision)
        _check_range("strength", self.strength, 0.0, 1.0, revision)
        _check_range("guidance scale", self.guidance_scale, 0.0, 30.0, revision)
        _check_range("number of steps", self.num_inference_steps, 1, MAX_STEPS, revision)
        _check_range("seed", self.seed, 0, MAX_SEED, revision)
        if len(self.model) > 256 or len(self.vae) > 256:
            raise RejectedChange("params", "The model's name is too long.", "", revision)
        self.inpaint.checked(revision)
        return self


def _check_choice(name: str, value: str, known: tuple[str, ...], revision: int) -> None:
    if value not in known:
        raise RejectedChange(
            "params",
            f"There is no {name} named {value[:40]!r}.",
            f"Choose one of: {', '.join(known)}.",
            revision,
        )


def _check_range(name: str, value: float, low: float, high: float, revision: int) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise RejectedChange(
            "params",
            f"The {name} is {value}; it must be a number from {low:g} to {high:g}.",
            "Set it again; the last good value stays in use.",
            revision,
        )
