"""A FrameRequest enters, a Picture leaves; each stage runs only when its inputs changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams

from ..errors import BadInput, OutOfMemory, RenderCancelled
from ..models.catalog import ModelInfo, find_model
from ..models.device import choose_device, is_out_of_memory
from ..models.loader import LoadProgress, ModelBundle, load_model
from .cache import StageCache
from .frozen import UNetFunction, frozen_unet
from .request import FrameRequest, Picture, Pixels
from .resolution import render_extent
from .sampling import Schedule, add_noise, lcm_step, lcm_timesteps
from .stages import decode_latents, embed_prompts, encode_canvas, resize_canvas, seeded_noise

__all__ = ["REFINE_STEPS", "Engine", "open_engine"]

REFINE_STEPS = 8
"""Steps of the refining pass; more than this changes a consistency model's picture little."""

_NETWORK_STAGES = ("prompt", "encode", "denoise", "decode")


class _Clock:
    """Milliseconds of each stage; waits for the device before it reads, where that matters."""

    def __init__(self, *, is_cuda: bool) -> None:
        self._is_cuda = is_cuda
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        started = time.perf_counter()
        yield
        if self._is_cuda:
            torch.cuda.synchronize()
        spent = (time.perf_counter() - started) * 1000
        self.timings_ms[name] = self.timings_ms.get(name, 0.0) + spent


class Engine:
    """One model on one device. Use it from one thread only."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self._schedule = Schedule.from_scheduler(bundle.scheduler)
        self.prompts: StageCache[torch.Tensor] = StageCache(16)
        self.encodings: StageCache[torch.Tensor] = StageCache(2)
        self.noises: StageCache[torch.Tensor] = StageCache(4)
        self._unets: StageCache[UNetFunction] = StageCache(3)

    @property
    def device(self) -> str:
        return self._bundle.device.title

    @property
    def model(self) -> ModelInfo:
        return self._bundle.info

    def render(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Picture:
        """Render one frame.

        ``should_stop`` is asked between steps; then ``RenderCancelled`` comes. Strength 0 gives
        the canvas back, at the model's resolution, without running a network.
        """
        try:
            with torch.inference_mode():
                return self._render(request, should_stop, on_step)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.encodings.clear()
            raise OutOfMemory(
                "The picture does not fit into the device's memory.",
                "Close other programs, or choose a smaller model.",
            ) from error

    def warm_up(self) -> None:
        """Render once unseen, so that the first frame costs what the others do."""
        side = self.model.native_px
        extent = Extent(side, side)
        params = RenderParams(mode=RenderMode.TXT2IMG, num_inference_steps=1, strength=1.0)
        self.render(FrameRequest(params=params, extent=extent))

    def _render(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> Picture:
        bundle, params = self._bundle, request.params
        clock = _Clock(is_cuda=bundle.device.is_cuda)
        extent = render_extent(request.extent, self.model.native_px, bundle.size_multiple_px)
        canvas = None if params.mode is RenderMode.TXT2IMG else request.canvas
        if canvas is None and params.mode is not RenderMode.TXT2IMG:
            raise BadInput("There is no picture to start from.", "Open a document.")
        strength = params.strength if canvas is not None else 1.0
        steps = params.num_inference_steps
        if request.full_quality:
            steps = max(steps, REFINE_STEPS)
        timesteps = lcm_timesteps(steps, strength, self._schedule)
        if canvas is not None and not timesteps:
            with clock.stage("resize"):
                pixels = _with_alpha(resize_canvas(canvas, extent))
            return self._picture(request, pixels, 0, clock)
        with clock.stage("prompt"):
            prompt_embeds = self._embed(params)
        latents = self._start(request, canvas, extent, timesteps, clock)
        with clock.stage("denoise"):
            noise = self._noise(params.seed, extent, len(timesteps))
            for n, timestep in enumerate(timesteps):
                if should_stop():
                    raise RenderCancelled
                is_last = n + 1 == len(timesteps)
                latents = lcm_step(
                    latents,
                    self._predict(latents, timestep, prompt_embeds, params.guidance_scale),
                    timestep,
                    -1 if is_last else timesteps[n + 1],
                    None if is_last else noise[n + 1],
                    self._schedule,
                )
                on_step(n + 1, len(timesteps))
        if should_stop():
            raise RenderCancelled
        with clock.stage("decode"):
            pixels = decode_latents(bundle, latents.to(bundle.device.dtype))
        return self._picture(request, pixels, len(timesteps), clock)

    def _start(
        self,
        request: FrameRequest,
        canvas: Pixels | None,
        extent: Extent,
        timesteps: tuple[int, ...],
        clock: _Clock,
    ) -> torch.Tensor:
        """The noisy latents to begin with, 1 x C x h x w."""
        noise = self._noise(request.params.seed, extent, len(timesteps))[0]
        if canvas is None:
            return noise

        def encode() -> torch.Tensor:
            with clock.stage("resize"):
                rgb = resize_canvas(canvas, extent)
            with clock.stage("encode"):
                return encode_canvas(self._bundle, rgb).float()

        # Not by the pixels themselves: the mirror counts its changes, a hash would cost more.
        latents = self.encodings.get((request.canvas_version, extent), encode)
        return add_noise(latents, noise, timesteps[0], self._schedule)

    def _embed(self, params: RenderParams) -> torch.Tensor:
        """1 x 77 x width, or 2 x 77 x width with the negative prompt first under guidance."""

        def one(prompt: str) -> torch.Tensor:
            return self.prompts.get(prompt, lambda: embed_prompts(self._bundle, [prompt]))

        positive = one(params.prompt)
        if params.guidance_scale <= 1.0:
            return positive
        return torch.cat([one(params.negative_prompt), positive])

    def _noise(self, seed: int, extent: Extent, count: int) -> torch.Tensor:
        scale = self._bundle.latent_scale
        channels = int(self._bundle.unet.config["in_channels"])
        shape = (1, channels, extent.height // scale, extent.width // scale)
        device = self._bundle.device.torch_device
        # The generator gives the same first noises for any count: the seed keeps its meaning.
        return self.noises.get(
            (seed, shape, count), lambda: seeded_noise(seed, shape, count).to(device)
        )

    def _predict(
        self, latents: torch.Tensor, timestep: int, prompt_embeds: torch.Tensor, guidance: float
    ) -> torch.Tensor:
        batch = prompt_embeds.shape[0]
        inputs = latents.to(self._bundle.device.dtype).expand(batch, -1, -1, -1).contiguous()
        when = torch.tensor(timestep, device=inputs.device)
        unet = self._unets.get(
            inputs.shape, lambda: frozen_unet(self._bundle.unet, inputs, when, prompt_embeds)
        )
        output = unet(inputs, when, prompt_embeds).float()
        if batch == 1:
            return output
        negative, positive = output.chunk(2)
        return negative + guidance * (positive - negative)

    def _picture(self, request: FrameRequest, pixels: Pixels, steps: int, clock: _Clock) -> Picture:
        timings = clock.timings_ms
        return Picture(
            pixels=pixels,
            area=request.extent.bounds,
            seed=request.params.seed,
            num_inference_steps=steps,
            model_ms=sum(timings.get(name, 0.0) for name in _NETWORK_STAGES),
            timings_ms=timings,
        )


def _with_alpha(rgb: Pixels) -> Pixels:
    pixels = np.full((*rgb.shape[:2], 4), 255, dtype=np.uint8)
    pixels[..., :3] = rgb[..., ::-1]
    return pixels


def open_engine(
    model_name: str = "",
    models_dir: Path | None = None,
    device: str = "auto",
    progress: LoadProgress = lambda *_: None,
) -> Engine:
    """Find, load and warm up a model. Raises a ``NijimiError`` that says what is wrong."""
    info = find_model(model_name, models_dir)
    engine = Engine(load_model(info, choose_device(device), progress))
    engine.warm_up()
    return engine
