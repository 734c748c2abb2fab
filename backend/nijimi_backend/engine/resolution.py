"""A canvas size and a model's native size enter; the size to render at leaves."""

from __future__ import annotations

import math

from nijimi_protocol.geometry import Extent

__all__ = ["render_extent"]


def render_extent(canvas: Extent, native_px: int, multiple_px: int) -> Extent:
    """About native x native pixels at the canvas's aspect, in multiples of ``multiple_px``.

    A model draws best near the number of pixels that it was trained on; more gives doubled
    subjects, fewer gives mush. Very long canvases are limited to 1:4, and then squeezed.
    """
    aspect = min(4.0, max(0.25, canvas.width / canvas.height))
    width = native_px * math.sqrt(aspect)
    height = native_px / math.sqrt(aspect)
    return Extent(_snap(width, multiple_px), _snap(height, multiple_px))


def _snap(length: float, multiple_px: int) -> int:
    return max(multiple_px, round(length / multiple_px) * multiple_px)
