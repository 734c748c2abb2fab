"""Documents, their control layers and a session enter; mirrored controls leave, live.

Signals:
    told(str, str)  something is wrong with a control: a sentence and what to do; "" for nothing
    left_out(object)  ids of the layers that are no part of the picture
    list_sent()  the backend has another list of controls, and will say anew what it lacks
    followed(object)  another document is in front, or None
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from nijimi_protocol.errors import ProtocolError, RejectedChange
from nijimi_protocol.openpose import openpose_people, openpose_text
from nijimi_protocol.pose import Person

from ..canvas.room import CanvasRoom, ChangeTakenBack
from ..link.connection import Connection
from ..model.controls import REGION, Controls
from ..model.metrics import Metrics
from ..qt import QtCore, Signal
from ..texts import told, tr
from .control_sender import ControlSender
from .pose_finder import PoseFinder
from .pose_tools import PoseTools
from .thumbnails import Thumbnails

__all__ = ["ControlFlow"]

_AGAIN_MS = 10
_REST_MS = 60
_IDLE_MS = 50
"""Between looks with live off: often enough for limbs to follow a dragged joint."""

_KEEP_MS = 400
"""The list is written into the document a moment after its last change."""


def _newer() -> tuple[str, str]:
    return (
        tr("This document's control layers were kept by a newer Nijimi and are not used."),
        tr("Update Nijimi; until then they stay in the file as they are."),
    )


class ControlFlow(QtCore.QObject):
    """Follows the control layers of the document in front while it is switched on."""

    told = Signal(str, str)
    left_out = Signal(object)
    list_sent = Signal()
    followed = Signal(object)

    def __init__(
        self,
        room: CanvasRoom,
        connection: Connection,
        controls: Controls,
        metrics: Metrics,
        parent: Any = None,
    ) -> None:
        super().__init__(parent)
        self.is_on = False
        self._room = room
        self._connection = connection
        self._controls = controls
        self._metrics = metrics
        self._sender = ControlSender(room, connection, metrics)
        self.thumbnails = Thumbnails(room, controls, self)
        self.pose_tools = PoseTools(room, controls, self)
        self.pose_finder = PoseFinder(room, self)
        self.pose_finder.found.connect(self._add_people)
        for tools in (self.pose_tools, self.pose_finder):
            tools.refused.connect(lambda what, do: self._tell((what, do)))
        self._document: Any = None
        self._document_id = ""
        self._told: tuple[str, str] = ("", "")
        self._loading = False
        self._is_newer = False
        self._is_adding = False
        self._again = QtCore.QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(_AGAIN_MS)
        self._again.timeout.connect(self.look)
        self._keep = QtCore.QTimer(self)
        self._keep.setSingleShot(True)
        self._keep.setInterval(_KEEP_MS)
        self._keep.timeout.connect(self._save)
        self._idle = QtCore.QTimer(self)
        self._idle.setInterval(_IDLE_MS)
        self._idle.timeout.connect(self._idle_turn)
        controls.changed.connect(self._rows_changed)

    @property
    def is_waiting(self) -> bool:
        return self._again.isActive()

    def begin(self) -> None:
        """From now on the document in front is followed, with live off, too."""
        self._idle.start()

    def start(self) -> None:
        """Live on: others say when to look."""
        self.is_on = True
        self._idle.stop()

    def end(self) -> None:
        self.thumbnails.end()
        self.pose_finder.end()
        self.stop()
        self._idle.stop()

    def set_document(self, document: Any | None) -> None:
        """Another document is in front, with controls of its own."""
        if self._keep.isActive():
            self._save()
        self._sender.drop()
        self._document = document
        self._document_id = self._room.document_id(document) if document is not None else ""
        text = self._room.read_note(document) if document is not None else ""
        self._loading = True
        self._controls.set_rows(self._controls.rows_of(text))
        self._loading = False
        self._is_newer = self._controls.is_newer(text)
        self._tell(_newer() if self._is_newer else ("", ""))
        self._leave_out()
        self.followed.emit(document)

    def follow(self, document: Any) -> None:
        """The same document by a newer wrapper of Krita's."""
        self._document = document

    def begin_session(self) -> None:
        self._sender.forget()
        self.look()

    def stop(self) -> None:
        self.is_on = False
        self._again.stop()
        self._idle.start()
        if self._keep.isActive():
            self._save()

    def look(self) -> None:
        """Look at the control layers and send what changed."""
        document = self._document
        if self._is_adding:
            self._again.start()
            return
        if not self.is_on or document is None or not self._room.is_open(document):
            return
        started = time.perf_counter()
        try:
            if self._sender.look(document, self._controls.rows):
                self._again.start()
            if self._sender.has_new_list:
                self.list_sent.emit()
        except ProtocolError as error:
            self._tell((told(error.code, error.sentence), error.action))
            return
        nothing = _newer() if self._is_newer else ("", "")
        self._tell(self._sender.problems[0] if self._sender.problems else nothing)
        if self._room.watcher.is_pen_down:
            self._metrics.stall("look", (time.perf_counter() - started) * 1000)

    def _idle_turn(self) -> None:
        """With live off: rows are those of the document in front, and limbs follow joints."""
        if self._is_adding:
            return
        document = self._room.active_document()
        if document is None:
            if self._document is not None:
                self.set_document(None)
            return
        self._take(document)
        poses = {row.node_id for row in self._controls.rows if row.kind == "pose"}
        active = self._room.active_node(document) if poses else None
        if active is not None and active.id in poses:
            self._room.read_people(document, active.id)

    # The painter's wishes ------------------------------------------------------------------

    def add_active_layer(self, kind: str) -> None:
        """The layer that the painter is on becomes a control of that kind."""
        document = self._room.active_document()
        node = self._room.active_node(document) if document is not None else None
        if node is not None:
            self._take(document)
            self._controls.add(kind, node.id, node.name)

    def add_person(self, preset: str) -> None:
        """Somebody new in the pose layer, or in a first one."""
        document = self._room.active_document()
        if document is not None:
            person = self._room.preset_person(preset, self._room.document_extent(document))
            self._add_people(document, (person,))

    def add_file(self, path: str) -> None:
        """Everybody of an OpenPose file."""
        document = self._room.active_document()
        if document is None:
            self._tell(
                (tr("There is no document for the pose."), tr("Open one, then drop the file."))
            )
            return
        try:
            text = Path(path).read_text(encoding="utf-8")
            people = openpose_people(text, self._room.document_extent(document))
        except (OSError, ValueError) as error:
            self._tell(
                (
                    tr("{path} cannot be read ({error}).", path=path, error=error),
                    tr("Choose an OpenPose file."),
                )
            )
        except RejectedChange as error:
            self._tell((told(error.code, error.sentence), error.action))
        else:
            if people:
                self._add_people(document, people)
            else:
                self._tell((tr("The pose file holds nobody."), tr("Choose another one.")))

    def save_pose(self, row_id: str, path: str) -> None:
        """Write the people of a pose row to an OpenPose file."""
        row = next((row for row in self._controls.rows if row.id == row_id), None)
        document = self._document
        if row is None or document is None or not self._room.is_open(document):
            return
        people = self._room.read_people(document, row.node_id)
        if not people:
            self._tell((tr("There is nobody in this pose."), tr("Add a person first.")))
            return
        try:
            Path(path).write_text(
                openpose_text(people, self._room.document_extent(document)), encoding="utf-8"
            )
        except OSError as error:
            self._tell(
                (
                    tr("{path} cannot be written ({error}).", path=path, error=error.strerror),
                    tr("Choose another folder."),
                )
            )

    def _add_people(self, document: Any, people: tuple[Person, ...]) -> None:
        """Layers are written at rest only: a dab may still be drying."""
        if self._is_adding or not self._room.is_at_rest(document):
            QtCore.QTimer.singleShot(_REST_MS, lambda: self._add_people(document, people))
            return
        if not self._room.is_open(document):
            return
        self._take(document)
        poses = [row for row in self._controls.rows if row.kind == "pose" and not row.process]
        there = [row for row in poses if self._room.read_people(document, row.node_id) is not None]
        # Krita runs timers while it takes the shapes in; a look at them then would crash it.
        self._is_adding = True
        try:
            node = self._room.add_people(document, people, there[0].node_id if there else None)
        except ChangeTakenBack as error:
            self._tell((error.sentence, error.action))
            return
        finally:
            self._is_adding = False
        self._controls.add("pose", node.id, node.name)
        self.look()

    def _take(self, document: Any) -> None:
        """Follow this document from now on, if it is another one."""
        identity = self._room.document_id(document)
        if identity != self._document_id:
            self.set_document(document)
        self._document = document

    def _rows_changed(self) -> None:
        if self._loading:
            return
        self._keep.start()
        self._leave_out()
        self.look()

    def _leave_out(self) -> None:
        hints = (row.node_id for row in self._controls.rows if row.kind != REGION)
        self.left_out.emit(frozenset(hints))

    def _save(self) -> None:
        self._keep.stop()
        if self._is_newer:
            return
        if self._document is not None and self._room.is_open(self._document):
            try:
                self._room.write_note(self._document, self._controls.text())
            except ChangeTakenBack as error:
                self._tell((error.sentence, error.action))

    def _tell(self, problem: tuple[str, str]) -> None:
        if problem != self._told:
            self._told = problem
            self.told.emit(*problem)
