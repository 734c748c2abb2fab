"""A layer or mask of the document enters; what it covers leaves, as a mask or as bounds."""

from __future__ import annotations

import struct
from array import array
from typing import Any

from nijimi_protocol.geometry import Bounds, Extent

from .nodes import find_node
from .room import ChosenNode, SelectionMask
from .selection import mask_of

__all__ = ["active_node", "node_bounds", "node_mask"]

_CHANNELS = {"RGBA": 4, "GRAYA": 2, "CMYKA": 5, "LABA": 4, "XYZA": 4, "YCbCrA": 4, "A": 1}
"""Alpha is the last of them."""


def active_node(document: Any) -> ChosenNode | None:
    """The layer or mask that the painter is on."""
    node = document.activeNode()
    if node is None:
        return None
    return ChosenNode(node.uniqueId().toString(), node.name())


def node_mask(document: Any, node_id: str) -> SelectionMask | None:
    """What a node covers, cut to the canvas; None where that is nothing, or where it is gone.

    Of a selection mask what it selects; of a layer where it is opaque, its masks included; of
    another mask the same of its layer (Krita's scripts cannot read its own pixels).
    """
    node = find_node(document, node_id)
    if node is None:
        return None
    canvas = Extent(document.width(), document.height())
    if node.type() == "selectionmask":
        return mask_of(node.selection(), canvas)
    layer = _layer_of(node)
    bounds = _bounds(layer).intersection(canvas.bounds)
    pixels = b"" if bounds.is_empty else _alpha(layer, bounds)
    if len(pixels) != bounds.extent.pixels or not any(pixels):
        return None
    return SelectionMask(bounds, pixels)


def node_bounds(document: Any, node_id: str) -> Bounds | None:
    """The rectangle around what a node covers of the canvas, or None."""
    node = find_node(document, node_id)
    if node is None:
        return None
    if node.type() == "selectionmask":
        mask = node_mask(document, node_id)
        return mask.bounds if mask is not None else None
    bounds = _bounds(_layer_of(node)).intersection(
        Extent(document.width(), document.height()).bounds
    )
    return None if bounds.is_empty else bounds


def _layer_of(node: Any) -> Any:
    """The node itself, or the layer that it masks."""
    return node.parentNode() if node.type().endswith("mask") else node


def _bounds(node: Any) -> Bounds:
    rect = node.bounds()
    return Bounds(rect.x(), rect.y(), rect.width(), rect.height())


def _alpha(node: Any, bounds: Bounds) -> bytes:
    """A layer's opacity, 8 bit a pixel, from pixels of any depth."""
    data = bytes(node.projectionPixelData(*bounds))
    channels = _CHANNELS.get(node.colorModel(), 4)
    depth = node.colorDepth()
    if depth == "U8":
        return data[channels - 1 :: channels]
    if depth == "U16":
        # The high byte of the last channel: Krita stores little-endian on all its platforms.
        return data[2 * channels - 1 :: 2 * channels]
    if depth == "F32":
        values = array("f", data)[channels - 1 :: channels]
    else:
        values = struct.unpack(f"<{len(data) // 2}e", data)[channels - 1 :: channels]
    return bytes(round(255 * min(1.0, max(0.0, value))) for value in values)
