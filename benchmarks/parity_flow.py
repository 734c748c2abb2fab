"""Small random flow-matching models enter; how far our latents are from those of diffusers' own
pipelines leaves, one row a feature."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3Pipeline,
    UniPCMultistepScheduler,
    ZImageImg2ImgPipeline,
    ZImagePipeline,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.request import FrameRequest
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams

from .real_flow import (
    FlowLayout,
    write_sd3_file,
    write_sd3_files,
    write_sd3_folder,
    write_zimage_files,
    write_zimage_folder,
)
from .workbench import CPU, Row, gap, latents_of, parity_params

__all__ = ["FLOW_MODELS", "flow_rows"]

FLOW_MODELS: dict[str, Callable[[Path], FlowLayout]] = {
    "sd3, one file": lambda path: write_sd3_file(path.with_suffix(".safetensors")),
    "sd3.5, one file": lambda path: write_sd3_file(path.with_suffix(".safetensors"), newer=True),
    "sd3, one file with T5": lambda path: write_sd3_file(path.with_suffix(".safetensors"), t5=True),
    "sd3, files apart": lambda path: write_sd3_files(path.with_suffix(".safetensors")),
    "sd3, folder with T5": write_sd3_folder,
    "zimage, folder": write_zimage_folder,
    "zimage, files apart": lambda path: write_zimage_files(path.with_suffix(".safetensors")),
}

_EXTENT = Extent(128, 96)


class _ExactTimes:
    """diffusers tells the network whole thousandths of noise where a solver is not its own flow
    scheduler: so it is told what the noise is."""

    def set_timesteps(self, *args: Any, **options: Any) -> None:
        given: Any = super()
        given.set_timesteps(*args, **options)
        solver: Any = self
        solver.timesteps = solver.sigmas[:-1] * 1000.0


class _DPMSolver(_ExactTimes, DPMSolverMultistepScheduler):
    pass


class _UniPC(_ExactTimes, UniPCMultistepScheduler):
    pass


_MULTISTEP = {"dpmpp_2m": _DPMSolver, "unipc": _UniPC}


def flow_rows(names: tuple[str, ...] = tuple(FLOW_MODELS)) -> Iterator[Row]:
    """Every row of the named models; each is written, compared and thrown away."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            made = FLOW_MODELS[name](Path(folder) / "model")
            library = Library([Path(folder)])
            engine = Engine(load_model(library.find_model("model"), CPU), library)
            bench = _Bench(name, made, engine)
            yield from bench.rows()


class _Bench:
    """One model: our engine on its files, and diffusers' pipelines of the same networks."""

    def __init__(self, name: str, made: FlowLayout, engine: Engine) -> None:
        self._name, self._made, self._engine = name, made, engine
        self._is_zimage = "tokenizer_2" not in made.parts
        made.parts["transformer"].to(memory_format=torch.channels_last)
        made.parts["vae"].to(memory_format=torch.channels_last)

    def rows(self) -> Iterator[Row]:
        # Z-Image's pipeline fills a prompt up to 512 tokens, we read its own tokens only: the same
        # sums in another order, whose rounding guidance multiplies.
        for scale in (1.0, 2.0 if self._is_zimage else 5.0):
            params = parity_params(sampler="euler", guidance_scale=scale)
            yield self._row(f"text to image, euler, guidance {scale:g}", params)
        params = parity_params(sampler="euler", num_inference_steps=1)
        yield self._row("one step", params)
        if not self._is_zimage:
            # Its pipeline asks for steps that diffusers' other solvers do not take.
            for sampler, kind in _MULTISTEP.items():
                params = parity_params(sampler=sampler, num_inference_steps=6)
                scheduler = kind(
                    use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
                )
                yield self._row(f"text to image, {sampler}", params, scheduler=scheduler)
        yield self._img2img()

    def _row(self, feature: str, params: RenderParams, **parts: Any) -> Row:
        ours = latents_of(self._engine, FrameRequest(params=params, extent=_EXTENT))
        shape = (1, 16, _EXTENT.height // 8, _EXTENT.width // 8)
        first = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(params.seed))
        kind = ZImagePipeline if self._is_zimage else StableDiffusion3Pipeline
        return self._compared(
            feature, ours, kind, params, parts, latents=first, height=_EXTENT.height,
            width=_EXTENT.width, num_inference_steps=params.num_inference_steps,
        )  # fmt: skip

    def _img2img(self) -> Row:
        """diffusers counts the steps of the whole way, we count those that run: 8 at 0.5 are 4."""
        rng = np.random.default_rng(3)
        canvas = rng.integers(0, 255, (_EXTENT.height, _EXTENT.width, 4), dtype=np.uint8)
        canvas[..., 3] = 255
        params = parity_params(mode=RenderMode.IMG2IMG, sampler="euler", strength=0.5)
        request = FrameRequest(params=params, extent=_EXTENT, canvas=canvas, full_quality=False)
        ours = latents_of(self._engine, request)
        kind = ZImageImg2ImgPipeline if self._is_zimage else StableDiffusion3Img2ImgPipeline
        rgb = torch.from_numpy(np.ascontiguousarray(canvas[..., 2::-1]))
        image = (rgb.permute(2, 0, 1)[None] / 127.5 - 1.0).contiguous(
            memory_format=torch.channels_last
        )
        generator = torch.Generator("cpu").manual_seed(params.seed)
        # Ours is the middle of what the autoencoder says: a sample would flicker.
        with mock.patch.object(DiagonalGaussianDistribution, "sample", _middle):
            return self._compared(
                "image to image, euler, strength 0.5", ours, kind, params, {}, image=image,
                strength=0.5, num_inference_steps=8, generator=generator,
                height=_EXTENT.height, width=_EXTENT.width,
            )  # fmt: skip

    def _compared(
        self, feature: str, ours: torch.Tensor, kind: Any, params: RenderParams,
        parts: dict[str, Any], **call: Any,
    ) -> Row:  # fmt: skip
        pipe = kind(**{**self._made.parts, **parts})
        pipe.set_progress_bar_config(disable=True)
        # Z-Image's guidance counts from 0, where the others count from 1.
        scale = params.guidance_scale - 1.0 if self._is_zimage else params.guidance_scale
        theirs = pipe(
            prompt=params.prompt, negative_prompt=params.negative_prompt, guidance_scale=scale,
            output_type="latent", **call,
        ).images  # fmt: skip
        return Row(
            feature=feature, family=self._name, reference="diffusers",
            difference=gap(ours, theirs),
        )  # fmt: skip


def _middle(distribution: Any, generator: Any = None) -> torch.Tensor:
    return distribution.mode()
