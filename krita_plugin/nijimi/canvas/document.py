"""Krita's active document enters; what the rest of the plugin may know of it leaves."""

# The Krita seam: Krita's module has no types, and exists inside Krita only.
# pyright: basic, reportMissingImports=false
from __future__ import annotations

from typing import Any

from krita import Krita
from nijimi_protocol.geometry import Extent

from ..qt import QtCore
from ..texts import tr
from .journal import Journal

__all__ = [
    "SRGB",
    "active_document",
    "canvas_image",
    "canvas_widget",
    "change_token",
    "clone_at_rest",
    "colour_problem",
    "document_extent",
    "document_id",
    "icon",
    "is_at_rest",
    "is_canvas_in_front",
    "is_open",
    "is_plain_srgb",
    "main_window",
    "open_picture",
    "read_note",
    "selected_area",
    "trigger_action",
    "write_note",
]

SRGB = "sRGB-elle-V2-srgbtrc.icc"
"""Krita's own name of its profile."""

_PIXELS_AN_INCH = 300.0

_NOTE = "nijimi/controls"

_MOST_SHOWN_PX = 1536

_CANVAS_CLASSES = ("KisQPainterCanvas", "KisOpenGLCanvas2")


def active_document() -> Any | None:
    """The document in front, or None. A closed one's wrapper counts as None."""
    document = Krita.instance().activeDocument()
    if document is None or document.rootNode() is None:
        return None
    return document


def document_id(document: Any) -> str:
    """Stays the same while the document is open; wrappers of it come and go."""
    return document.rootNode().uniqueId().toString()


def is_open(document: Any) -> bool:
    return any(other == document for other in Krita.instance().documents())


def document_extent(document: Any) -> Extent:
    return Extent(document.width(), document.height())


def is_plain_srgb(document: Any) -> bool:
    """Whether the document's pixels are 8-bit sRGB with alpha, as they travel."""
    return bool(
        document.colorDepth() == "U8"
        and document.colorModel() == "RGBA"
        and document.colorProfile().lower().startswith("srgb")
    )


def colour_problem(document: Any) -> tuple[str, str] | None:
    """Why its colours cannot be understood: a sentence and what to do, or None.

    Krita converts through profiles; RGB and grey without one are taken as sRGB.
    """
    model = document.colorModel()
    if model in ("RGBA", "GRAYA") or document.colorProfile():
        return None
    return (
        tr(
            "The document is {model} without a colour profile: nobody knows which colours it "
            "means.",
            model=model.removesuffix("A"),
        ),
        tr("Give it a profile by Image > Convert Image Color Space."),
    )


def read_note(document: Any) -> str:
    """What we wrote into the document's file, "" where that is nothing."""
    if _NOTE not in document.annotationTypes():
        return ""
    return bytes(document.annotation(_NOTE)).decode("utf-8", "replace")


def write_note(journal: Journal, document: Any, text: str) -> None:
    """Keep a text in the document's file; it is saved when the painter saves."""
    before = read_note(document)
    if text == before:
        return
    with journal.change(document_id(document), "note the control layers") as change:
        change.undo_by(lambda: _write_note(document, before))
        _write_note(document, text)


def _write_note(document: Any, text: str) -> None:
    if text:
        document.setAnnotation(_NOTE, "Nijimi's control layers", text.encode("utf-8"))
    else:
        document.removeAnnotation(_NOTE)


def change_token(document: Any) -> int:
    """A number that changes when the projection does: 0.0 ms unchanged, 0.4 ms changed."""
    return document.rootNode().thumbnail(32, 32).cacheKey()


def canvas_image(document: Any) -> Any:
    """The projection as a QImage, no larger than what a screen shows of it."""
    width, height = document.width(), document.height()
    scale = min(1.0, _MOST_SHOWN_PX / max(width, height))
    return document.thumbnail(max(1, round(width * scale)), max(1, round(height * scale)))


def selected_area(document: Any) -> tuple[int, ...]:
    """Place and size of what is selected: changing it alone changes no pixel of the projection."""
    selection = document.selection()
    if selection is None:
        return ()
    return (selection.x(), selection.y(), selection.width(), selection.height())


def is_at_rest(document: Any) -> bool:
    """True when Krita does nothing with the image: then layers may be written and added."""
    if not document.tryBarrierLock():
        return False
    document.unlock()
    return True


def clone_at_rest(document: Any) -> Any | None:
    """A copy of the document, or None while Krita is at work on it.

    Krita's threads wait while it is made, as when Krita clones a document to save it: without
    that, cloning one whose projection is just being made can crash Krita.
    """
    if not document.tryBarrierLock():
        return None
    try:
        return document.clone()
    finally:
        document.unlock()


def main_window() -> Any | None:
    window = Krita.instance().activeWindow()
    return window.qwindow() if window is not None else None


def canvas_widget() -> Any | None:
    """The widget that the active view paints on."""
    window = main_window()
    if window is None:
        return None
    from ..qt import QtWidgets

    # Side by side or in tabs, every view has a canvas of its own.
    area = window.findChild(QtWidgets.QMdiArea)
    view = area.currentSubWindow() if area is not None else None
    for widget in (view or window).findChildren(QtWidgets.QWidget):
        if widget.metaObject().className() in _CANVAS_CLASSES and widget.isVisible():
            return widget
    return None


def is_canvas_in_front(canvas: Any) -> bool:
    """Whether that canvas is the active view's still. False where that is not easily said.

    For what is asked at every picture: to find the widget takes 2.5 ms of Krita's thread.
    """
    from ..qt import QtWidgets, is_deleted

    if canvas is None or is_deleted(canvas) or not canvas.isVisible():
        return False
    view: Any = canvas.parentWidget()
    while view is not None and not isinstance(view, QtWidgets.QMdiSubWindow):
        view = view.parentWidget()
    if view is None or view.mdiArea() is None:
        return False
    return view.mdiArea().currentSubWindow() is view and view.window() is main_window()


def trigger_action(name: str) -> None:
    """As its entry in Krita's menus does; nothing where this Krita has none of that name."""
    action = Krita.instance().action(name)
    if action is not None:
        action.trigger()


def icon(name: str) -> Any:
    """An icon of Krita's theme."""
    return Krita.instance().icon(name)


def open_picture(pixels: bytes, extent: Extent, name: str) -> None:
    """A new document of that BGRA8 picture comes to the front, in sRGB and with the resolution of
    the one that was there, to be saved where the painter likes."""
    app: Any = Krita.instance()
    before = app.activeDocument()
    resolution = float(before.resolution()) if before is not None else _PIXELS_AN_INCH
    document = app.createDocument(extent.width, extent.height, name, "RGBA", "U8", SRGB, resolution)
    for layer in document.topLevelNodes():
        if layer.type() == "paintlayer":
            layer.setName(name)
            layer.setPixelData(QtCore.QByteArray(pixels), 0, 0, *extent)
    document.refreshProjection()
    # It is on no disk yet: Krita asks before it is closed.
    document.setModified(True)
    app.activeWindow().addView(document)
