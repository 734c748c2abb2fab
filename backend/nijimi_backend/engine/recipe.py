"""What a model is and what the painter chose enter; the sampler and its speed adapter leave."""

from __future__ import annotations

from dataclasses import dataclass

from nijimi_protocol.params import RenderParams

from ..models.bundle import ModelBundle
from ..models.library import Library
from ..models.recognise import FileKind
from .prompt.syntax import AdapterUse

__all__ = ["Recipe", "choose_recipe"]

_BY_CLASS = {
    "LCMScheduler": "lcm",
    "TCDScheduler": "tcd",
    "DDIMScheduler": "ddim",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_a",
    "HeunDiscreteScheduler": "heun",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "UniPCMultistepScheduler": "unipc",
}

_BY_WORD = {"lightning": ("euler", "trailing"), "turbo": ("euler_a", "trailing"),
            "hyper": ("tcd", "normal")}  # fmt: skip
"""What models of few steps were distilled for. Their weights do not show it; their names do."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """``adapters``: the prompt's, and an LCM-LoRA where the model needs it for few steps."""

    sampler: str
    schedule: str
    adapters: tuple[AdapterUse, ...]


def choose_recipe(
    params: RenderParams,
    adapters: tuple[AdapterUse, ...],
    bundle: ModelBundle,
    library: Library | None,
) -> Recipe:
    """What the painter chose, and for "auto" what the model was made for.

    A plain checkpoint becomes a live one by an LCM-LoRA of its family in the library: it is laid
    on by itself, unless the prompt names one or another sampler was chosen.
    """
    if bundle.is_flow:
        # No LCM-LoRA is for them; those of few steps have it in their weights.
        sampler = "euler" if params.sampler == "auto" else params.sampler
        return Recipe(sampler=sampler, schedule=params.schedule, adapters=adapters)
    own_sampler, own_schedule = _own(bundle)
    sampler, schedule = params.sampler, params.schedule
    names = [use.name.lower() for use in adapters]
    if sampler in ("auto", "lcm") and own_sampler != "lcm":
        if any("lcm" in name for name in names):
            sampler = "lcm"
        elif (sampler == "lcm" or own_sampler == "") and (found := _speed_lora(bundle, library)):
            sampler = "lcm"
            adapters = (*adapters, AdapterUse(name=found, unet_weight=1.0, te_weight=1.0))
    if sampler == "auto":
        sampler = own_sampler or "euler_a"
        if schedule == "auto":
            schedule = own_schedule
    return Recipe(sampler=sampler, schedule=schedule, adapters=adapters)


def _own(bundle: ModelBundle) -> tuple[str, str]:
    """The sampler and schedule that a model was distilled for; "" for a plain one."""
    if bundle.guidance_width:
        return "lcm", "auto"
    config = bundle.scheduler_config
    name = str(config.get("_class_name", ""))
    spacing = "trailing" if config.get("timestep_spacing") == "trailing" else "auto"
    if name == "LCMScheduler" or (name in _BY_CLASS and spacing == "trailing"):
        return _BY_CLASS[name], spacing
    lower = bundle.info.name.lower()
    return next((way for word, way in _BY_WORD.items() if word in lower), ("", "auto"))


def _speed_lora(bundle: ModelBundle, library: Library | None) -> str:
    """The first LoRA of this family that is called LCM; "" for none."""
    for file in library.files() if library is not None else ():
        of_family = file.found.family == bundle.info.family
        if file.found.kind is FileKind.LORA and of_family and "lcm" in file.name.lower():
            return file.name
    return ""
