"""A model of real shapes enters; ways to make a live frame of it leave: ours, and others'."""

# diffusers types its pipelines too narrowly.
# pyright: reportArgumentType=false
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import (
    ControlNetModel,
    LCMScheduler,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionImg2ImgPipeline,
)
from nijimi_backend.engine.autoencoders import WORTH_CALLS as ENCODER_CALLS
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.frozen import WORTH_CALLS, Pack, frozen, warms_up
from nijimi_backend.engine.packed import WORTH_CALLS as LARGE_CALLS
from nijimi_backend.engine.quickened import QUICKENING_THREAD, TRIAL_CALLS, QuickPack
from nijimi_backend.engine.request import Control, FrameRequest
from nijimi_backend.engine.stages import decode_latents, encode_canvas
from nijimi_backend.models.bundle import ModelBundle
from nijimi_backend.models.library import Library
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams
from PIL import Image

__all__ = [
    "Way",
    "diffusers_way",
    "our_way",
    "stream_batch_way",
    "stroked_canvas",
    "write_control",
]

Pixels = npt.NDArray[np.uint8]
Way = Callable[[int], float]
"""The number of a frame in, the seconds that it took out."""

PROMPT = "a red house on a green hill at sunset"


def stroked_canvas(side: int, n: int) -> Pixels:
    """A canvas with a stroke that is another in each frame, BGRA."""
    canvas = np.full((side, side, 4), 255, dtype=np.uint8)
    canvas[side // 2 :, :, :3] = (60, 140, 70)
    left = 8 * (n % (side // 8))
    canvas[side // 4 : side // 4 + 40, left : left + 40, :3] = (40, 40, 200)
    return canvas


def _lines(side: int) -> Pixels:
    lines = np.zeros((side, side, 4), dtype=np.uint8)
    lines[:: side // 8, :, 3] = 255
    return lines


def write_control(bundle: ModelBundle, folder: Path) -> None:
    network = ControlNetModel.from_unet(bundle.unet)
    network.save_pretrained(folder / "controlnet" / "scribble")


def our_way(bundle: ModelBundle, library: Library, steps: int, control: bool, pack: Pack) -> Way:
    recorder = pack.recorder if bundle.device.is_cuda and isinstance(pack, QuickPack) else None
    engine, side = Engine(bundle, library, pack, recorder=recorder), bundle.info.native_px
    params = RenderParams(prompt=PROMPT, strength=0.5, num_inference_steps=steps, sampler="lcm")
    lines = Control(kind="scribble", pixels=_lines(side), version=1)

    def run(n: int) -> float:
        _lay(bundle, torch.channels_last)
        request = FrameRequest(
            params=params, extent=Extent(side, side), canvas=stroked_canvas(side, n),
            canvas_version=n + 1, controls=(lines,) if control else (),
        )  # fmt: skip
        started = time.perf_counter()
        picture = engine.render(request)
        seconds = time.perf_counter() - started
        assert not picture.failures, picture.failures
        assert picture.num_inference_steps == steps
        return seconds

    if pack is not frozen:
        if bundle.device.is_cuda or warms_up(bundle.unet, on_gpu=False):
            _settle(run)
        else:
            # Its weights are turned meanwhile.
            for n in range(-(-LARGE_CALLS // steps)):
                run(n)
    return run


def _settle(run: Way) -> None:
    """Until functions that become quicker while they are used have done so: the UNet, which is
    called at each step, and the encoder, which is packed late and is called once a frame."""
    for frames in (ENCODER_CALLS + WORTH_CALLS, 2 * TRIAL_CALLS):
        for n in range(frames):
            run(n)
        for thread in threading.enumerate():
            if thread.name == QUICKENING_THREAD:
                thread.join()


def diffusers_way(
    bundle: ModelBundle, library: Library, steps: int, control: bool, *, plain: bool,
    compiles: bool = False,
) -> Way:  # fmt: skip
    """Its own pipeline. Not ``plain``: the documented settings for speed, channels last and the
    device's number type; ``plain`` is as the networks come, which for bf16 is its type, too."""
    unet: Any = torch.compile(bundle.unet) if compiles else bundle.unet
    parts: dict[str, Any] = {
        "vae": bundle.vae, "text_encoder": bundle.towers[0].encoder, "unet": unet,
        "tokenizer": bundle.towers[0].tokenizer, "safety_checker": None,
        "feature_extractor": None, "requires_safety_checker": False,
        "scheduler": LCMScheduler.from_config(dict(bundle.scheduler_config)),
    }  # fmt: skip
    side = bundle.info.native_px
    options: dict[str, Any] = {}
    pipe: Any
    if control:
        folder = next(root for root in library.roots) / "controlnet" / "scribble"
        network: Any = ControlNetModel.from_pretrained(folder)
        network.to(bundle.device.torch_device, bundle.device.dtype)
        if not plain:
            network.to(memory_format=torch.channels_last)
        pipe = StableDiffusionControlNetImg2ImgPipeline(**parts, controlnet=network)
        options["control_image"] = Image.fromarray(255 - _lines(side)[..., 3])
    else:
        pipe = StableDiffusionImg2ImgPipeline(**parts)
    pipe.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        embeds, _ = pipe.encode_prompt(PROMPT, bundle.device.torch_device, 1, False)

    def run(n: int) -> float:
        _lay(bundle, torch.contiguous_format if plain else torch.channels_last)
        picture = Image.fromarray(np.ascontiguousarray(stroked_canvas(side, n)[..., 2::-1]))
        generator = torch.Generator().manual_seed(0)
        started = time.perf_counter()
        pipe(
            prompt_embeds=embeds, image=picture, strength=0.5, num_inference_steps=2 * steps,
            guidance_scale=1.0, generator=generator, output_type="np", **options,
        )  # fmt: skip
        return time.perf_counter() - started

    return run


def stream_batch_way(bundle: ModelBundle, steps: int) -> Way:
    """StreamDiffusion's pipelining (Kodaira et al., arXiv 2312.12491, section 3.1): frames of
    consecutive moments are denoised in one call, each at a step of its own; a call finishes one."""
    device, side = bundle.device, bundle.info.native_px
    scheduler: Any = LCMScheduler.from_config(dict(bundle.scheduler_config))
    scheduler.set_timesteps(2 * steps, device=device.torch_device)
    times = scheduler.timesteps[steps:]
    alphas = scheduler.alphas_cumprod[times.cpu()].to(device.torch_device, device.dtype)
    signal, noise = (part.sqrt().view(-1, 1, 1, 1) for part in (alphas, 1 - alphas))
    scaled = times.cpu().float() * 10.0
    skip, out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25).sqrt()
    skip, out = (each.view(-1, 1, 1, 1).to(signal) for each in (skip, out))
    cells = side // bundle.latent_scale
    generator = torch.Generator().manual_seed(0)
    noises = torch.randn((steps, bundle.latent_channels, cells, cells), generator=generator)
    noises = noises.to(signal)
    width = int(bundle.unet.config["cross_attention_dim"])
    embeds = torch.zeros((steps, 77, width), device=device.torch_device, dtype=device.dtype)
    waiting: list[torch.Tensor] = []

    def run(n: int) -> float:
        _lay(bundle, torch.channels_last)
        canvas = np.ascontiguousarray(stroked_canvas(side, n)[..., 2::-1])
        started = time.perf_counter()
        with torch.inference_mode():
            latents = encode_canvas(bundle, canvas).to(signal)
            first = signal[:1] * latents + noise[:1] * noises[:1]
            if not waiting:
                waiting.extend([first] * (steps - 1))
            batch = torch.cat([first, *waiting])
            told = bundle.unet(batch, times, embeds, return_dict=False)[0]
            clean = (batch - noise * told) / signal
            clean = out * clean + skip * batch
            waiting[:] = list((signal[1:] * clean[:-1] + noise[1:] * noises[1:]).split(1))
            decode_latents(bundle, clean[-1:])
        return time.perf_counter() - started

    return run


def _lay(bundle: ModelBundle, layout: torch.memory_format) -> None:
    """The weights as a way has them; not measured."""
    for network in (bundle.unet, bundle.vae):
        any_of: Any = network
        any_of.to(memory_format=layout)
