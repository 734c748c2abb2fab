"""The rows of control layers enter; a small picture of each row's layer leaves when it changed.

Signals:
    shown(str, object)  a row's id and a QImage, or None where its layer is gone
"""

from __future__ import annotations

from typing import Any

from ..canvas.room import CanvasRoom
from ..model.controls import Controls
from ..qt import QtCore, Signal

__all__ = ["THUMBNAIL_PX", "Thumbnails"]

THUMBNAIL_PX = 48
"""Twice of what is shown, for screens of scale 2."""

_TURN_MS = 700


class Thumbnails(QtCore.QObject):
    """Looks at the layers now and then, never while the pen is down: nobody sees a docker then."""

    shown = Signal(str, object)

    def __init__(self, room: CanvasRoom, controls: Controls, parent: Any = None) -> None:
        super().__init__(parent)
        self._room = room
        self._controls = controls
        self._keys: dict[str, tuple[str, int]] = {}
        self._turn = QtCore.QTimer(self)
        self._turn.setInterval(_TURN_MS)
        self._turn.timeout.connect(self.look)
        controls.changed.connect(self._rows_changed)

    def end(self) -> None:
        self._turn.stop()

    def look(self) -> None:
        """Krita keeps a layer's small picture until the layer changes: asking again is cheap."""
        document = self._room.active_document()
        if document is None or self._room.watcher.is_pen_down:
            return
        for row in self._controls.rows:
            image = self._room.node_thumbnail(document, row.node_id, THUMBNAIL_PX)
            key = row.node_id, image.cacheKey() if image is not None else 0
            if self._keys.get(row.id) != key:
                self._keys[row.id] = key
                self.shown.emit(row.id, image)

    def _rows_changed(self) -> None:
        known = {row.id for row in self._controls.rows}
        self._keys = {row_id: key for row_id, key in self._keys.items() if row_id in known}
        if not known:
            self._turn.stop()
        elif not self._turn.isActive():
            self._turn.start()
            # Not at once: the row that it is for may not be there yet.
            QtCore.QTimer.singleShot(0, self.look)
