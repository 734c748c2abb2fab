"""A picture enters; a layer of ours holds it. No layer of the painter's is ever written to."""

from __future__ import annotations

from typing import Any

from nijimi_protocol.geometry import Bounds, Extent

from ..qt import QtCore
from .document import SRGB, document_id, is_plain_srgb
from .journal import Journal
from .layer_pixels import cut_to_selection, scaled_pixels
from .room import SelectionMask

__all__ = [
    "PREVIEW_NAME",
    "PreviewLayer",
    "add_layer",
    "apply_picture",
    "find_preview",
    "place_of_new_layer",
    "write_picture",
]

PREVIEW_NAME = "Nijimi preview"


def apply_picture(
    journal: Journal,
    document: Any,
    pixels: bytes | bytearray,
    extent: Extent,
    area: Bounds,
    name: str,
    selection: SelectionMask | None = None,
) -> str:
    """Add one filled paint layer above the active one: one undo step; its id leaves. At rest.

    The layer is filled before it is added: a write afterwards would not be undone with it
    (and would disturb the undo of strokes beside it).
    """
    with journal.change(document_id(document), "add a layer with a picture"):
        layer = _filled_layer(document, pixels, extent, area, name, selection)
        add_layer(layer, *place_of_new_layer(document))
    return str(layer.uniqueId().toString())


def add_layer(layer: Any, parent: Any, above: Any) -> None:
    """One step of undo. Raises ``RuntimeError`` where Krita does not take it."""
    if not parent.addChildNode(layer, above):
        raise RuntimeError(f"Krita did not take the layer {layer.name()!r}")


def _filled_layer(
    document: Any,
    pixels: bytes | bytearray,
    extent: Extent,
    area: Bounds,
    name: str,
    selection: SelectionMask | None = None,
) -> Any:
    layer = document.createNode(name, "paintlayer")
    if not is_plain_srgb(document):
        layer.setColorSpace("RGBA", "U8", SRGB)
    write_picture(layer, pixels, extent, area, selection)
    return layer


def write_picture(
    layer: Any,
    pixels: bytes | bytearray,
    extent: Extent,
    area: Bounds,
    selection: SelectionMask | None,
) -> None:
    """Fill ``area`` of a layer; with a selection only what is selected is to be seen."""
    data = scaled_pixels(pixels, extent, area.extent)
    if selection is not None:
        data = cut_to_selection(data, area, selection)
    layer.setPixelData(QtCore.QByteArray(data), *area)


def place_of_new_layer(document: Any) -> tuple[Any, Any]:
    """The parent of the new layer and the node that it goes above, None for the top: where Krita
    itself puts a new layer. Into an open group that is active, else above what is active, and
    never into a locked group."""
    node = document.activeNode()
    # A mask is no place for a layer: climb to the layer that it belongs to.
    while node is not None and node.type().endswith("mask"):
        node = node.parentNode()
    if node is None or node.parentNode() is None:
        return document.rootNode(), None
    if node.type() == "grouplayer" and not node.collapsed() and not node.locked():
        return node, None
    parent = node.parentNode()
    while parent.locked() and parent.parentNode() is not None:
        node, parent = parent, parent.parentNode()
    return parent, node


def find_preview(document: Any) -> Any | None:
    """Our preview layer, if the document has one: a locked top-level layer of that name."""
    root = document.rootNode()
    if root is None:
        return None
    for node in root.childNodes():
        if node.name() == PREVIEW_NAME and node.locked():
            return node
    return None


class PreviewLayer:
    """The managed preview layer of one document; every method is called at rest only."""

    def __init__(self, journal: Journal, document: Any) -> None:
        self._journal = journal
        self._document = document

    @property
    def is_there(self) -> bool:
        return find_preview(self._document) is not None

    def show(
        self,
        pixels: bytes | bytearray,
        extent: Extent,
        area: Bounds,
        opacity: float,
        selection: SelectionMask | None = None,
    ) -> Any:
        """Put the picture into the layer, which is made at first use.

        Krita makes a new layer the active one, a moment later: then the layer that the painter
        had active comes back, for ``give_back``; else None.
        """
        layer = find_preview(self._document)
        if layer is None:
            with self._journal.change(document_id(self._document), "add the preview layer"):
                active = self._document.activeNode()
                layer = _filled_layer(self._document, pixels, extent, area, PREVIEW_NAME, selection)
                layer.setOpacity(round(255 * opacity))
                layer.setLocked(True)
                add_layer(layer, self._document.rootNode(), None)
            return active
        with self._journal.change(document_id(self._document), "write the preview") as change:
            # Half a picture helps nobody: then no preview at all.
            change.undo_by(self._remove)
            layer.setOpacity(round(255 * opacity))
            # What an earlier picture left beside this one must go.
            rect = layer.bounds()
            whole = Bounds(rect.x(), rect.y(), rect.width(), rect.height())
            if not whole.is_empty and whole != area:
                layer.setPixelData(QtCore.QByteArray(whole.extent.pixels * 4, b"\0"), *whole)
            write_picture(layer, pixels, extent, area, selection)
            self._document.refreshProjection()
        return None

    def give_back(self, node: Any) -> Any:
        """Make ``node`` the active one again if ours has become it.

        The one that the painter has active leaves, for the next look: it may be another by now.
        """
        layer, active = find_preview(self._document), self._document.activeNode()
        if layer is None or active is None:
            return node
        if active != layer:
            return active
        self._document.setActiveNode(node)
        return node

    def remove(self) -> None:
        if self.is_there:
            with self._journal.change(document_id(self._document), "remove the preview layer"):
                self._remove()

    def _remove(self) -> None:
        layer = find_preview(self._document)
        if layer is not None:
            layer.remove()
            self._document.refreshProjection()
