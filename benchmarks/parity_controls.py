"""A workbench enters; how far pictures steered by control files are from diffusers' leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLControlNetUnionPipeline,
)
from nijimi_backend.engine.control.hints import make_hint
from nijimi_backend.engine.request import Control
from nijimi_backend.models.controls import UNION_KINDS
from nijimi_protocol.params import RenderParams

from .real_controls import write_controlnet_file, write_t2i_file, write_union_file
from .workbench import Row, Workbench, gap, parity_params

__all__ = ["control_rows"]

_SCALE = 0.8
_GUIDANCE = 2.0
"""Theirs embeds the hint in a batch of two, ours once: these round differently, by 1e-6 of what
comes out, and guidance enlarges that. Small random networks give latents fifteen times as wide as
real ones do, so that at 5 it would be as much as the bar."""


def control_rows(bench: Workbench) -> Iterator[Row]:
    """Each form of control file that this family has, from the file to the latents."""
    family = bench.made.family
    for original in (True, False) if family != "sdxl" else (False,):
        path = bench.folder / "some_depth.safetensors"
        network = write_controlnet_file(path, bench.made, original=original)
        yield _controlnet(bench, path, network, "original" if original else "diffusers")
    if family == "sd2":
        # No T2I-Adapters were released for it.
        return
    for original in (True, False):
        path = bench.folder / "some_canny.safetensors"
        network = write_t2i_file(path, bench.made, original=original)
        yield _adapter(bench, path, network, "original" if original else "diffusers")
    if family == "sdxl":
        path = bench.folder / "union.safetensors"
        yield from _union(bench, path, write_union_file(path, bench.made))


def _controlnet(bench: Workbench, path: Path, network: Any, layout: str) -> Row:
    is_xl = bench.made.family == "sdxl"
    kind = StableDiffusionXLControlNetPipeline if is_xl else StableDiffusionControlNetPipeline
    control = _control(bench, "depth")
    row = _row(
        bench, f"ControlNet file, {layout} layout", control,
        bench.pipeline("lcm", kind, {"controlnet": network}),
        parity_params(guidance_scale=_GUIDANCE),
        image=_hint(bench, control), controlnet_conditioning_scale=_SCALE,
    )  # fmt: skip
    path.unlink()
    return row


def _adapter(bench: Workbench, path: Path, network: Any, layout: str) -> Row:
    is_xl = bench.made.family == "sdxl"
    kind = StableDiffusionXLAdapterPipeline if is_xl else StableDiffusionAdapterPipeline
    control = _control(bench, "canny")
    row = _row(
        bench, f"T2I-Adapter file, {layout} layout", control,
        bench.pipeline("lcm", kind, {"adapter": network}), parity_params(),
        image=_hint(bench, control)[:, :1], adapter_conditioning_scale=_SCALE,
    )  # fmt: skip
    path.unlink()
    return row


def _union(bench: Workbench, path: Path, network: Any) -> Iterator[Row]:
    kind = StableDiffusionXLControlNetUnionPipeline
    for word in ("scribble", "canny", "tile"):
        control = _control(bench, word)
        task = next(n for n, kinds in enumerate(UNION_KINDS) if word in kinds)
        yield _row(
            bench, f"union ControlNet file, {word}", control,
            bench.pipeline("lcm", kind, {"controlnet": network}), parity_params(),
            control_image=[_hint(bench, control)], control_mode=[task],
            controlnet_conditioning_scale=_SCALE,
        )  # fmt: skip
    path.unlink()


def _row(
    bench: Workbench, feature: str, control: Control, pipe: Any, params: RenderParams,
    **options: Any,
) -> Row:  # fmt: skip
    """Ours steered by ``control`` against ``pipe`` with ``options``."""
    theirs = bench.theirs(pipe, params, lcm_noise=True, **options)
    return Row(
        feature=feature, family=bench.made.family, reference="diffusers",
        difference=gap(bench.ours(params, controls=(control,)), theirs),
    )  # fmt: skip


def _control(bench: Workbench, kind: str) -> Control:
    """A layer of blurred noise, mostly dark, as hints of lines are."""
    rng = np.random.default_rng(5)
    layer = np.full((bench.extent.height, bench.extent.width, 4), 255, dtype=np.uint8)
    layer[..., :3] = rng.integers(0, 160, layer.shape[:2], dtype=np.uint8)[..., None] // 16 * 16
    return Control(kind=kind, pixels=layer, version=1, scale=_SCALE)


def _hint(bench: Workbench, control: Control) -> torch.Tensor:
    made = make_hint(control, bench.extent, bench.extent.bounds, bench.extent)
    return torch.from_numpy(made).permute(2, 0, 1)[None].float() / 255.0  # 1 x 3 x h x w
