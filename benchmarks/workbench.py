"""A family and a folder enter; our engine on a small random checkpoint of the real layout leaves,
and diffusers' own pipelines of the same networks beside it."""

from __future__ import annotations

import copy
import inspect
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from nijimi_backend.engine import autoencoders
from nijimi_backend.engine import engine as engine_module
from nijimi_backend.engine import frozen as frozen_module
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.request import Control, FrameRequest
from nijimi_backend.models.device import Device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams

from .real_layout import RealLayout, write_checkpoint

__all__ = [
    "BAR",
    "CPU",
    "PROMPT",
    "SCHEDULERS",
    "Row",
    "Workbench",
    "gap",
    "latents_of",
    "parity_params",
]

BAR = 1e-4
"""Largest absolute difference on latents, fp32."""

PROMPT = "a red boat on the sea, evening light"
NEGATIVE = "blurry"
SEED = 7

CPU = Device(torch_device=torch.device("cpu"), dtype=torch.float32, title="CPU")

SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lcm": (LCMScheduler, {}),
    "ddim": (DDIMScheduler, {"clip_sample": False}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": (UniPCMultistepScheduler, {}),
    "tcd": (TCDScheduler, {}),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """``difference``: the largest absolute one between ours and the reference's latents (or, for
    prompts, embeddings; for adapters, weights)."""

    feature: str
    family: str
    reference: str
    difference: float

    @property
    def passes(self) -> bool:
        return self.difference <= BAR


class Workbench:
    """One small checkpoint of a family: our engine on its file, and the networks it was made of."""

    def __init__(self, folder: Path, family: str) -> None:
        self.folder = folder
        self.made: RealLayout = write_checkpoint(folder / f"{family}-model.safetensors", family)
        self.library = Library([folder])
        self.engine = Engine(load_model(self.library.find_model(f"{family}-model"), CPU),
                             self.library)  # fmt: skip
        side = 128
        self.extent = Extent(side, side)
        self.bundle = self.engine._bundle  # pyright: ignore[reportPrivateUsage]

    def ours(
        self, params: RenderParams, canvas: Any = None, controls: tuple[Control, ...] = ()
    ) -> torch.Tensor:
        """The clean latents that our engine would decode."""
        request = FrameRequest(params=params, extent=self.extent, canvas=canvas, controls=controls)
        with self.eager():
            return latents_of(self.engine, request)

    @staticmethod
    def eager() -> AbstractContextManager[object]:
        """Weights are not packed: that takes seconds for each of many kinds of inputs."""
        return mock.patch.object(frozen_module, "MAX_FROZEN_PARAMETERS", 0)

    def pipeline(self, sampler: str, kind: Any = None, more: Any = None, **options: Any) -> Any:
        """diffusers' own pipeline of the same networks, of another ``kind`` with ``more`` parts."""
        cls, fixed = SCHEDULERS[sampler]
        # As ours lie in memory: another order of sums is no other result.
        self.made.unet.to(memory_format=torch.channels_last)
        config = {
            key: value
            for key, value in self.bundle.scheduler_config.items()
            if key not in ("clip_sample", "rescale_betas_zero_snr")
        }
        scheduler = cls.from_config({**config, **fixed, **options})
        towers = self.bundle.towers
        parts: dict[str, Any] = {
            "vae": self.made.vae,
            "unet": self.made.unet,
            "text_encoder": self.made.encoders[0],
            "tokenizer": towers[0].tokenizer,
            "scheduler": scheduler,
        }
        if self.made.family == "sdxl":
            second = _padded_with_zero(towers[1].tokenizer)
            parts.update(text_encoder_2=self.made.encoders[1], tokenizer_2=second)
            kind = kind or StableDiffusionXLPipeline
            parts["add_watermarker"] = False
        else:
            if self.made.family == "sd2":
                parts["tokenizer"] = _padded_with_zero(parts["tokenizer"])
            kind = kind or StableDiffusionPipeline
            absent = ("safety_checker", "feature_extractor", "image_encoder")
            parts.update(dict.fromkeys(absent), requires_safety_checker=False)
        known = inspect.signature(kind).parameters
        parts = {key: value for key, value in parts.items() if key in known}
        pipe: Any = kind(**{**parts, **(more or {})})
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def theirs(
        self, pipe: Any, params: RenderParams, *, lcm_noise: bool, **options: Any
    ) -> torch.Tensor:
        generator = torch.Generator("cpu").manual_seed(
            params.seed if lcm_noise else params.seed ^ 0x5EED
        )
        shape = (1, 4, self.extent.height // 8, self.extent.width // 8)
        first = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(params.seed))
        if lcm_noise:
            torch.randn(shape, generator=generator)
        call: dict[str, Any] = {
            "prompt": params.prompt, "guidance_scale": params.guidance_scale,
            "num_inference_steps": params.num_inference_steps, "latents": first,
            "generator": generator, "output_type": "latent", "height": self.extent.height,
            "width": self.extent.width,
        }  # fmt: skip
        if params.guidance_scale > 1.0:
            call["negative_prompt"] = params.negative_prompt
        call.update(options)
        return pipe(**call).images


def latents_of(engine: Engine, request: FrameRequest) -> torch.Tensor:
    """The clean latents that an engine would decode, rendered at the request's own size."""
    seen: list[torch.Tensor] = []

    def keep(_bundle: Any, latents: torch.Tensor, *_: Any) -> Any:
        seen.append(latents.clone())
        return np.zeros((8, 8, 4), dtype=np.uint8)

    with (
        mock.patch.object(autoencoders, "decode_latents", keep),
        # Small networks, small pictures: what is compared does not depend on their size.
        mock.patch.object(engine_module, "render_extent", return_value=request.extent),
    ):
        assert not engine.render(request).failures
    return seen[0]


def _padded_with_zero(tokenizer: Any) -> Any:
    """As SD2 and SDXL's second encoder publish theirs."""
    other = copy.deepcopy(tokenizer)
    other.pad_token = "!"
    return other


def parity_params(**changes: Any) -> RenderParams:
    base = RenderParams(
        prompt=PROMPT, negative_prompt=NEGATIVE, seed=SEED, mode=RenderMode.TXT2IMG, sampler="lcm",
        num_inference_steps=4, guidance_scale=1.0, strength=1.0,
    )  # fmt: skip
    return replace(base, **changes)


def gap(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.float() - theirs.float()).abs().max())
