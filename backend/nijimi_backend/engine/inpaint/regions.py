"""A selection enters; crops of the canvas that hold each island with its surroundings leave."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.inpaint import InpaintParams

from ..request import Pixels

__all__ = [
    "MAX_REGIONS",
    "Region",
    "context_of",
    "feathered",
    "find_islands",
    "layer_alpha",
    "make_regions",
]

_CELL_PX = 8
"""Islands are found on a map of cells: nearer than one cell is the same island."""

_MIN_CONTEXT_PX = 32
_CONTEXT_PART = 0.3
"""Padding by rule: this part of the island's longer side, and at least some pixels."""

MAX_REGIONS = 6
"""More islands than this are rendered together: each costs a whole picture."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """One picture to render.

    ``crop``: canvas pixels that the model sees. ``selection``: h x w of the crop, what is shown of
    the result. ``repaint``: h x w, the same grown: what the model may change. ``alpha``: h x w,
    the opacity of the result.
    """

    crop: Bounds
    selection: Pixels
    repaint: Pixels
    alpha: Pixels


def make_regions(selection: Pixels, native_px: int, wish: InpaintParams) -> tuple[Region, ...]:
    """The regions of a selection that is not empty; near ones share a region.

    Where the painter chose the context, there is one region, of just that and the selection.
    """
    selection = feathered(selection, wish.feather_px)
    canvas = Extent(selection.shape[1], selection.shape[0])
    wanted = (wish.context or Bounds(0, 0, 0, 0)).intersection(canvas.bounds)
    if not wanted.is_empty:
        crop = reduce(Bounds.union, find_islands(selection), wanted)
        return (_cut(selection, crop, wish),)
    crops = [
        (island, context_of(island, canvas, native_px, wish.context_px))
        for island in find_islands(selection)
    ]
    crops = _merge(crops, canvas, native_px, wish.context_px)
    return tuple(_cut(selection, crop, wish) for _, crop in crops)


def feathered(selection: Pixels, feather_px: int) -> Pixels:
    """The selection with an edge that rises over ``feather_px`` inwards; 0 stays 0."""
    if feather_px <= 0 or selection.min() > 0:
        return selection
    distance = np.asarray(cv2.distanceTransform(selection, cv2.DIST_L2, 3))
    # At least 1: however wide the feather, what is selected stays so.
    soft = (distance * (255.0 / (feather_px + 1))).clip(1, 255).astype(np.uint8)
    return np.minimum(selection, soft)


def find_islands(selection: Pixels) -> list[Bounds]:
    """Tight bounds of each connected part, in canvas pixels, the largest first."""
    # The largest value of each cell: of the window that begins at its corner.
    window = np.ones((_CELL_PX, _CELL_PX), dtype=np.uint8)
    largest = cv2.dilate(
        selection, window, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=(0,)
    )
    cells = np.ascontiguousarray(np.asarray(largest)[::_CELL_PX, ::_CELL_PX])
    count, _, stats, _ = cv2.connectedComponentsWithStats((cells > 0).astype(np.uint8))
    found: list[Bounds] = []
    for n in range(1, count):
        left, top, w, h = (int(value) * _CELL_PX for value in stats[n][:4])
        part = np.ascontiguousarray(selection[top : top + h, left : left + w])
        x, y, width, height = cv2.boundingRect(part)
        found.append(Bounds(left + x, top + y, width, height))
    return sorted(found, key=lambda island: -island.extent.pixels)


def context_of(island: Bounds, canvas: Extent, native_px: int, context_px: int) -> Bounds:
    """The island with padding: a square of at least ``native_px`` where the canvas is that large.

    A model draws best at the shape that it was trained on, and one shape is prepared only once.
    """
    by_rule = max(_MIN_CONTEXT_PX, round(_CONTEXT_PART * max(island.extent)))
    padding = context_px or by_rule
    side = max(native_px, max(island.extent) + 2 * padding)
    x, width = _stretch(island.x, island.width, side, canvas.width)
    y, height = _stretch(island.y, island.height, side, canvas.height)
    return Bounds(x, y, width, height)


def _stretch(start: int, length: int, side: int, room: int) -> tuple[int, int]:
    wanted = min(room, side)
    middle = start + length / 2
    first = round(middle - wanted / 2)
    return max(0, min(first, room - wanted)), wanted


def _merge(
    crops: list[tuple[Bounds, Bounds]], canvas: Extent, native_px: int, context_px: int
) -> list[tuple[Bounds, Bounds]]:
    """Join islands whose crops overlap: what lies in another's context must fit to it."""
    merged = True
    while merged:
        merged = False
        for n in range(len(crops)):
            for m in range(n + 1, len(crops)):
                overlap = not crops[n][1].intersection(crops[m][1]).is_empty
                if overlap or len(crops) > MAX_REGIONS:
                    island = crops[n][0].union(crops[m][0])
                    crop = context_of(island, canvas, native_px, context_px)
                    rest = [c for k, c in enumerate(crops) if k not in (n, m)]
                    crops, merged = [*rest, (island, crop)], True
                    break
            if merged:
                break
    return crops


def layer_alpha(selection: Pixels, blend_px: int) -> Pixels:
    """Opacity of the result, h x w: 0 exactly where nothing is selected.

    Inside a hard edge it rises over ``blend_px``, or less where the selection is thin. In a soft
    edge it is full from the middle grey on, because there the content itself changes gradually
    (differential diffusion).
    """
    # Saturating: from 128 on it is full.
    alpha = cv2.add(selection, selection)
    if blend_px > 0 and selection.min() == 0:
        # Distances to the nearest pixel that is not selected.
        distance = cv2.distanceTransform(selection, cv2.DIST_L2, 3)
        reach = min(float(blend_px), max(1.0, 0.5 * float(np.max(distance))))
        alpha = cv2.min(alpha, cv2.convertScaleAbs(distance, alpha=255.0 / reach))
    return np.asarray(alpha, dtype=np.uint8)


def _cut(selection: Pixels, crop: Bounds, wish: InpaintParams) -> Region:
    part = np.ascontiguousarray(selection[crop.y : crop.bottom, crop.x : crop.right])
    repaint = part
    if wish.grow_px:
        side = 2 * wish.grow_px + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (side, side))
        repaint = np.asarray(cv2.dilate(part, kernel), dtype=np.uint8)
    alpha = layer_alpha(part, wish.blend_px)
    return Region(crop=crop, selection=part, repaint=repaint, alpha=alpha)
