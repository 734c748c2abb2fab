"""Models of real shapes enter; what a live frame costs leaves, beside what others take for it.

All ways use the same weights, the same steps and no guidance, and take turns in one process, so
that a machine that slows down slows all of them. A frame is a canvas of the model's size, changed
by a stroke: encoded, denoised, decoded. Prompts are encoded before.
"""

# diffusers types its pipelines too narrowly.
# pyright: reportArgumentType=false
from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from nijimi_backend.engine.openvino_net import has_openvino
from nijimi_backend.engine.quickened import (
    QUICKENING_THREAD,
    TRIAL_CALLS,
    QuickPack,
)
from nijimi_backend.engine.request import Control, FrameRequest
from nijimi_backend.engine.stages import decode_latents, encode_canvas
from nijimi_backend.models.bundle import ModelBundle
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.session.memory import keep_freed_memory
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from .engine_shapes import full_autoencoder, in_one_type, shaped
from .roof import Roof, measure_roof

__all__ = ["engine_table", "measure_engine"]

Pixels = npt.NDArray[np.uint8]
Way = Callable[[int], float]
"""The number of a frame in, the seconds that it took out."""

PROMPT = "a red house on a green hill at sunset"


def measure_engine(
    shapes: tuple[str, ...], steps: tuple[int, ...], rounds: int, *, control: bool,
    full_vae: bool, compiles: bool,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """One row a model and number of steps: milliseconds a frame for each way, and ratios."""
    # The backend's own way, which serves the others as well.
    keep_freed_memory()
    device = choose_device("auto")
    roof = measure_roof(device)
    for name in shapes:
        with tempfile.TemporaryDirectory() as folder:
            bundle = shaped(name, device, Path(folder))
            if full_vae and name != "nijimi-mini":
                bundle = replace(bundle, vae=full_autoencoder(device))
            if control:
                _write_control(bundle, Path(folder))
            library = Library([Path(folder)])
            for count in steps:
                yield _row(bundle, library, count, rounds, roof, control, compiles)


def _row(
    bundle: ModelBundle, library: Library, steps: int, rounds: int, roof: Roof, control: bool,
    compiles: bool,
) -> dict[str, Any]:  # fmt: skip
    side = bundle.info.native_px
    ways: dict[str, Way] = {"ours": _ours(bundle, library, steps, control, QuickPack())}
    if has_openvino() and not bundle.device.is_cuda:
        ways["ours, torch alone"] = _ours(bundle, library, steps, control, frozen)
    theirs = in_one_type(bundle)
    if bundle.info.family != "sdxl":
        ways["diffusers, channels last"] = _diffusers(theirs, library, steps, control, plain=False)
        ways["diffusers, as it comes"] = _diffusers(theirs, library, steps, control, plain=True)
        if not control:
            ways["stream batch"] = _stream_batch(theirs, steps)
        if compiles and not control:
            ways["diffusers, compiled"] = _diffusers(
                theirs, library, steps, control, plain=False, compiles=True
            )
    first = {name: way(0) for name, way in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for n in range(1, rounds + 1):
        for name, way in ways.items():
            taken[name].append(way(n))
    medians = {name: 1000 * statistics.median(times) for name, times in taken.items()}
    ideal_ms = 1000 * sum(roof.seconds(each, times) for each, times in _work(bundle, steps))
    return {
        "model": bundle.info.name,
        "side_px": side,
        "steps": steps,
        "autoencoder": type(bundle.vae).__name__,
        "control": control,
        "device": bundle.device.title,
        "roof_tflops": {"matmul": roof.matmul / 1e12, "convolution": roof.convolution / 1e12},
        "ms": medians,
        "first_ms": {name: 1000 * seconds for name, seconds in first.items()},
        "times_ours": {name: value / medians["ours"] for name, value in medians.items()},
        # A stream batch gives a picture of the canvas as it was so many calls ago.
        "own_frame_ms": {
            name: value * (steps if name == "stream batch" else 1)
            for name, value in medians.items()
        },
        "ideal_ms": None if control else ideal_ms,
        "share_of_roof": None if control else ideal_ms / medians["ours"],
    }


def _canvas(side: int, n: int) -> Pixels:
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


def _write_control(bundle: ModelBundle, folder: Path) -> None:
    network = ControlNetModel.from_unet(bundle.unet)
    network.save_pretrained(folder / "controlnet" / "scribble")


def _ours(bundle: ModelBundle, library: Library, steps: int, control: bool, pack: Pack) -> Way:
    engine, side = Engine(bundle, library, pack), bundle.info.native_px
    params = RenderParams(prompt=PROMPT, strength=0.5, num_inference_steps=steps, sampler="lcm")
    lines = Control(kind="scribble", pixels=_lines(side), version=1)

    def run(n: int) -> float:
        _lay(bundle, torch.channels_last)
        request = FrameRequest(
            params=params, extent=Extent(side, side), canvas=_canvas(side, n),
            canvas_version=n + 1, controls=(lines,) if control else (),
        )  # fmt: skip
        started = time.perf_counter()
        picture = engine.render(request)
        seconds = time.perf_counter() - started
        assert not picture.failures, picture.failures
        assert picture.num_inference_steps == steps
        return seconds

    if pack is not frozen and warms_up(bundle.unet, on_gpu=False):
        _settle(run)
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


def _diffusers(
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
        picture = Image.fromarray(np.ascontiguousarray(_canvas(side, n)[..., 2::-1]))
        generator = torch.Generator().manual_seed(0)
        started = time.perf_counter()
        pipe(
            prompt_embeds=embeds, image=picture, strength=0.5, num_inference_steps=2 * steps,
            guidance_scale=1.0, generator=generator, output_type="np", **options,
        )  # fmt: skip
        return time.perf_counter() - started

    return run


def _stream_batch(bundle: ModelBundle, steps: int) -> Way:
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
        canvas = np.ascontiguousarray(_canvas(side, n)[..., 2::-1])
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


def _work(bundle: ModelBundle, steps: int) -> Iterator[tuple[dict[Any, int], int]]:
    """Operations of each part of a frame, and how often it runs."""
    device, side = bundle.device, bundle.info.native_px
    cells = side // bundle.latent_scale
    width = int(bundle.unet.config["cross_attention_dim"])
    options: dict[str, Any] = {"device": device.torch_device, "dtype": device.dtype}
    latents = torch.zeros((1, bundle.latent_channels, cells, cells), **options)
    embeds = torch.zeros((1, 77, width), **options)
    added: dict[str, torch.Tensor] | None = None
    if bundle.takes_sizes:
        added = {"text_embeds": torch.zeros((1, 1280), **options),
                 "time_ids": torch.zeros((1, 6), **options)}  # fmt: skip
    canvas = np.ascontiguousarray(_canvas(side, 0)[..., 2::-1])
    when = torch.tensor(500, device=device.torch_device)
    unet: Any = bundle.unet
    for call, times in (
        (lambda: encode_canvas(bundle, canvas), 1),
        (lambda: unet(latents, when, embeds, added_cond_kwargs=added), steps),
        (lambda: decode_latents(bundle, latents.float()), 1),
    ):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            call()
        yield dict(counter.get_flop_counts()["Global"]), times


def engine_table(rows: list[dict[str, Any]]) -> str:
    """Milliseconds a frame, and how many times ours each other way takes."""
    roof = rows[0]["roof_tflops"]
    lines = [
        f"{rows[0]['device']}; roof {roof['matmul']:.3f} (matmul) and "
        f"{roof['convolution']:.3f} (convolution) TFLOP/s"
    ]
    for row in rows:
        control = ", ControlNet" if row["control"] else ""
        share = row["share_of_roof"]
        told = "" if share is None else f", {100 * share:.0f} % of the roof"
        lines.append(
            f"{row['model']} {row['side_px']} px, {row['steps']} steps, {row['autoencoder']}"
            f"{control}{told}"
        )
        for name, value in row["ms"].items():
            own = row["own_frame_ms"][name]
            late = f", own frame {own:.0f} ms" if own != value else ""
            lines.append(f"  {name:26} {value:9.0f} ms  {row['times_ours'][name]:5.2f} x{late}")
    return "\n".join(lines)
