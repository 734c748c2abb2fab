"""A document and the layers to leave out enter; a reader of the rest's pixels leaves.

Krita gives the projection of all layers or of one, never of all but one. So where a layer is in
the way, the others are laid over each other here, as far as Qt can blend as Krita does; in every
other case a clone of the document is read in which the layer is hidden, which is possible at rest
only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from nijimi_protocol.geometry import Bounds

from ..qt import QtCore, QtGui
from .document import is_plain_srgb
from .layer_pixels import image_bytes
from .nodes import find_node, nodes_below
from .tile_scan import Reader

__all__ = ["hide_in_clone", "in_the_way", "layer_reader", "reader_without"]

_MODES = {
    "normal": "CompositionMode_SourceOver",
    "multiply": "CompositionMode_Multiply",
    "screen": "CompositionMode_Screen",
    "overlay": "CompositionMode_Overlay",
    "darken": "CompositionMode_Darken",
    "lighten": "CompositionMode_Lighten",
}
"""Krita's blending modes that Qt computes alike."""

_KINDS = ("paintlayer", "grouplayer", "vectorlayer", "filelayer", "clonelayer", "filllayer")


def in_the_way(document: Any, left_out: Collection[str]) -> bool:
    """Whether any of the layers to leave out is visible."""
    return bool(left_out) and any(
        node.visible() and node.uniqueId().toString() in left_out
        for node in nodes_below(document.rootNode())
    )


def reader_without(document: Any, left_out: Collection[str]) -> Reader | None:
    """Reads BGRA8 of all other layers; None where their blending cannot be done here."""
    if not is_plain_srgb(document):
        return None
    shown: list[tuple[Any, float, Any]] = []
    modes = QtGui.QPainter.CompositionMode
    for node in document.topLevelNodes():
        # What is selected is a mask beside the layers, and no part of the picture.
        if not node.visible() or node.type() == "selectionmask":
            continue
        if node.uniqueId().toString() in left_out:
            continue
        inside = {child.uniqueId().toString() for child in nodes_below(node) if child.visible()}
        is_simple = (
            node.type() in _KINDS
            and node.blendingMode() in _MODES
            and not inside & set(left_out)
            and node.colorModel() == "RGBA"
            and node.colorDepth() == "U8"
            and not (node.type() == "grouplayer" and node.passThroughMode())
        )
        if not is_simple:
            return None
        mode = getattr(modes, _MODES[node.blendingMode()])
        shown.append((node, node.opacity() / 255.0, mode))

    def read(bounds: Bounds) -> bytes:
        format = QtGui.QImage.Format
        picture = QtGui.QImage(bounds.width, bounds.height, format.Format_ARGB32_Premultiplied)
        picture.fill(0)
        painter = QtGui.QPainter(picture)
        for node, opacity, mode in shown:
            data = bytes(node.projectionPixelData(*bounds))
            if len(data) != bounds.extent.pixels * 4:
                continue
            # ARGB32 is BGRA in memory.
            layer = QtGui.QImage(
                data, bounds.width, bounds.height, bounds.width * 4, format.Format_ARGB32
            )
            painter.setOpacity(opacity)
            painter.setCompositionMode(mode)
            painter.drawImage(QtCore.QPoint(0, 0), layer)
        painter.end()
        return image_bytes(picture)

    return read


def hide_in_clone(document: Any, clone: Any, left_out: Collection[str]) -> None:
    """A clone's layers have ids of their own, but the same order."""
    pairs = zip(nodes_below(document.rootNode()), nodes_below(clone.rootNode()), strict=False)
    for node, copy in pairs:
        if node.uniqueId().toString() in left_out:
            copy.setVisible(False)
    clone.refreshProjection()


def layer_reader(document: Any, node_id: str) -> Reader | None:
    """Reads one layer alone as BGRA8, with its masks; None where that cannot be done.

    16 bit is read by its high bytes: a hint needs no more.
    """
    node = find_node(document, node_id)
    if node is None or node.type() not in _KINDS:
        return None
    depth, is_grey = node.colorDepth(), node.colorModel() == "GRAYA"
    if depth not in ("U8", "U16") or node.colorModel() not in ("RGBA", "GRAYA"):
        return None

    def read(bounds: Bounds) -> bytes:
        data = bytes(node.projectionPixelData(*bounds))
        if depth == "U16":
            data = data[1::2]
        if not is_grey:
            return data
        pixels = bytearray(2 * len(data))
        for channel in range(3):
            pixels[channel::4] = data[0::2]
        pixels[3::4] = data[1::2]
        return bytes(pixels)

    return read
