"""A picture and layers of ours enter; the newest that is left is replaced by one with the picture.

A copy of the layer, with all that the painter gave it, takes its place: its opacity, blending mode,
masks, colour label, name, clones and place. Krita's scripts cannot write into a layer so that undo
knows of it, and adding and removing are a step each; so both steps are taken together when the
painter undoes or redoes one of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from nijimi_protocol.geometry import Bounds, Extent

from ..qt import QtCore, is_deleted
from .document import SRGB, document_id
from .journal import Journal
from .layers import add_layer, write_picture
from .nodes import find_node, nodes_below
from .room import SelectionMask

__all__ = ["PairedSteps", "replace_picture"]

_KEPT = 64
_ACTIONS = ("edit_undo", "edit_redo")


class PairedSteps:
    """Undo and redo never stop between the two steps of a replacement, and what refers to the one
    layer goes over to the other, to and fro."""

    def __init__(self, app: Any) -> None:
        """``app``: Krita."""
        self.listeners: list[Callable[[str, str], None]] = []
        """They hear which layer is gone, and which one stands for it now."""
        self._app = app
        self._pairs: deque[tuple[str, str]] = deque(maxlen=_KEPT)
        self._there: dict[tuple[str, str], str] = {}
        """Which of both was there when somebody last looked."""
        self._heard: list[Any] = []

    def note(self, document: Any, before_id: str, after_id: str) -> None:
        """The layer ``after_id`` was added, and ``before_id`` is about to be removed."""
        self._pairs.append((before_id, after_id))
        self._there = {pair: self._there.get(pair, "") for pair in self._pairs}
        self._there[before_id, after_id] = after_id
        self._swap(document, before_id, after_id)
        self._heard = [action for action in self._heard if not is_deleted(action)]
        for name in _ACTIONS:
            # Each of Krita's windows has its own.
            action = self._app.action(name)
            if action is not None and not any(action is each for each in self._heard):
                action.triggered.connect(lambda *_, action=action: self._follow(action))
                self._heard.append(action)

    def _follow(self, action: Any) -> None:
        """Krita has taken a step: where that ends half-way, it takes the next one, too."""
        document = self._app.activeDocument()
        if document is None or document.rootNode() is None:
            return
        document.waitForDone()
        there = {node.uniqueId().toString() for node in nodes_below(document.rootNode())}
        if any(pair <= there for pair in map(set, self._pairs)):
            # Its own signal brings us here again.
            action.trigger()
            return
        for pair in self._pairs:
            here = next((each for each in pair if each in there), None)
            if here is not None and self._there.get(pair) != here:
                self._swap(document, pair[here == pair[0]], here)
                self._there[pair] = here

    def _swap(self, document: Any, gone_id: str, there_id: str) -> None:
        """Clones of the one become clones of the other; whoever listens is told."""
        there = find_node(document, there_id)
        for clone in _clones(document):
            source = clone.sourceNode() if _tells_source(clone) else None
            if source is not None and source.uniqueId().toString() == gone_id:
                clone.setSourceNode(there)
        for listener in self.listeners:
            listener(gone_id, there_id)


def replace_picture(
    journal: Journal,
    steps: PairedSteps,
    document: Any,
    layer_ids: Sequence[str],
    pixels: bytes | bytearray,
    extent: Extent,
    area: Bounds,
    selection: SelectionMask | None = None,
) -> str | None:
    """The id of the layer that took the place of the first one of ``layer_ids`` that is left; None
    where none is, where the painter has locked it or made another thing of it, and where clones
    could lose it. At rest only."""
    before = next((n for each in layer_ids if (n := find_node(document, each)) is not None), None)
    if before is None or not _may_replace(before):
        return None
    if not all(map(_tells_source, _clones(document))):
        # Krita 5.1 does not say what they are clones of: they might be left without their source.
        return None
    with journal.change(document_id(document), "replace a layer with a picture") as change:
        after = before.duplicate()
        after.setName(before.name())
        if (after.colorModel(), after.colorDepth()) != ("RGBA", "U8"):
            after.setColorSpace("RGBA", "U8", SRGB)
        rect = after.bounds()
        old = Bounds(rect.x(), rect.y(), rect.width(), rect.height())
        if not old.is_empty:
            after.setPixelData(QtCore.QByteArray(old.extent.pixels * 4, b"\0"), *old)
        write_picture(after, pixels, extent, area, selection)
        add_layer(after, before.parentNode(), before)
        change.undo_by(after.remove)
        ids = before.uniqueId().toString(), after.uniqueId().toString()
        # First: Krita makes plain layers of clones whose source is removed.
        steps.note(document, *ids)
        if not before.remove():
            raise RuntimeError(f"Krita did not remove the layer {before.name()!r}")
    return ids[1]


def _clones(document: Any) -> list[Any]:
    return [node for node in nodes_below(document.rootNode()) if node.type() == "clonelayer"]


def _tells_source(clone: Any) -> bool:
    return hasattr(clone, "sourceNode") and hasattr(clone, "setSourceNode")


def _may_replace(layer: Any) -> bool:
    return bool(layer.type() == "paintlayer" and not layer.locked() and not layer.animated())
