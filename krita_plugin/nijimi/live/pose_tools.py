"""A pose row enters; somebody of its layer is selected for Krita's own tool, or mirrored by it.

What moves, turns, scales and mirrors joints is Krita: each is one step of its undo. A tool that was
just taken needs a moment before it heeds a selection, and so does a selection before its actions.

Signals:
    refused(str, str)  it cannot be done: a sentence and what to do
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..canvas.room import CanvasRoom
from ..model.controls import Controls
from ..qt import QtCore, Signal
from ..texts import tr

__all__ = ["PoseTools"]

_MOMENT_MS = 120


class PoseTools(QtCore.QObject):
    """Does one thing at a time, for the document in front."""

    refused = Signal(str, str)

    def __init__(self, room: CanvasRoom, controls: Controls, parent: Any = None) -> None:
        super().__init__(parent)
        self._room = room
        self._controls = controls
        self._is_busy = False

    def select(self, row_id: str = "") -> None:
        """All joints of somebody: handles around them move, turn and scale the whole person."""
        self._begin(row_id, lambda: None)

    def mirror(self, row_id: str = "") -> None:
        """Turn somebody round: left becomes right, in place."""
        self._begin(row_id, self._room.mirror_shapes)

    def _begin(self, row_id: str, after: Callable[[], object]) -> None:
        document = self._room.active_document()
        poses = [row for row in self._controls.rows if row.kind == "pose" and not row.process]
        row = next((row for row in poses if not row_id or row.id == row_id), None)
        if self._is_busy or document is None:
            return
        if row is None:
            self.refused.emit(tr("There is nobody in this pose."), tr("Add a person first."))
            return
        # The layer first: Krita takes its tool to the layer that is active.
        self._is_busy = True
        self._room.take_shape_tool(document, row.node_id)
        self._soon(lambda: self._choose(document, row.node_id, after))

    def _choose(self, document: Any, node_id: str, after: Callable[[], object]) -> None:
        if self._room.is_open(document) and self._room.select_person(document, node_id):
            self._soon(lambda: self._finish(document, after))
            return
        self._is_busy = False
        if self._room.is_open(document):
            self.refused.emit(tr("There is nobody in this pose."), tr("Add a person first."))

    def _finish(self, document: Any, after: Callable[[], object]) -> None:
        self._is_busy = False
        if self._room.is_open(document):
            after()

    def _soon(self, step: Callable[[], None]) -> None:
        QtCore.QTimer.singleShot(_MOMENT_MS, step)
