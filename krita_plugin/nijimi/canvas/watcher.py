"""Krita's signals, pen events and a cheap poll enter; "look again" leaves, as a Qt signal.

Signals:
    changed()           the projection may have changed; look when convenient
    document_changed()  another document is in front, or none
    pen_down(), pen_up()
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from nijimi_protocol.geometry import Extent

from ..qt import QtCore, Signal, is_deleted
from .document import (
    active_document,
    canvas_widget,
    change_token,
    document_id,
    is_at_rest,
    main_window,
    selected_area,
)
from .view import view_of

__all__ = ["PEN_POLL_MS", "REST_POLL_MS", "CanvasWatcher"]

PEN_POLL_MS = 16
"""While the pen is down every dab counts, and no signal tells of it but the canvas's own painting,
which comes when the pixels of a dab are there."""

_MIN_GAP_S = 0.009
"""Painting tells of moves of the pointer, too, and each look takes a turn of Krita's thread."""

_SETTLING_S = 0.5
"""For so long after the pen was lifted Krita may still paint what it did."""

REST_POLL_MS = 150
"""At rest this finds what fires no signal: layer opacity, scripts, other plugins."""

_LOST_PEN_S = 1.0
"""A pen that is down but silent for so long, while Krita is at rest, was lifted unseen."""

_TRAIL_S = 0.3
"""Krita paints what the pen did for so long after it, and longer only where it cannot keep up."""

_TRAIL_STEP_PX = 24
"""Places of the pen nearer to each other than this count as one."""

_MODELS = ("KisUndoModel", "KisNodeModel")


class CanvasWatcher(QtCore.QObject):
    """Watches the active document while it is switched on."""

    changed = Signal()
    document_changed = Signal()
    pen_down = Signal()
    pen_up = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.is_pen_down = False
        self._pen_seen_s = 0.0
        self._trail: deque[tuple[float, Any]] = deque(maxlen=256)
        """When and where the pen was, the newest last, in pixels of the canvas widget."""
        self._lifted_s = self._looked_s = float("-inf")
        self._canvas: Any = None
        self._id = ""
        self._token: tuple[int, tuple[int, ...]] = (0, ())
        self._models: list[Any] = []
        self._timer = QtCore.QTimer(self)
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._turn)
        self._soon = QtCore.QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._soon.timeout.connect(self._look)

    def start(self) -> None:
        self._timer.start(REST_POLL_MS)
        self._turn()

    def stop(self) -> None:
        self._timer.stop()
        self._forget_canvas()
        for model in self._models:
            self._disconnect(model)
        self._models = []
        self._id = ""

    def pen_trail(self, extent: Extent) -> list[tuple[int, int]]:
        """Where in a document of ``extent`` the pen was a moment ago; empty where unknown."""
        since = time.monotonic() - _TRAIL_S
        while self._trail and self._trail[0][0] < since:
            self._trail.popleft()
        view = view_of(self._canvas, extent) if self._trail and self._has_canvas() else None
        if view is None:
            return []
        back, is_possible = view.inverted()
        places = [back.map(place) for _, place in self._trail] if is_possible else []
        return [(round(place.x()), round(place.y())) for place in places]

    def _note_pen(self, event: Any) -> None:
        self._pen_seen_s = time.monotonic()
        # Qt 5 has posF() or localPos(), by the kind of event; Qt 6 position() for both.
        place = QtCore.QPointF(event.pos()) if hasattr(event, "pos") else event.position()
        if self._trail:
            step = place - self._trail[-1][1]
            if abs(step.x()) + abs(step.y()) < _TRAIL_STEP_PX:
                # It stays where it was noted, and the time is the newest.
                place = self._trail.pop()[1]
        self._trail.append((self._pen_seen_s, place))

    def _turn(self) -> None:
        document = active_document()
        if self.is_pen_down and (document is None or not self._has_canvas()):
            # Its canvas went while it was down: the release goes to nobody.
            self._lift()
        if self.is_pen_down:
            self._look()
            # A release can go elsewhere: to a popup, or with the pen out of range.
            silent_s = time.monotonic() - self._pen_seen_s
            if silent_s > _LOST_PEN_S and is_at_rest(document):
                self._lift()
            return
        identity = document_id(document) if document is not None else ""
        if identity != self._id:
            self._id = identity
            self._find_sources()
            self.document_changed.emit()
            return
        if document is None:
            return
        if not self._has_canvas():
            self._find_sources()
        token = (change_token(document), selected_area(document))
        if token != self._token:
            self._token = token
            self.changed.emit()

    def _has_canvas(self) -> bool:
        """The canvas that is watched is there and seen."""
        canvas = self._canvas
        return canvas is not None and not is_deleted(canvas) and canvas.isVisible()

    def _find_sources(self) -> None:
        """The canvas widget and Krita's models of this document."""
        canvas = canvas_widget()
        if canvas is not self._canvas:
            self._forget_canvas()
            self._canvas = canvas
            if canvas is not None:
                canvas.installEventFilter(self)
        window = main_window()
        if window is None:
            return
        for model in window.findChildren(QtCore.QAbstractItemModel):
            if model.metaObject().className() in _MODELS and model not in self._models:
                self._models.append(model)
                for signal in (
                    model.modelReset,
                    model.dataChanged,
                    model.rowsInserted,
                    model.rowsRemoved,
                ):
                    signal.connect(self._something_changed)

    def _look(self) -> None:
        self._looked_s = time.monotonic()
        self.changed.emit()

    def _canvas_painted(self) -> None:
        """What it shows now can be read: earlier than the poll would find it."""
        now = time.monotonic()
        may_be_news = self.is_pen_down or now - self._lifted_s < _SETTLING_S
        if may_be_news and not self._soon.isActive():
            # Before the first look that is minus infinity, which no number of milliseconds is.
            self._soon.start(round(1000 * max(0.0, self._looked_s + _MIN_GAP_S - now)))

    def _something_changed(self, *_: Any) -> None:
        # Krita tells of one change several times: look once, after all of them.
        self._soon.start(0)

    def _disconnect(self, model: Any) -> None:
        for name in ("modelReset", "dataChanged", "rowsInserted", "rowsRemoved"):
            try:
                getattr(model, name).disconnect(self._something_changed)
            except (TypeError, RuntimeError):
                continue  # it went with its window

    def _forget_canvas(self) -> None:
        if self._canvas is not None and not is_deleted(self._canvas):
            self._canvas.removeEventFilter(self)
        self._canvas_gone()

    def _canvas_gone(self) -> None:
        self._canvas = None
        self._trail.clear()
        if self.is_pen_down:
            self._lift()

    def eventFilter(self, watched: Any, event: Any) -> bool:
        kind = event.type()
        types = QtCore.QEvent.Type
        if kind == types.Paint:
            self._canvas_painted()
            return False
        if kind in (types.MouseMove, types.TabletMove, types.MouseButtonPress, types.TabletPress):
            self._note_pen(event)
        if kind in (types.MouseButtonPress, types.TabletPress):
            if event.button() == QtCore.Qt.MouseButton.LeftButton and not self.is_pen_down:
                self.is_pen_down = True
                self._timer.start(PEN_POLL_MS)
                self.pen_down.emit()
        elif (
            kind in (types.MouseButtonRelease, types.TabletRelease)
            and self.is_pen_down
            and event.button() == QtCore.Qt.MouseButton.LeftButton
        ):
            self._lift()
        return False

    def _lift(self) -> None:
        self.is_pen_down = False
        self._lifted_s = time.monotonic()
        self._timer.start(REST_POLL_MS)
        self.pen_up.emit()
        self._soon.start(0)
