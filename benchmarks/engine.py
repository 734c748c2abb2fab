"""Models of real shapes enter; what a live frame costs leaves, beside what others take for it.

All ways use the same weights, the same steps and no guidance, and take turns, so that a machine
that slows down slows all of them: in one process, or, with ``apart``, diffusers also in processes
of its own, in which nothing of ours is. A frame is a canvas of the model's size, changed
by a stroke: encoded, denoised, decoded. Prompts are encoded before.
"""

# diffusers types its pipelines too narrowly.
# pyright: reportArgumentType=false
from __future__ import annotations

import random
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nijimi_backend.engine.eight_bit import multiplies_bytes
from nijimi_backend.engine.frozen import frozen, is_large
from nijimi_backend.engine.openvino_net import has_openvino
from nijimi_backend.engine.quickened import QuickPack
from nijimi_backend.engine.stages import decode_latents, encode_canvas
from nijimi_backend.models.bundle import ModelBundle
from nijimi_backend.models.device import Device, choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.session.memory import keep_freed_memory
from torch.utils.flop_counter import FlopCounterMode

from .engine_apart import ways_apart
from .engine_shapes import full_autoencoder, in_one_type, shaped
from .engine_ways import (
    Way,
    diffusers_way,
    our_way,
    stream_batch_way,
    stroked_canvas,
    write_control,
)
from .roof import Roof, measure_roof

__all__ = ["engine_table", "measure_engine"]


_ROUND_S = 0.3
"""For each of a round's four measurements of the roof."""


def measure_engine(
    shapes: tuple[str, ...], steps: tuple[int, ...], rounds: int, *, control: bool,
    full_vae: bool, compiles: bool, apart: bool = False,
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
                write_control(bundle, Path(folder))
            library = Library([Path(folder)])
            for count in steps:
                with ExitStack() as stack:
                    more: dict[str, Way] = {}
                    if apart and not control and not device.is_cuda:
                        types = dict.fromkeys((device.dtype, torch.float32))
                        titles = {
                            f"apart, {str(each).removeprefix('torch.')}": each for each in types
                        }
                        more = stack.enter_context(
                            ways_apart(name, count, full_vae=full_vae, types=titles)
                        )
                    yield _row(
                        bundle, library, count, rounds, device, roof, control, compiles, more
                    )


def _row(
    bundle: ModelBundle, library: Library, steps: int, rounds: int, device: Device, roof: Roof,
    control: bool, compiles: bool, more: dict[str, Way],
) -> dict[str, Any]:  # fmt: skip
    side = bundle.info.native_px
    ways: dict[str, Way] = {"ours": our_way(bundle, library, steps, control, QuickPack())}
    if has_openvino() and not bundle.device.is_cuda:
        ways["ours, torch alone"] = our_way(bundle, library, steps, control, frozen)
    if is_large(bundle.unet) and multiplies_bytes(bundle.device.torch_device, bundle.device.dtype):
        eight_bit = QuickPack(eight_bit=True)
        ways["ours, in eight bits"] = our_way(bundle, library, steps, control, eight_bit)
    theirs = in_one_type(bundle)
    if bundle.info.family != "sdxl":
        ways["diffusers, channels last"] = diffusers_way(
            theirs, library, steps, control, plain=False
        )
        ways["diffusers, as it comes"] = diffusers_way(theirs, library, steps, control, plain=True)
        if not control:
            ways["stream batch"] = stream_batch_way(theirs, steps)
        if compiles and not control:
            ways["diffusers, compiled"] = diffusers_way(
                theirs, library, steps, control, plain=False, compiles=True
            )
    ways |= more
    first = {name: way(0) for name, way in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    work = list(_work(bundle, steps))
    ideals: list[float] = []
    names = list(ways)
    for n in range(1, rounds + 1):
        # Whoever comes after a way that fills the caches pays for it: orders are drawn.
        for name in random.Random(n).sample(names, len(names)):
            if name == "ours":
                # A shared machine's roof is another one a minute later.
                now = measure_roof(device, _ROUND_S)
                ideals.append(sum(now.seconds(each, times) for each, times in work))
                roof = roof.or_better(now)
            taken[name].append(ways[name](n))
    medians = {name: 1000 * statistics.median(times) for name, times in taken.items()}
    ideal_ms = 1000 * sum(roof.seconds(each, times) for each, times in work)
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
        # Round by round: a shared machine is twice as slow a minute later.
        "times_ours": {
            name: statistics.median(
                other / ours for other, ours in zip(times, taken["ours"], strict=True)
            )
            for name, times in taken.items()
        },
        # A stream batch gives a picture of the canvas as it was so many calls ago.
        "own_frame_ms": {
            name: value * (steps if name == "stream batch" else 1)
            for name, value in medians.items()
        },
        "ideal_ms": None if control else ideal_ms,
        # By the roof of each round, and by the best one of all, which a round may never have had.
        "share_of_roof": None
        if control
        else statistics.median(
            ideal / ours for ideal, ours in zip(ideals, taken["ours"], strict=True)
        ),
        "share_of_best_roof": None if control else ideal_ms / medians["ours"],
    }


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
    canvas = np.ascontiguousarray(stroked_canvas(side, 0)[..., 2::-1])
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
        best = row["share_of_best_roof"]
        told = ""
        if share is not None:
            told = f", {100 * share:.0f} % of the roof ({100 * best:.0f} % of the best seen)"
        lines.append(
            f"{row['model']} {row['side_px']} px, {row['steps']} steps, {row['autoencoder']}"
            f"{control}{told}"
        )
        for name, value in row["ms"].items():
            own = row["own_frame_ms"][name]
            late = f", own frame {own:.0f} ms" if own != value else ""
            lines.append(f"  {name:26} {value:9.0f} ms  {row['times_ours'][name]:5.2f} x{late}")
    return "\n".join(lines)
