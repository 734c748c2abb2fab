"""A finished or rough picture enters; the same picture in another hand leaves."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

__all__ = ["SIZE_PX", "STYLES", "in_style", "warp"]

SIZE_PX = 256

STYLES = ("painterly", "flat", "ink outlined")


def in_style(image: Image.Image, style: str, rng: random.Random) -> Image.Image:
    """The picture as painted, as inked, or as it is."""
    if style == "painterly":
        return _paint(image, rng)
    if style == "ink outlined":
        return _ink(image)
    return image


def _noise(rng: random.Random, cells: int) -> npt.NDArray[np.float32]:
    """Smooth noise about [-1, 1], 256 x 256."""
    grid = np.random.default_rng(rng.getrandbits(32)).uniform(-1, 1, (cells, cells))
    scaled = Image.fromarray(grid.astype(np.float32)).resize(
        (SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC
    )
    return np.asarray(scaled)


def warp(image: Image.Image, rng: random.Random, reach_px: float, cells: int) -> Image.Image:
    """Push every pixel aside by smooth noise: a hand's edge instead of a ruler's."""
    rows, columns = np.mgrid[0:SIZE_PX, 0:SIZE_PX]
    dy, dx = (_noise(rng, cells) * reach_px for _ in range(2))
    y = (rows + dy).round().astype(np.intp).clip(0, SIZE_PX - 1)
    x = (columns + dx).round().astype(np.intp).clip(0, SIZE_PX - 1)
    return Image.fromarray(np.asarray(image)[y, x])


def _paint(image: Image.Image, rng: random.Random) -> Image.Image:
    """Brush texture: warped edges, tone that varies along strokes, a little canvas grain."""
    warped = warp(image, rng, 2.4, 40).filter(ImageFilter.MedianFilter(3))
    pixels = np.asarray(warped, dtype=np.float32)
    tone = (_noise(rng, 20) * 6 + _noise(rng, 56) * 5)[..., None]
    return Image.fromarray((pixels + tone).clip(0, 255).astype(np.uint8))


def _ink(image: Image.Image) -> Image.Image:
    """Dark lines where the picture has edges."""
    edges = np.asarray(image.convert("L").filter(ImageFilter.FIND_EDGES), dtype=np.float32)
    edges[:2], edges[-2:], edges[:, :2], edges[:, -2:] = 0, 0, 0, 0
    line = (edges / 60).clip(0, 0.85)[..., None]
    pixels = np.asarray(image, dtype=np.float32)
    return Image.fromarray((pixels * (1 - line) + 24 * line).astype(np.uint8))
