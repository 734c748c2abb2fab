"""Changes of the docker's fields enter; one observable set of values, kept on disk, leaves.

Signals:
    changed(str)  the named value is another one now
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from nijimi_protocol.inpaint import InitialFill, InpaintMode, InpaintParams
from nijimi_protocol.params import MAX_SEED, SAMPLERS, SCHEDULES, RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams

from ..qt import QtCore, Signal
from ..texts import tr
from .config import user_config_dir
from .styles import PLAIN, Style
from .whole_file import write_whole

Choice = TypeVar("Choice", bound=Enum)

__all__ = [
    "AREA_LAYER",
    "AREA_SELECTION",
    "AREA_WHOLE",
    "DEFAULTS",
    "MATCH_EDGE",
    "MATCH_OFF",
    "MATCH_SHIFT",
    "RENDER_SETTINGS",
    "SHOW_LAYER",
    "SHOW_NOTHING",
    "SHOW_OVERLAY",
    "Settings",
    "settings_path",
]

AREA_SELECTION, AREA_WHOLE, AREA_LAYER = "selection", "whole", "layer"
"""What is rendered: the selection where there is one, always the whole picture, or what the layer
or mask covers that was active when this was chosen."""

MATCH_EDGE, MATCH_SHIFT, MATCH_OFF = "edge", "shift", "off"
"""How colours are fitted to a selection's surroundings."""

SHOW_OVERLAY, SHOW_LAYER, SHOW_NOTHING = "overlay", "layer", "docker"

DEFAULTS: dict[str, Any] = {
    "prompt": "",
    "negative_prompt": "",
    "second_prompt": "",
    "prompt_blend": 0.0,
    "strength": 0.3,
    "num_inference_steps": 2,
    "guidance_scale": 1.0,
    "seed": 1,
    "seed_locked": True,
    "live": False,
    "refine": True,
    "show_on_canvas": SHOW_OVERLAY,
    "overlay_opacity": 0.75,
    "model": "",
    "vae": "",
    "sampler": "auto",
    "schedule": "auto",
    "clip_skip": 0,
    "area": AREA_SELECTION,
    "inpaint_mode": InpaintMode.AUTO.value,
    "inpaint_match": MATCH_EDGE,
    "inpaint_fill": InitialFill.NONE.value,
    "inpaint_grow_px": 8,
    "inpaint_feather_px": 0,
    "inpaint_blend_px": 8,
    "inpaint_context_px": 0,
    "inpaint_context_layer": False,
    "prompt_history": [],
    "batch_count": 2,
    "final_steps": 8,
    "final_sampler": "auto",
    "final_guidance_scale": 1.0,
    "style": "",
    "upscale_factor": 2.0,
    "upscale_percent": 20,
    "upscale_model": "",
}

RENDER_SETTINGS = frozenset({
    "prompt", "negative_prompt", "second_prompt", "prompt_blend", "strength", "style", "seed",
    "num_inference_steps", "guidance_scale", "sampler", "schedule", "clip_skip", "model", "vae",
    "live", "refine", "inpaint_mode", "inpaint_match", "inpaint_fill", "inpaint_grow_px",
    "inpaint_feather_px", "inpaint_blend_px", "inpaint_context_px",
})  # fmt: skip
"""What a live picture depends on."""

FORMAT = 1
"""Of the file; a newer one is neither used nor written over."""

_NEWER = (
    "The docker's values were kept by a newer Nijimi and are not used.",
    "Update Nijimi; until then they stay on disk as they are.",
)

_MOST_PROMPTS = 30

_NOT_KEPT = ("live", "inpaint_context_layer")
"""Krita starts quietly: live mode is switched on by the painter, or by the installer's word. What
belongs to a document's layer does not outlive it."""


def settings_path() -> Path:
    return user_config_dir() / "nijimi" / "docker.json"


class Settings(QtCore.QObject):
    """The docker's values by name."""

    changed = Signal(str)

    def __init__(self, path: Path | None = None, parent: Any = None) -> None:
        super().__init__(parent)
        self._path = path
        self._values = dict(DEFAULTS)
        self.style = PLAIN
        """Joined with what is set here into what a picture is made with."""
        self.problem: tuple[str, str] | None = None
        """A sentence and what to do, where the kept values cannot be used."""
        self._load()

    def get(self, name: str) -> Any:
        return self._values[name]

    def set(self, name: str, value: Any) -> None:
        """Keep a value; observers hear of it only when it is another one."""
        if self._values[name] == value:
            return
        self._values[name] = value
        self.changed.emit(name)

    def note_prompt(self) -> None:
        """Remember the prompt as one that was used, the newest first."""
        prompt = self.get("prompt").strip()
        if prompt:
            others = [each for each in self.get("prompt_history") if each != prompt]
            self.set("prompt_history", [prompt, *others][:_MOST_PROMPTS])

    def use_style(self, style: Style) -> None:
        """Take a style, with its model and its ways to sample; all of them can be set after."""
        self.style = style
        if style.model:
            self.set("model", style.model)
        self.set("sampler", style.live.sampler)
        self.set("num_inference_steps", style.live.steps)
        self.set("guidance_scale", style.live.guidance_scale)
        self.set("final_sampler", style.final.sampler)
        self.set("final_steps", style.final.steps)
        self.set("final_guidance_scale", style.final.guidance_scale)
        self._values["style"] = style.name
        # Told even where the name is the same: what it stands for may be other words.
        self.changed.emit("style")

    def forget_style(self) -> None:
        """Words that come from elsewhere carry their style already."""
        self.style = PLAIN
        self.set("style", "")

    def new_seed(self) -> None:
        self.set("seed", random.randint(0, MAX_SEED))

    def params(self) -> RenderParams:
        """What the backend is to render with. Not checked here: the session does that."""
        v = self._values
        negative = self.style.compose_negative(v["negative_prompt"])
        second = self.style.compose(v["second_prompt"]) if v["second_prompt"].strip() else ""
        return RenderParams(
            prompt=self.style.compose(v["prompt"]),
            negative_prompt=negative,
            second_prompt=second,
            prompt_blend=v["prompt_blend"] if second else 0.0,
            strength=v["strength"],
            num_inference_steps=v["num_inference_steps"],
            # A negative prompt has no effect without guidance; this much is mild and works.
            guidance_scale=max(v["guidance_scale"], 1.5 if negative else 1.0),
            sampler=v["sampler"] if v["sampler"] in SAMPLERS else "auto",
            schedule=v["schedule"] if v["schedule"] in SCHEDULES else "auto",
            clip_skip=v["clip_skip"],
            seed=v["seed"],
            mode=RenderMode.IMG2IMG,
            model=v["model"],
            vae=v["vae"],
            live=v["live"],
            refine=v["refine"],
            inpaint=InpaintParams(
                mode=_known(InpaintMode, v["inpaint_mode"], InpaintMode.AUTO),
                initial_fill=_known(InitialFill, v["inpaint_fill"], InitialFill.NONE),
                grow_px=v["inpaint_grow_px"],
                blend_px=v["inpaint_blend_px"],
                context_px=v["inpaint_context_px"],
                feather_px=v["inpaint_feather_px"],
                match_colours=v["inpaint_match"] != MATCH_OFF,
                poisson=v["inpaint_match"] == MATCH_EDGE,
            ),
        )

    def final_params(self, live: RenderParams) -> RenderParams:
        """What a finished picture is made with, where ``live`` says what a live one is."""
        v = self._values
        return replace(
            live,
            live=False,
            refine=False,
            num_inference_steps=v["final_steps"],
            sampler=v["final_sampler"] if v["final_sampler"] in SAMPLERS else "auto",
            guidance_scale=max(v["final_guidance_scale"], 1.5 if live.negative_prompt else 1.0),
        )

    def upscale_params(self) -> UpscaleParams:
        """How a larger picture is made, beside what every finished one is made with."""
        v = self._values
        return UpscaleParams(
            factor=v["upscale_factor"],
            model=v["upscale_model"],
            strength=v["upscale_percent"] / 100,
        )

    def save(self) -> None:
        """Write what is worth keeping; a full disk must not disturb the painter."""
        if self._path is None or self.problem is not None:
            return
        kept = {"format": FORMAT} | {
            name: value for name, value in self._values.items() if name not in _NOT_KEPT
        }
        try:
            write_whole(self._path, json.dumps(kept, indent=1))
        except OSError:
            return

    def _load(self) -> None:
        if self._path is None:
            return
        try:
            kept: Any = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if not isinstance(kept, dict):
            return
        written = kept.get("format", FORMAT)
        if not isinstance(written, int) or written > FORMAT:
            self.problem = (tr(_NEWER[0]), tr(_NEWER[1]))
            return
        if kept.get("area") == AREA_LAYER:
            kept["area"] = AREA_SELECTION
        history = kept.get("prompt_history")
        if not isinstance(history, list) or not all(isinstance(prompt, str) for prompt in history):
            kept["prompt_history"] = []
        for name, default in DEFAULTS.items():
            value = kept.get(name, default)
            if name not in _NOT_KEPT and type(value) is type(default):
                self._values[name] = value


def _known(kind: type[Choice], name: str, default: Choice) -> Choice:
    """A choice by its name; a name of another version's means the default."""
    return {choice.value: choice for choice in kind}.get(name, default)
