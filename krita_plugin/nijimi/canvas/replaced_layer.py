"""A picture and layers of ours enter; the newest that is left is replaced by one with the picture.

A copy of the layer, with all that the painter gave it, takes its place: its opacity, blending mode,
masks, colour label, name and place. Krita's scripts cannot write into a layer so that undo knows of
it, and adding and removing are a step each; so both steps are taken together when the painter
undoes or redoes one of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from nijimi_protocol.geometry import Bounds, Extent

from ..qt import QtCore, is_deleted
from .document import SRGB, document_id
from .journal import Journal
from .layers import add_layer, write_picture
from .nodes import find_node
from .room import SelectionMask

__all__ = ["PairedSteps", "replace_picture"]

_KEPT = 64
_ACTIONS = ("edit_undo", "edit_redo")


class PairedSteps:
    """Undo and redo never stop between the two steps of a replacement."""

    def __init__(self, app: Any) -> None:
        """``app``: Krita."""
        self._app = app
        self._pairs: deque[tuple[str, str]] = deque(maxlen=_KEPT)
        self._heard: list[Any] = []

    def note(self, before_id: str, after_id: str) -> None:
        """The layer ``after_id`` was added, then ``before_id`` was removed."""
        self._pairs.append((before_id, after_id))
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
        if any(
            find_node(document, before) is not None and find_node(document, after) is not None
            for before, after in self._pairs
        ):
            action.trigger()


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
    where none is, or where the painter has locked it or made another thing of it. At rest only."""
    before = next((n for each in layer_ids if (n := find_node(document, each)) is not None), None)
    if before is None or not _may_replace(before):
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
        if not before.remove():
            raise RuntimeError(f"Krita did not remove the layer {before.name()!r}")
        steps.note(before.uniqueId().toString(), after.uniqueId().toString())
    return str(after.uniqueId().toString())


def _may_replace(layer: Any) -> bool:
    return bool(layer.type() == "paintlayer" and not layer.locked() and not layer.animated())
