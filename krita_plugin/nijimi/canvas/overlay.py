"""A picture enters; it is seen over the canvas, where the document is, and nothing is written."""

# The Krita seam: Krita's module has no types, and exists inside Krita only.
# pyright: basic, reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nijimi_protocol.geometry import Bounds, Extent

from ..qt import QtCore, QtGui, QtWidgets, is_deleted
from .document import canvas_widget, is_canvas_in_front
from .view import view_of

__all__ = ["Overlay"]


class _Sheet(QtWidgets.QWidget):
    """The transparent child of one canvas widget. The pointer goes through it."""

    def __init__(self, canvas: Any) -> None:
        super().__init__(canvas)
        self.setObjectName("nijimi_overlay")
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_NoSystemBackground)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self.image: Any = None
        self.pixels = b""
        self.area = Bounds(0, 0, 0, 0)
        self.extent = Extent(0, 0)
        self.opacity = 1.0
        self.is_framed = False
        self.is_quick = False
        self.frames = 0
        self._canvas = canvas
        self._cache: Any = None
        self._cache_key: Any = None
        self._corner = QtCore.QPoint(0, 0)
        self.on_paint: Callable[[float], None] = _ignore
        self.setGeometry(canvas.rect())
        canvas.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        if event.type() == QtCore.QEvent.Type.Resize:
            self.setGeometry(watched.rect())
        return False

    def paintEvent(self, event: Any) -> None:
        started = time.perf_counter()
        self._paint(event.rect())
        self.on_paint((time.perf_counter() - started) * 1000)

    def _paint(self, rect: Any) -> None:
        transform = view_of(self._canvas, self.extent)
        if self.image is None or transform is None:
            return
        # Krita repaints the canvas, and so us, at every dab: scale once a frame, not once a dab.
        key = (self.frames, self.area, transform, self.size())
        if key != self._cache_key:
            self._cache, self._cache_key = self._render(transform), key
        painter = QtGui.QPainter(self)
        painter.setClipRect(rect)
        painter.setOpacity(self.opacity)
        painter.drawPixmap(self._corner, self._cache)
        if self.is_framed:
            pen = QtGui.QPen(QtGui.QColor(255, 255, 255, 150), 1, QtCore.Qt.PenStyle.DashLine)
            pen.setCosmetic(True)
            painter.setPen(pen)
            painter.setTransform(transform)
            painter.drawRect(QtCore.QRectF(*self.area).adjusted(0.5, 0.5, -0.5, -0.5))
        painter.end()

    def _render(self, transform: Any) -> Any:
        """The visible part of the picture, and little more, as it is seen."""
        exact = transform.mapRect(QtCore.QRectF(*self.area))
        whole = exact.toRect()
        seen = exact.toAlignedRect() & self.rect()
        ratio = self.devicePixelRatioF()
        if _is_upright(transform, exact) and _pixels(whole) <= 2 * _pixels(seen):
            # From 256 to 1000 px in Krita: 4.4 ms, quickly 2.3; the painter below needs 8.
            self._corner = whole.topLeft()
            width, height = (max(1, round(n * ratio)) for n in (whole.width(), whole.height()))
            image, modes = self.image, QtCore.Qt.TransformationMode
            keep = QtCore.Qt.AspectRatioMode.IgnoreAspectRatio
            if self.is_quick and width > 2 * image.width():
                image = image.scaled(width // 2, height // 2, keep, modes.SmoothTransformation)
                image = image.scaled(width, height, keep, modes.FastTransformation)
            else:
                image = image.scaled(width, height, keep, modes.SmoothTransformation)
            pixmap = QtGui.QPixmap.fromImage(image)
            pixmap.setDevicePixelRatio(ratio)
            return pixmap
        self._corner = seen.topLeft()
        pixmap = QtGui.QPixmap(
            max(1, round(seen.width() * ratio)), max(1, round(seen.height() * ratio))
        )
        pixmap.setDevicePixelRatio(ratio)
        pixmap.fill(QtCore.Qt.GlobalColor.transparent)
        painter = QtGui.QPainter(pixmap)
        painter.setRenderHint(QtGui.QPainter.RenderHint.SmoothPixmapTransform)
        painter.translate(-self._corner)
        painter.setTransform(transform, True)
        painter.drawImage(QtCore.QRectF(*self.area), self.image)
        painter.end()
        return pixmap


def _is_upright(transform: Any, area: Any) -> bool:
    """Neither turned nor mirrored, and from whole pixels to whole pixels."""
    edges = (area.left(), area.top(), area.right(), area.bottom())
    return (
        transform.m12() == transform.m21() == 0.0
        and transform.m11() > 0.0
        and all(abs(edge - round(edge)) < 0.01 for edge in edges)
    )


def _pixels(rect: Any) -> int:
    return rect.width() * rect.height()


def _ignore(_spent_ms: float) -> None:
    """Nobody measures."""


class Overlay:
    """The picture over whichever canvas is in front.

    ``on_paint`` is told how long each painting took, in milliseconds.
    """

    def __init__(self) -> None:
        self.on_paint: Callable[[float], None] = _ignore
        self._sheet: _Sheet | None = None
        self._opacity = 1.0
        self._frames = 0

    def set_opacity(self, opacity: float) -> None:
        self._opacity = opacity
        if sheet := self._alive():
            sheet.opacity = opacity
            sheet.update()

    def show_picture(
        self,
        pixels: bytes,
        extent: Extent,
        area: Bounds,
        canvas: Extent,
        *,
        is_opaque: bool = True,
        is_quick: bool = False,
    ) -> None:
        """Show BGRA8 ``pixels`` of ``extent`` over ``area`` of a document of ``canvas`` pixels.

        A picture that is not opaque is one of a selection: its area is framed. One that is
        quickly followed by the next is scaled in half the time, a little less smoothly.
        """
        sheet = self._on_active_canvas()
        if sheet is None:
            return
        # The image does not own its pixels: both are kept.
        sheet.pixels = pixels
        formats = QtGui.QImage.Format
        kind = formats.Format_RGB32 if is_opaque else formats.Format_ARGB32
        sheet.image = QtGui.QImage(pixels, *extent, kind)
        sheet.is_framed, sheet.is_quick = not is_opaque, is_quick
        self._frames += 1
        sheet.area, sheet.extent, sheet.frames = area, canvas, self._frames
        sheet.opacity = self._opacity
        sheet.on_paint = self.on_paint
        sheet.show()
        sheet.update()

    def clear(self) -> None:
        if sheet := self._alive():
            sheet.image = None
            sheet.hide()

    def detach(self) -> None:
        """Leave the canvas."""
        if sheet := self._alive():
            sheet.hide()
            sheet.deleteLater()
        self._sheet = None

    def _alive(self) -> _Sheet | None:
        """Our sheet, unless Krita deleted it together with its canvas."""
        if self._sheet is not None and is_deleted(self._sheet):
            self._sheet = None
        return self._sheet

    def _on_active_canvas(self) -> _Sheet | None:
        sheet = self._alive()
        if sheet is not None and is_canvas_in_front(sheet.parent()):
            return sheet
        canvas = canvas_widget()
        if canvas is None:
            return None
        if sheet is None or sheet.parent() is not canvas:
            self.detach()
            sheet = self._sheet = _Sheet(canvas)
        return sheet
