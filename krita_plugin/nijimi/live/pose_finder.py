"""The canvas or a picture file enters; the people in it leave, as the backend's command finds them.

Signals:
    found(object, object)  the document and its people, in canvas pixels
    refused(str, str)      why nobody was found: a sentence and what to do
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.openpose import openpose_people
from nijimi_protocol.pose import Person

from ..canvas.room import CanvasRoom
from ..link.backend_process import own_sentence
from ..link.program import NOT_STARTED, Program, other_command
from ..model.config import read_config
from ..qt import QtCore, QtGui, Signal
from ..texts import told, tr

__all__ = ["PoseFinder", "fitted", "moved_person"]


class PoseFinder(QtCore.QObject):
    """One look at a time, by a program of its own: Krita goes on meanwhile."""

    found = Signal(object, object)
    refused = Signal(str, str)

    def __init__(self, room: CanvasRoom, parent: Any = None) -> None:
        super().__init__(parent)
        self._room = room
        self._program: Program | None = None
        self._folder: Any = None
        self._errors: list[str] = []

    def look_at_canvas(self) -> None:
        """At what is selected, or at all of it where nothing is."""
        document = self._room.active_document()
        if document is None:
            return
        whole = self._room.document_extent(document)
        selection = self._room.selection_mask(document)
        area = whole.bounds if selection is None else selection.bounds.intersection(whole.bounds)
        image = self._room.canvas_image(document)
        scale = image.width() / max(1, whole.width)
        x, y, width, height = (round(scale * value) for value in area)
        self._look(document, image.copy(x, y, max(1, width), max(1, height)), area)

    def look_at_file(self, path: str) -> None:
        """Laid over the canvas as large as it goes."""
        document = self._room.active_document()
        if document is None:
            return
        image = QtGui.QImage(path)
        if image.isNull():
            self.refused.emit(
                tr("{path} cannot be read as a picture.", path=path), tr("Choose another one.")
            )
            return
        whole = self._room.document_extent(document)
        self._look(document, image, fitted(Extent(image.width(), image.height()), whole))

    def end(self) -> None:
        """Krita ends."""
        self._stop()

    def _look(self, document: Any, image: Any, area: Bounds) -> None:
        self._stop()
        self._folder = tempfile.TemporaryDirectory(prefix="nijimi-")
        picture, result = (str(Path(self._folder.name) / name) for name in ("in.png", "out.json"))
        image.save(picture, "PNG")
        command = other_command(read_config().backend_command, "pose", picture, "-o", result)
        program = Program(command, self)
        self._errors.clear()
        program.complained.connect(self._errors.append)
        program.ended.connect(lambda status: self._ended(status, document, result, area))
        self._program = program
        program.start()

    def _ended(self, status: int, document: Any, result: str, area: Bounds) -> None:
        try:
            text = Path(result).read_text(encoding="utf-8") if status == 0 else ""
        except OSError:
            text = ""
        self._stop()
        if not text:
            self._refuse(status)
            return
        try:
            people = openpose_people(text, area.extent)
        except RejectedChange as error:
            self.refused.emit(told(error.code, error.sentence), error.action)
            return
        if self._room.is_open(document):
            self.found.emit(document, tuple(moved_person(each, area.x, area.y) for each in people))

    def _refuse(self, status: int) -> None:
        if said := own_sentence(self._errors):
            self.refused.emit(said, "")
        elif status == NOT_STARTED:
            self.refused.emit(
                tr("Finding people needs a backend on this computer."),
                tr("Tools, Nijimi, Set Up Nijimi installs one."),
            )
        else:
            self.refused.emit(tr("People could not be looked for."), tr("See Report."))

    def _stop(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            program.stop()
            program.deleteLater()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def fitted(picture: Extent, canvas: Extent) -> Bounds:
    """Where a picture lies that is laid over a canvas whole and as large as it goes."""
    scale = min(canvas.width / picture.width, canvas.height / picture.height)
    width, height = round(picture.width * scale), round(picture.height * scale)
    return Bounds((canvas.width - width) // 2, (canvas.height - height) // 2, width, height)


def moved_person(person: Person, x: float, y: float) -> Person:
    """The same person elsewhere; joints that nobody sees stay nowhere."""
    return replace(
        person,
        **{
            part: tuple(
                joint._replace(x=joint.x + x, y=joint.y + y) if joint.confidence > 0 else joint
                for joint in joints
            )
            for part, joints in vars(person).items()
        },
    )
