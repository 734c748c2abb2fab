"""Krita's selection enters; a mask of what is selected within the canvas leaves."""

from __future__ import annotations

from typing import Any

from nijimi_protocol.geometry import Bounds, Extent

from .room import SelectionMask

__all__ = ["mask_of", "selection_mask"]


def selection_mask(document: Any) -> SelectionMask | None:
    """What is selected, cut to the canvas; None where nothing is, or nothing on the canvas."""
    return mask_of(document.selection(), Extent(document.width(), document.height()))


def mask_of(selection: Any | None, canvas: Extent) -> SelectionMask | None:
    """The same of any selection of Krita's."""
    if selection is None:
        return None
    whole = Bounds(selection.x(), selection.y(), selection.width(), selection.height())
    bounds = whole.intersection(canvas.bounds)
    if bounds.is_empty:
        return None
    pixels = bytes(selection.pixelData(bounds.x, bounds.y, bounds.width, bounds.height))
    if len(pixels) != bounds.width * bounds.height or not any(pixels):
        return None
    return SelectionMask(bounds, pixels)
