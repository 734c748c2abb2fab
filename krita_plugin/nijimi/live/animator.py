"""An animated document and a span of it enter; a new animated layer of rendered frames leaves.

Frame after frame is sent as a plane beside the canvas and rendered with one seed; a part of the
picture before may lie over the next drawing, so that what is made changes less than what is drawn.

Signals:
    refused(str, str)  it cannot be done, or ended early: a sentence and what to do
    finished()         the layer is there
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nijimi_protocol.errors import ProtocolError, RejectedChange
from nijimi_protocol.geometry import Bounds
from nijimi_protocol.messages import BatchPhase, BatchPicture, BatchState, Message
from nijimi_protocol.params import RenderParams
from nijimi_protocol.pixels import PixelFormat, copy_out

from ..canvas.layer_pixels import cut_to_selection, laid_over, scaled_pixels
from ..canvas.room import CanvasRoom, ChangeTakenBack, FrameSpan
from ..canvas.tile_scan import TileScan
from ..link.connection import Connection
from ..model.batches import BatchEntry, BatchQueue
from ..model.picture import save_pixels
from ..model.settings import Settings
from ..qt import QtCore, Signal
from ..texts import told, tr
from .generator import Mirror
from .places import Place
from .tiles import send_tiles

__all__ = ["Animator"]

_TURN_MS = 20
_TURN_S = 0.004
_BUDGET_BYTES = 192 * 1024
_PLANE = "animation"
_NOWHERE = Bounds(0, 0, 0, 0)
_ENTRY = 0
"""In the queue; the backend's batches count from 1."""


@dataclass(kw_only=True)
class _Run:
    """One animation on its way."""

    document: Any
    first: int
    last: int
    temporal: float
    folder: Path
    began_s: float
    reader: Any = None
    scan: TileScan | None = None
    place: Place | None = None
    params: RenderParams | None = None
    drawing: bytes = b""
    """What is being sent, or was sent last: the drawing with what lies over it."""
    bare: bytes = b""
    picture: bytes = b""
    """The last one that was made, of ``area``."""
    area: Bounds = _NOWHERE
    batch_id: int = 0
    is_sending: bool = False
    is_known: bool = False
    """Whether selection and controls are with the backend."""
    files: list[str]

    @property
    def count(self) -> int:
        return self.last - self.first + 1


class Animator(QtCore.QObject):
    """Renders one animation at a time."""

    refused = Signal(str, str)
    finished = Signal()

    def __init__(
        self,
        room: CanvasRoom,
        connection: Connection,
        settings: Settings,
        mirror: Mirror,
        queue: BatchQueue,
        parent: Any = None,
    ) -> None:
        super().__init__(parent)
        self._room = room
        self._connection = connection
        self._settings = settings
        self._mirror = mirror
        self._queue = queue
        self._run: _Run | None = None
        self._turn = QtCore.QTimer(self)
        self._turn.setInterval(_TURN_MS)
        self._turn.timeout.connect(self._look)
        connection.received.connect(self._receive)
        connection.state_changed.connect(self._connection_changed)

    @property
    def is_running(self) -> bool:
        return self._run is not None

    def span(self) -> FrameSpan | None:
        """What could be rendered of the document in front; None while something is."""
        document = self._room.active_document()
        if document is None or self._run is not None:
            return None
        span = self._room.frame_span(document)
        if span is None:
            self.refused.emit(
                tr("No layer of this document is animated."),
                tr("Give a layer frames in Krita's timeline first."),
            )
        return span

    def start(self, first: int, last: int, temporal: float) -> None:
        """Render the frames from ``first`` to ``last``; ``temporal`` in [0, 1) is how much of the
        picture before lies over the next drawing."""
        document = self._room.active_document()
        if document is None or self._run is not None or last < first:
            return
        folder = Path(tempfile.mkdtemp(prefix="nijimi-frames-"))
        self._run = _Run(
            document=document, first=first, last=last, temporal=temporal, folder=folder,
            began_s=time.monotonic(), files=[],
        )  # fmt: skip
        self._show(0)
        self._mirror.hold(True)
        self._turn.start()

    def cancel(self) -> None:
        """Give it up: the document is as it was."""
        run, session = self._run, self._connection.session
        if run is None:
            return
        if run.batch_id and session is not None and self._connection.is_open:
            self._connection.send(session.cancel_batch(run.batch_id))
        self._end()

    def end(self) -> None:
        if self._run is not None:
            self._end()

    # On the way ----------------------------------------------------------------------------

    def _look(self) -> None:
        run = self._run
        assert run is not None
        if not self._room.is_open(run.document):
            self._end()
            return
        if not self._is_mirrored(run):
            return
        try:
            if run.reader is None:
                self._open(run)
            elif run.is_sending:
                self._send(run)
            elif not run.batch_id:
                self._next(run)
        except (RejectedChange, ProtocolError) as error:
            self._fail(told(error.code, error.sentence), error.action)

    def _is_mirrored(self, run: _Run) -> bool:
        """Whether the backend knows what else belongs to a frame: selection and controls are those
        of the document in front, so the animation waits while that is another one."""
        document = self._room.active_document()
        identity = self._room.document_id(document) if document is not None else ""
        if identity != self._room.document_id(run.document):
            run.is_known = False
        elif not run.is_known:
            run.is_known = self._connection.is_open and self._mirror.is_complete()
        return run.is_known

    def _open(self, run: _Run) -> None:
        """Once the backend knows what is selected, and the controls."""
        session = self._connection.session
        assert session is not None
        if session.welcome is None or "animation" not in session.welcome.capabilities:
            self._fail(tr("This backend cannot do that yet."), tr("Update the backend."))
            return
        params = self._settings.final_params(self._mirror.params())
        identity = self._room.document_id(run.document)
        run.place = self._mirror.places.at(session.revision, identity, params.mode)
        if run.place is None:
            self._fail(
                tr("Nothing is selected, so there is nothing to generate."),
                tr("Select what is to be repainted, or choose Whole picture."),
            )
            return
        run.params = params
        run.reader = self._room.open_frames(run.document, self._room.capture.left_out)
        if run.reader is None:
            return
        run.scan = TileScan(run.reader.extent)
        self._connection.send(session.set_plane(_PLANE, run.reader.extent, PixelFormat.BGRA8))

    def _next(self, run: _Run) -> None:
        """The next drawing, or the layer when there are no more."""
        number = run.first + len(run.files)
        if number > run.last:
            self._finish(run)
            return
        bare = run.reader.read(number)
        if bare == run.bare and run.files and run.temporal == 0.0:
            # A drawing that is held gives the same picture again.
            run.files.append(run.files[-1])
            self._show(len(run.files))
            return
        run.bare = bare
        run.drawing = bare
        if run.picture and run.temporal > 0.0:
            run.drawing = laid_over(bare, run.reader.extent, run.picture, run.area, run.temporal)
        run.is_sending = True

    def _send(self, run: _Run) -> None:
        session = self._connection.session
        if session is None or not self._connection.is_open:
            return
        assert run.scan is not None
        assert run.params is not None
        extent = run.reader.extent
        result = run.scan.scan(
            lambda bounds: copy_out(run.drawing, extent, bounds, PixelFormat.BGRA8),
            _BUDGET_BYTES,
            _TURN_S,
        )
        send_tiles(self._connection, session, _PLANE, result.tiles)
        if result.has_more:
            return
        run.is_sending = False
        run.batch_id, data = session.generate(run.params, 1, looks=True, plane=_PLANE)
        self._connection.send(data)

    def _receive(self, event: Message) -> None:
        run = self._run
        if run is None or not run.batch_id:
            return
        if isinstance(event, BatchState) and event.batch_id == run.batch_id:
            if event.state is BatchPhase.FAILED:
                self._fail(event.sentence, event.action)
            elif event.state is BatchPhase.RUNNING:
                self._show(len(run.files), event)
        elif isinstance(event, BatchPicture) and event.batch_id == run.batch_id and not event.more:
            self._take(run, event)

    def _take(self, run: _Run, event: BatchPicture) -> None:
        session = self._connection.session
        assert session is not None
        assert run.place is not None
        made = run.place.picture(
            bytes(session.take_made()), event.extent, event.area, 0, is_final=True
        )
        run.area = made.area_in_canvas
        run.picture = scaled_pixels(made.pixels, made.extent, run.area.extent)
        if run.place.selection is not None:
            run.picture = cut_to_selection(run.picture, run.area, run.place.selection)
        run.batch_id = 0
        path = run.folder / f"{len(run.files):06d}.png"
        size = run.reader.extent
        nothing = bytes(size.pixels * 4)
        try:
            save_pixels(laid_over(nothing, size, run.picture, run.area, 1.0), size, path)
        except OSError as error:
            self._fail(
                tr("A frame could not be kept ({error}).", error=error.strerror or error),
                tr("Make room on the disk, then render again."),
            )
            return
        run.files.append(str(path))
        self._show(len(run.files))

    def _finish(self, run: _Run) -> None:
        """The frames become a layer, as soon as Krita is at rest."""
        if not self._room.is_at_rest(run.document) or self._room.watcher.is_pen_down:
            return
        assert run.params is not None
        words = " ".join(run.params.prompt.split())[:40] or "animation"
        try:
            self._room.add_animation(run.document, run.files, run.first, f"Nijimi: {words}")
        except ChangeTakenBack as error:
            self._fail(error.sentence, error.action)
            return
        self._end()
        self.finished.emit()

    def _show(self, done: int, state: BatchState | None = None) -> None:
        run = self._run
        assert run is not None
        spent = time.monotonic() - run.began_s
        left = spent / done * (run.count - done) if done else 0.0
        tile = next(iter(state.tiles), None) if state is not None else None
        self._queue.put(
            BatchEntry(
                id=_ENTRY,
                title=tr("Animation"),
                count=run.count,
                is_running=True,
                done=done,
                step=state.step if state is not None else 0,
                steps=state.steps if state is not None else 0,
                left_s=left,
                look=(tile.bounds.extent, tile.data) if tile is not None else None,
            )
        )

    def _connection_changed(self, state: str) -> None:
        if self._run is not None and state != "open" and self._run.reader is not None:
            self._fail(
                tr("The backend ended while it was generating."),
                tr("Render the animation again."),
            )

    def _fail(self, sentence: str, action: str) -> None:
        self._end()
        self.refused.emit(sentence, action)

    def _end(self) -> None:
        run, self._run = self._run, None
        self._turn.stop()
        if run is None:
            return
        session = self._connection.session
        if run.reader is not None:
            run.reader.close()
            if session is not None and self._connection.is_open:
                self._connection.send(session.drop_plane(_PLANE))
        shutil.rmtree(run.folder, ignore_errors=True)
        self._queue.drop(_ENTRY)
        self._mirror.hold(False)
