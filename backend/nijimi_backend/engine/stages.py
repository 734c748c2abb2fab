"""Pixels and latents enter; latents and pixels leave. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderTiny
from nijimi_protocol.geometry import Bounds, Extent

from ..models.bundle import Autoencoder, ModelBundle
from ..models.tiny_vae import can_encode
from .request import Pixels

__all__ = [
    "Coder",
    "decode_latents",
    "decode_pixels",
    "decode_tiny",
    "encode_canvas",
    "encode_pixels",
    "encode_tiny",
    "lay_over_white",
    "opaque_bgra",
    "refresh_small",
    "resize_canvas",
    "resize_mask",
    "resized",
    "seeded_noise",
]

Coder = Callable[[Any, torch.Tensor], torch.Tensor]
"""An autoencoder and what it reads in; what it makes of that, out."""

_STRIP_ROWS = 64
"""Sums of a whole canvas took 220 MiB more at 4096 px, and twice the time."""


def lay_over_white(canvas: Pixels) -> Pixels:
    """BGRA with straight alpha becomes opaque BGR(A) on white, H x W x 3 or 4: paper is white."""
    if cv2.extractChannel(canvas, 3).min() == 255:
        return canvas
    laid = np.empty((*canvas.shape[:2], 3), dtype=np.uint8)
    for top in range(0, len(canvas), _STRIP_ROWS):
        strip = canvas[top : top + _STRIP_ROWS]
        weight = strip[..., 3:].astype(np.uint16)
        mixed = strip[..., :3] * weight + (255 * (255 - weight) + 127)
        laid[top : top + _STRIP_ROWS] = mixed // 255
    return laid


def resize_canvas(canvas: Pixels, extent: Extent) -> Pixels:
    """BGRA at any size becomes opaque RGB of ``extent``, h x w x 3, averaged over areas."""
    # Colours are swapped last, where there are fewest pixels.
    small = resized(lay_over_white(canvas), extent, cv2.INTER_CUBIC)
    return np.ascontiguousarray(small[..., 2::-1])


def refresh_small(
    small: Pixels, canvas: Pixels, areas: Sequence[Bounds], extent: Extent
) -> Pixels | None:
    """``small`` (from ``resize_canvas`` to ``extent``) with only ``areas`` made again.

    None where that is not exact: averaging over areas falls into cells only at whole ratios.
    """
    height, width = canvas.shape[:2]
    if width % extent.width or height % extent.height:
        return None
    across, down = width // extent.width, height // extent.height
    result = small.copy()
    for x, y, w, h in areas:
        left, top = x // across, y // down
        right, bottom = -(-(x + w) // across), -(-(y + h) // down)
        part = canvas[top * down : bottom * down, left * across : right * across]
        cells = Extent(right - left, bottom - top)
        result[top:bottom, left:right] = resize_canvas(np.ascontiguousarray(part), cells)
    return result


def resize_mask(mask: Pixels, extent: Extent) -> Pixels:
    """A mask H x W becomes h x w of ``extent``, averaged over areas."""
    return resized(mask, extent, cv2.INTER_LINEAR)


def resized(pixels: Pixels, extent: Extent, enlarging: int) -> Pixels:
    """Averaged over areas where it gets smaller, else by OpenCV's interpolation ``enlarging``."""
    height, width = pixels.shape[:2]
    if (width, height) == tuple(extent):
        return pixels
    shrinks = extent.width <= width and extent.height <= height
    how = cv2.INTER_AREA if shrinks else enlarging
    return np.asarray(cv2.resize(pixels, tuple(extent), interpolation=how), dtype=np.uint8)


def encode_tiny(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """Images N x 3 x h x w from -1 to 1 become latents that are not scaled, by a tiny one."""
    return vae.encode(images).latents


def decode_tiny(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents that are not scaled become images N x 3 x h x w from -1 to 1, by a tiny one."""
    return vae.decode(latents).sample


def encode_canvas(
    bundle: ModelBundle,
    rgb: Pixels,
    live_vae: Autoencoder | None = None,
    tiny: Coder = encode_tiny,
) -> torch.Tensor:
    """RGB h x w x 3 becomes scaled latents 1 x C x h/8 x w/8, as ``encode_pixels``."""
    pixels = torch.from_numpy(rgb.copy()).to(bundle.device.torch_device)
    return encode_pixels(bundle, pixels, live_vae, tiny)


def encode_pixels(
    bundle: ModelBundle,
    pixels: torch.Tensor,
    live_vae: Autoencoder | None = None,
    tiny: Coder = encode_tiny,
) -> torch.Tensor:
    """RGB h x w x 3, uint8 on the device, becomes scaled latents 1 x C x h/8 x w/8, by the model's
    own autoencoder or a quicker one of the same latents; a tiny one is asked by ``tiny``.

    AutoencoderKL gives the mode of its distribution: a sample would flicker from frame to frame.
    """
    images = pixels.permute(2, 0, 1)[None]  # 1 x 3 x h x w, channels last in memory
    vae: Any = live_vae if live_vae is not None and can_encode(live_vae) else bundle.vae
    images = images.to(_dtype_of(vae)) / 127.5 - 1.0
    with _brought(bundle, vae):
        is_tiny = isinstance(vae, AutoencoderTiny)
        latents = tiny(vae, images) if is_tiny else vae.encode(images).latent_dist.mode()
    config = vae.config
    shift = config.get("shift_factor") or 0.0
    return (latents - shift) * config["scaling_factor"]


def decode_latents(
    bundle: ModelBundle, latents: torch.Tensor, live_vae: Autoencoder | None = None,
    tiny: Coder = decode_tiny,
) -> Pixels:  # fmt: skip
    """Scaled latents 1 x C x h x w become opaque BGRA, 8h x 8w x 4."""
    return opaque_bgra(decode_pixels(bundle, latents, live_vae, tiny).cpu().numpy())


def decode_pixels(
    bundle: ModelBundle, latents: torch.Tensor, live_vae: Autoencoder | None = None,
    tiny: Coder = decode_tiny,
) -> torch.Tensor:  # fmt: skip
    """Scaled latents 1 x C x h x w become RGB 8h x 8w x 3, uint8 on the device; a tiny autoencoder
    is asked by ``tiny``."""
    vae: Any = live_vae or bundle.vae
    config = vae.config
    shift = config.get("shift_factor") or 0.0
    latents = (latents / config["scaling_factor"] + shift).to(_dtype_of(vae))
    with _brought(bundle, vae):
        is_tiny = isinstance(vae, AutoencoderTiny)
        sample = tiny(vae, latents) if is_tiny else vae.decode(latents).sample
    rgb = sample[0].float().add(1.0).mul(127.5).clamp(0.0, 255.0).round().to(torch.uint8)
    return rgb.permute(1, 2, 0)  # 3 x H x W to H x W x 3


def opaque_bgra(rgb: Pixels) -> Pixels:
    """RGB h x w x 3 becomes BGRA that nothing shows through, h x w x 4."""
    opaque = np.full(rgb.shape[:2], 255, dtype=np.uint8)
    # As planes: decoders mostly give them so, and then nothing is copied twice.
    planes = [rgb[..., 2], rgb[..., 1], rgb[..., 0], opaque]
    return np.asarray(cv2.merge(planes), dtype=np.uint8)


def _dtype_of(vae: Any) -> torch.dtype:
    """Its own ``dtype`` walks through all of its layers."""
    return next(vae.parameters()).dtype


def _brought(bundle: ModelBundle, vae: Any) -> AbstractContextManager[None]:
    """A tiny autoencoder stays where it is: it takes next to nothing."""
    is_tiny = isinstance(vae, AutoencoderTiny)
    return nullcontext() if is_tiny else bundle.placement.at_work(vae)


def seeded_noise(seed: int, shape: tuple[int, ...], count: int) -> torch.Tensor:
    """``count`` noises of ``shape``, float32 on the CPU: the same on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn((count, *shape), generator=generator, dtype=torch.float32)
