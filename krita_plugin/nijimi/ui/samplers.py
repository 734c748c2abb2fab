"""Nothing enters; samplers and schedules leave, each with text, name and tip, in English."""

from __future__ import annotations

from .fields import Choices

__all__ = ["SAMPLERS", "SCHEDULES"]

SAMPLERS: Choices = (
    ("As the model wants", "auto", "LCM where it can be, else Euler a."),
    ("LCM", "lcm", "2 to 8 steps, with an LCM model or LCM-LoRA."),
    ("TCD", "tcd", "4 to 8 steps, with a Hyper model or a TCD-LoRA."),
    ("Euler a", "euler_a", "10 steps and more; Turbo models: 1 to 4."),
    ("Euler", "euler", "10 steps and more; Lightning models: 2 to 8."),
    ("Heun", "heun", "As Euler, twice as exact and as slow."),
    ("DDIM", "ddim", "10 steps and more."),
    ("DPM++ 2M", "dpmpp_2m", "8 steps and more."),
    ("DPM++ 2M SDE", "dpmpp_2m_sde", "10 steps and more."),
    ("DPM++ SDE", "dpmpp_sde", "8 steps and more."),
    ("UniPC", "unipc", "8 steps and more."),
)

SCHEDULES: Choices = (
    ("As the sampler wants", "auto", "The steps as the sampler and the model want them."),
    ("Even", "normal", "Steps of the same length."),
    ("Karras", "karras", "Small steps at the end, for details: Euler, Heun, DPM++, UniPC."),
    ("Exponential", "exponential", "As Karras, smaller still."),
    ("From the very start", "trailing", "For few steps, with Lightning and Turbo models."),
)
