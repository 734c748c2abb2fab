"""A picture and the canvas as it was painted enter; a view to look closely, and to compare, leaves.

Signals:
    before_wanted()  the canvas as it is now is to be given to ``set_before``
    zoomed(float)    another scale: screen pixels a canvas pixel
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model.picture import Picture, picture_image
from ..qt import QtCore, QtGui, QtWidgets, Signal
from ..texts import tr

__all__ = ["PreviewPanel", "PreviewView"]

_LEAST, _MOST = 0.05, 32.0
_HANDLE_PX = 8
_SHARP_FROM = 3.0
"""From this zoom on pixels are shown as they are."""


class PreviewView(QtWidgets.QWidget):
    """The picture where it belongs on the canvas: wheel to zoom, drag to move it.

    While it compares, the canvas is left of a line that can be dragged, the picture right of it.
    """

    before_wanted = Signal()
    zoomed = Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setObjectName("nijimi_view")
        self.setMinimumSize(120, 120)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self._picture: Picture | None = None
        self._image: Any = None
        self._before: Any = None
        self._zoom: float | None = None
        """Screen pixels a canvas pixel; None fits the whole of it."""
        self._centre = QtCore.QPointF()
        self._split = 0.5
        self._compares = False
        self._drag: tuple[str, Any] | None = None

    @property
    def scale(self) -> float:
        """Screen pixels a canvas pixel."""
        if self._zoom is not None or self._picture is None:
            return self._zoom or 1.0
        width, height = self._picture.canvas
        return min(self.width() / width, self.height() / height)

    @property
    def compares(self) -> bool:
        return self._compares

    def set_picture(self, picture: Picture | None) -> None:
        """The newest picture, or None for nothing."""
        known = self._picture
        if picture is None or known is None or picture.canvas != known.canvas:
            self._zoom = None
            self._before = None
        # Kept beside the image, which does not own its pixels.
        self._picture, self._image = picture, None
        if picture is not None:
            self._image = picture_image(picture)
            if self.isVisible() and (self._compares or picture.selected is not None):
                self.before_wanted.emit()
        self.update()

    def set_before(self, image: Any) -> None:
        """The canvas without the picture, at any resolution, or None."""
        self._before = image
        self.update()

    def compare(self, is_on: bool) -> None:
        self._compares = is_on
        if is_on:
            self.before_wanted.emit()
        self.update()

    def fit(self) -> None:
        self._zoom = None
        self.zoomed.emit(self.scale)
        self.update()

    def zoom_to(self, scale: float, around: Any = None) -> None:
        """A canvas pixel becomes ``scale`` screen pixels; what is at ``around`` stays there."""
        if self._picture is None:
            return
        around = around if around is not None else self._centre_px()
        fixed = self._to_canvas(around)
        self._zoom = min(_MOST, max(_LEAST, scale))
        off = around - self._centre_px()
        self._centre = fixed - off / self._zoom
        self.zoomed.emit(self.scale)
        self.update()

    # Events --------------------------------------------------------------------------------

    def wheelEvent(self, event: Any) -> None:
        steps = event.angleDelta().y() / 120.0
        place = event.position() if hasattr(event, "position") else event.posF()
        self.zoom_to(self.scale * 1.25**steps, place)
        event.accept()

    def mousePressEvent(self, event: Any) -> None:
        place = QtCore.QPointF(event.pos())
        is_near = self._compares and abs(place.x() - self._split_px()) <= _HANDLE_PX
        self._drag = ("split" if is_near else "move", place)
        event.accept()

    def mouseMoveEvent(self, event: Any) -> None:
        place = QtCore.QPointF(event.pos())
        shapes = QtCore.Qt.CursorShape
        is_near = self._compares and abs(place.x() - self._split_px()) <= _HANDLE_PX
        self.setCursor(shapes.SplitHCursor if is_near else shapes.ArrowCursor)
        if self._drag is None or self._picture is None:
            return
        kind, last = self._drag
        if kind == "split":
            frame = self._frame()
            self._split = min(1.0, max(0.0, (place.x() - frame.left()) / max(1.0, frame.width())))
        else:
            scale = self.scale
            if self._zoom is None:
                self._zoom, self._centre = scale, self._middle()
            self._centre -= (place - last) / scale
        self._drag = (kind, place)
        self.update()

    def mouseReleaseEvent(self, event: Any) -> None:
        self._drag = None
        event.accept()

    def mouseDoubleClickEvent(self, event: Any) -> None:
        if self._zoom is None:
            self.zoom_to(1.0 / self.devicePixelRatioF(), QtCore.QPointF(event.pos()))
        else:
            self.fit()

    def keyPressEvent(self, event: Any) -> None:
        keys = QtCore.Qt.Key
        moves = {keys.Key_Left: (-40, 0), keys.Key_Right: (40, 0), keys.Key_Up: (0, -40),
                 keys.Key_Down: (0, 40)}  # fmt: skip
        if event.key() in (keys.Key_Plus, keys.Key_Equal):
            self.zoom_to(self.scale * 1.25)
        elif event.key() == keys.Key_Minus:
            self.zoom_to(self.scale / 1.25)
        elif event.key() == keys.Key_0:
            self.fit()
        elif event.key() in moves and self._zoom is not None:
            self._centre += QtCore.QPointF(*moves[event.key()]) / self._zoom
            self.update()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), self.palette().color(QtGui.QPalette.ColorRole.Dark))
        if self._picture is None:
            painter.setPen(self.palette().color(QtGui.QPalette.ColorRole.WindowText))
            words = tr("Live and generated pictures appear here.")
            centred = QtGui.QTextOption(QtCore.Qt.AlignmentFlag.AlignCenter)
            painter.drawText(QtCore.QRectF(self.rect().adjusted(8, 8, -8, -8)), words, centred)
            return
        hints = QtGui.QPainter.RenderHint
        painter.setRenderHint(hints.SmoothPixmapTransform, self.scale < _SHARP_FROM)
        frame = self._frame()
        is_part = self._picture.selected is not None
        if self._before is not None and (is_part or self._compares):
            painter.drawImage(frame, self._before)
        split = self._split_px()
        if self._compares:
            painter.setClipRect(QtCore.QRectF(split, 0, self.width(), self.height()))
        painter.drawImage(self._area(frame), self._image)
        if self._compares:
            painter.setClipping(False)
            painter.setPen(QtGui.QPen(QtGui.QColor(255, 255, 255), 1))
            painter.drawLine(QtCore.QLineF(split, frame.top(), split, frame.bottom()))

    # Geometry ------------------------------------------------------------------------------

    def _centre_px(self) -> Any:
        return QtCore.QPointF(self.width() / 2, self.height() / 2)

    def _middle(self) -> Any:
        assert self._picture is not None
        return QtCore.QPointF(self._picture.canvas.width / 2, self._picture.canvas.height / 2)

    def _frame(self) -> Any:
        """The whole canvas on this widget."""
        assert self._picture is not None
        scale, (width, height) = self.scale, self._picture.canvas
        centre = self._centre if self._zoom is not None else self._middle()
        corner = self._centre_px() - centre * scale
        return QtCore.QRectF(corner.x(), corner.y(), width * scale, height * scale)

    def _area(self, frame: Any) -> Any:
        assert self._picture is not None
        scale, area = self.scale, self._picture.area
        return QtCore.QRectF(
            frame.x() + area.x * scale, frame.y() + area.y * scale,
            area.width * scale, area.height * scale,
        )  # fmt: skip

    def _split_px(self) -> float:
        frame = self._frame() if self._picture is not None else QtCore.QRectF(self.rect())
        return float(frame.left() + self._split * frame.width())

    def _to_canvas(self, place: Any) -> Any:
        frame = self._frame()
        return (place - frame.topLeft()) / self.scale


class PreviewPanel(QtWidgets.QWidget):
    """The view with its buttons."""

    def __init__(self, icon: Callable[[str], Any]) -> None:
        super().__init__()
        self.view = PreviewView()
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(4)
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(4)
        fit = self._button("fit", tr("Fit"), tr("See all of it; double-click does, too."))
        fit.clicked.connect(self.view.fit)
        whole = self._button("whole", tr("1:1"), tr("One pixel of the canvas a pixel here."))
        whole.clicked.connect(self._show_whole)
        compare = self._button("compare", tr("Compare"), tr("Your painting left of a line."))
        compare.setCheckable(True)
        compare.toggled.connect(self.view.compare)
        self._percent = QtWidgets.QLabel()
        row.addWidget(fit)
        row.addWidget(whole)
        row.addWidget(compare)
        row.addStretch(1)
        row.addWidget(self._percent)
        column.addWidget(self.view, 1)
        column.addLayout(row)
        self.view.zoomed.connect(self._show_zoom)

    def _show_whole(self) -> None:
        self.view.zoom_to(1.0 / self.view.devicePixelRatioF())

    def _show_zoom(self, scale: float) -> None:
        self._percent.setText(f"{round(100 * scale * self.devicePixelRatioF())} %")

    def _button(self, name: str, text: str, tip: str) -> Any:
        button = QtWidgets.QToolButton()
        button.setObjectName(f"nijimi_view_{name}")
        button.setText(text)
        button.setToolTip(tip)
        button.setAutoRaise(True)
        return button
