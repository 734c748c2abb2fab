"""The view as it is enters; the way from document pixels to the canvas widget's own leaves."""

# The Krita seam: Krita's module has no types, and exists inside Krita only.
# pyright: basic, reportMissingImports=false
from __future__ import annotations

from typing import Any

from krita import Krita
from nijimi_protocol.geometry import Extent

from ..qt import QtCore, QtGui, QtWidgets
from .document import active_document

__all__ = ["view_of"]


def view_of(canvas_widget: Any, extent: Extent) -> Any | None:
    """From pixels of the document in front to logical pixels of its canvas widget: a QTransform.

    ``extent`` is the document's. None where no document is seen.
    """
    document, window = active_document(), Krita.instance().activeWindow()
    if document is None or window is None or window.activeView() is None:
        return None
    area = canvas_widget.parent()
    while area is not None and not isinstance(area, QtWidgets.QAbstractScrollArea):
        area = area.parent()
    if area is None:
        return None
    canvas = window.activeView().canvas()
    # Krita's zoom is relative to the document's print size at 72 dots an inch, and counts logical
    # pixels already: at 100 % on a screen of scale 2 it is a half.
    scale = canvas.zoomLevel() * 72.0 / max(1.0, document.resolution())
    transform = _seen_from_corner(extent, scale, canvas.rotation(), canvas.mirror())
    x, y = area.horizontalScrollBar().value(), area.verticalScrollBar().value()
    return transform * QtGui.QTransform.fromTranslate(-x, -y)


def _seen_from_corner(extent: Extent, scale: float, rotation: float, mirror: bool) -> Any:
    """From document pixels to canvas widget pixels, but for the place of its corner.

    The picture is zoomed, mirrored left to right, then rotated clockwise; Krita's scroll bars give
    the upper left corner of what its bounding rectangle then is, with opposite sign.
    """
    transform = QtGui.QTransform()
    transform.rotate(rotation)
    transform.scale(-scale if mirror else scale, scale)
    corner = transform.mapRect(QtCore.QRectF(0, 0, extent.width, extent.height)).topLeft()
    # Applied last: move that corner to (0, 0).
    return transform * QtGui.QTransform.fromTranslate(-corner.x(), -corner.y())
