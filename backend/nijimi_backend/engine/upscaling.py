"""A canvas and how much larger it is to become enter; the enlarged, repainted picture leaves.

First the canvas is enlarged by a network or by resampling. Then the checkpoint repaints all of it
at once, in windows of its own resolution whose outputs are fused at every step (MultiDiffusion,
Bar-Tal et al., arXiv 2302.08113, equation 5, with windows that count less towards their edges), so
that neighbours agree and no edge shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from nijimi_protocol.geometry import Bounds, Extent

from ..errors import RenderCancelled
from ..models.bundle import ModelBundle
from ..models.upscalers import UpscaleNetwork
from .asks import finish
from .control.residuals import Steering
from .denoiser import Denoiser, Start
from .enlarge import blend_in, enlarge, network_tiles, tiles_of
from .plan import Plan
from .request import FrameRequest, Pixels
from .stages import decode_latents, encode_canvas, lay_over_white, opaque_bgra
from .windows import FusedWindows

__all__ = ["upscale"]

_OVERLAP = 0.25
"""Of a window's side."""


def upscale(
    request: FrameRequest,
    network: UpscaleNetwork | None,
    plan: Plan | None,
    bundle: ModelBundle,
    denoiser: Denoiser,
    should_stop: Callable[[], bool],
    on_step: Callable[[int, int], None],
    on_guess: Callable[[torch.Tensor], None] | None = None,
) -> Pixels:
    """Opaque BGRA of the size that ``request.upscale`` gives; without a plan only enlarged.

    Raises ``RenderCancelled`` where ``should_stop`` says so between two parts.
    """
    assert request.canvas is not None
    assert request.upscale is not None
    extent = request.upscale.extent(request.extent)
    windows: list[Bounds] = []
    whole = extent
    if plan is not None:
        whole = Extent(*(_up_to(side, bundle.size_multiple_px) for side in extent))
        windows = _windows(whole, bundle)
    parts = len(network_tiles(request.extent)) if network is not None else 1
    # Each window is encoded once, denoised in each step, and decoded once.
    total = parts + len(windows) * (plan.steps + 2 if plan is not None else 0)
    done = itertools.count(1)

    def stepped() -> None:
        if should_stop():
            raise RenderCancelled
        on_step(min(next(done), total), total)

    paper = np.ascontiguousarray(lay_over_white(request.canvas)[..., 2::-1])
    rgb = enlarge(paper, extent, network, stepped)
    if plan is not None:
        beyond = ((0, whole.height - extent.height), (0, whole.width - extent.width), (0, 0))
        rgb = np.pad(rgb, beyond, mode="edge")
        latents = _encoded(rgb, windows, bundle, stepped)
        noise = denoiser.noise(request.params.seed, whole, plan.steps)
        start = Start(
            latents=plan.run.begin(latents, noise[0]),
            noise=noise,
            run=plan.run,
            windows=tuple(windows),
        )
        making = denoiser.steps(
            start, plan.guidance, Steering(()), should_stop,
            lambda *_: stepped(), on_guess,
        )  # fmt: skip
        latents = finish(making)
        rgb = _decoded(latents, windows, bundle, stepped)[: extent.height, : extent.width]
    return opaque_bgra(rgb)


def _up_to(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _windows(whole: Extent, bundle: ModelBundle) -> list[Bounds]:
    """In cells of the latents, each of the model's own resolution."""
    scale = bundle.latent_scale
    side = _up_to(bundle.info.native_px, bundle.size_multiple_px) // scale
    cells = Extent(whole.width // scale, whole.height // scale)
    return tiles_of(cells, side, round(side * _OVERLAP))


def _in_pixels(window: Bounds, scale: int) -> Bounds:
    return Bounds(*(side * scale for side in window))


def _encoded(
    rgb: Pixels, windows: list[Bounds], bundle: ModelBundle, stepped: Callable[[], None]
) -> torch.Tensor:
    """Clean latents 1 x C x h x w, float32, window by window: memory stays that of one."""
    fused: FusedWindows | None = None
    scale = bundle.latent_scale
    height, width = (side // scale for side in rgb.shape[:2])
    for window in windows:
        stepped()
        x, y, w, h = _in_pixels(window, scale)
        made = encode_canvas(bundle, np.ascontiguousarray(rgb[y : y + h, x : x + w])).float()
        if fused is None:
            fused = FusedWindows(made.new_zeros(1, made.shape[1], height, width))
        fused.add(window, made)
    assert fused is not None
    return fused.mean()


def _decoded(
    latents: torch.Tensor,
    windows: list[Bounds],
    bundle: ModelBundle,
    stepped: Callable[[], None],
) -> Pixels:
    scale = bundle.latent_scale
    rgb = np.zeros((latents.shape[2] * scale, latents.shape[3] * scale, 3), np.uint8)
    for window in windows:
        stepped()
        part = latents[..., window.y : window.bottom, window.x : window.right]
        made = decode_latents(bundle, part)
        tile = _in_pixels(window, scale)
        opaque = np.ascontiguousarray(made[..., 2::-1])
        blend_in(rgb, tile, opaque, round(max(tile.extent) * _OVERLAP))
    return rgb
