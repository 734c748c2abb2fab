"""A picture and a larger size enter; the enlarged picture leaves, and how tiles of one meet."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import torch
from nijimi_protocol.geometry import Bounds, Extent

from ..models.upscalers import UpscaleNetwork
from .request import Pixels
from .stages import resized

__all__ = ["blend_in", "enlarge", "network_tiles", "tiles_of"]

_TILE_PX = 192
"""Of the picture as it is, at a time: what a network holds in memory grows with it."""

_OVERLAP_PX = 16


def enlarge(
    rgb: Pixels,
    extent: Extent,
    network: UpscaleNetwork | None,
    stepped: Callable[[], None] = lambda: None,
) -> Pixels:
    """RGB h x w x 3 at the size of ``extent``: by the network, tile by tile, or by Lanczos.

    ``stepped`` is called for each tile (``network_tiles``), or once, and may raise.
    """
    height, width = rgb.shape[:2]
    if network is None:
        stepped()
        return resized(rgb, extent, cv2.INTER_LANCZOS4)
    before = Extent(width, height)
    result = np.zeros((extent.height, extent.width, 3), np.uint8)
    overlap = math.ceil(_OVERLAP_PX * extent.width / width)
    for part in network_tiles(before):
        stepped()
        target = _scaled(part, before, extent)
        made = _by_network(rgb[part.y : part.bottom, part.x : part.right], network)
        blend_in(result, target, resized(made, target.extent, cv2.INTER_LANCZOS4), overlap)
    return result


def network_tiles(extent: Extent) -> list[Bounds]:
    """What a network enlarges at a time."""
    return tiles_of(extent, _TILE_PX, _OVERLAP_PX)


def tiles_of(extent: Extent, side: int, overlap: int) -> list[Bounds]:
    """Tiles of ``side``, evenly spread, that overlap by at least ``overlap``; row by row.

    Where ``extent`` is not larger than a tile it is one.
    """
    return [
        Bounds(x, y, width, height)
        for y, height in _spans(extent.height, side, overlap)
        for x, width in _spans(extent.width, side, overlap)
    ]


def _spans(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    if length <= side:
        return [(0, length)]
    count = math.ceil((length - overlap) / (side - overlap))
    step = (length - side) / (count - 1)
    return [(round(n * step), side) for n in range(count)]


def blend_in(picture: Pixels, tile: Bounds, made: Pixels, overlap: int) -> None:
    """Put ``made`` into the tile's place in ``picture``, both RGB; where tiles above and to the
    left lie already, the one passes smoothly into the other."""
    weight = np.ones((tile.height, tile.width), np.float32)
    if tile.x > 0:
        weight *= _ramp(min(overlap, tile.width), tile.width)[None, :]
    if tile.y > 0:
        weight *= _ramp(min(overlap, tile.height), tile.height)[:, None]
    place = picture[tile.y : tile.bottom, tile.x : tile.right]
    mixed = place + (made.astype(np.float32) - place) * weight[..., None]
    place[...] = np.rint(mixed).astype(np.uint8)


def _ramp(overlap: int, length: int) -> npt.NDArray[np.float32]:
    """From 0 to 1 over the overlap, without a corner at either end, then 1."""
    weight = np.ones(length, np.float32)
    t = (np.arange(overlap, dtype=np.float32) + 0.5) / max(1, overlap)
    weight[:overlap] = t * t * (3.0 - 2.0 * t)
    return weight


def _by_network(rgb: Pixels, network: UpscaleNetwork) -> Pixels:
    images = torch.from_numpy(np.ascontiguousarray(rgb)).to(network.device)
    images = images.permute(2, 0, 1)[None].to(network.dtype) / 255.0  # 1 x 3 x h x w
    made: torch.Tensor = network.run(images)
    whole = made[0].float().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return np.ascontiguousarray(whole.permute(1, 2, 0).cpu().numpy())  # h x w x 3


def _scaled(part: Bounds, before: Extent, after: Extent) -> Bounds:
    """The part's place in the enlarged picture: edges of neighbours meet whatever the factor."""
    left, right = (round(x * after.width / before.width) for x in (part.x, part.right))
    top, bottom = (round(y * after.height / before.height) for y in (part.y, part.bottom))
    return Bounds(left, top, right - left, bottom - top)
