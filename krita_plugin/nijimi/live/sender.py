"""Looks at the canvas enter; updates with what changed since the last look leave.

While the last update is still in the socket, or nothing is open, changes wait on the canvas
itself, and the next look finds them all: the newest state wins, and nothing queues.

Signals:
    selection_changed()  something is selected now, or nothing any more
    refused(str, str)  the canvas cannot be sent: a sentence and what to do
    accepted()         the canvas can be sent (again)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from nijimi_protocol.client_session import ClientSession
from nijimi_protocol.errors import ProtocolError, RejectedChange
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import CANVAS, MASK
from nijimi_protocol.pixels import PixelFormat

from ..canvas.room import CanvasRoom, SelectionMask
from ..link.connection import Connection
from ..model.history import History
from ..model.metrics import Metrics
from ..qt import QtCore, Signal
from ..texts import told
from .tiles import send_tiles

__all__ = ["MAX_PENDING_BYTES", "CanvasSender"]

MAX_PENDING_BYTES = 512 * 1024
"""With more than this unsent, canvas changes wait."""

PEN_DOWN_BUDGET_BYTES = 192 * 1024
REST_BUDGET_BYTES = 1024 * 1024
"""Pixels sent in one turn. Copying and masking them (RFC 6455, 5.3) takes about 5 ms a megabyte
where Krita's Python does it, and 2 where the archive has brought what does it in C."""

_AGAIN_MS = 10
_UNREADABLE_AGAIN_MS = 60


_BAND_BYTES = 1024 * 1024


class CanvasSender(QtCore.QObject):
    """Mirrors one document to the backend while it is switched on."""

    selection_changed = Signal()
    refused = Signal(str, str)
    accepted = Signal()

    def __init__(
        self, room: CanvasRoom, connection: Connection, metrics: Metrics, parent: Any = None
    ) -> None:
        super().__init__(parent)
        self.is_on = False
        self.read_mask: Callable[[Any], SelectionMask | None] = room.selection_mask
        """Where something new is wanted; None stands for everywhere."""
        self._room = room
        self._connection = connection
        self._metrics = metrics
        self._document: Any = None
        self._sent_extent: Extent | None = None
        self._extents: History[Extent | None] = History(None)
        self._selections: History[SelectionMask | None] = History(None)
        self._is_mask_sent = False
        self._waiting_since_s: float | None = None
        self._again = QtCore.QTimer(self)
        self._again.setSingleShot(True)
        self._again.timeout.connect(self.look)

    def extent_at(self, revision: int) -> Extent | None:
        """Of the canvas in the state that a frame shows."""
        return self._extents.at(revision)

    @property
    def is_waiting(self) -> bool:
        """Whether something seen on the canvas is not sent yet."""
        return self._again.isActive()

    def stop(self) -> None:
        self.is_on = False
        self._again.stop()
        self._waiting_since_s = None

    def begin_session(self) -> None:
        """A fresh session knows nothing of the canvas."""
        self._room.capture.reset()
        self._selections = History(None)
        self._extents = History(None)
        self._sent_extent = None
        self._is_mask_sent = False
        self._waiting_since_s = None

    def set_document(self, document: Any | None) -> None:
        """Another document is in front, or none: the backend forgets the one before."""
        self._document = document
        self._waiting_since_s = None
        self._room.capture.reset()
        session = self._connection.session
        if session is not None and self._connection.is_open and self._sent_extent is not None:
            self._connection.send(session.drop_plane(CANVAS))
            self._drop_mask(session)
        if session is not None:
            self._selections.note(session.revision, None)
            self._extents.note(session.revision, None)
        self._sent_extent = None
        self._is_mask_sent = False

    @property
    def has_selection(self) -> bool:
        """Whether something is selected, as far as the backend knows."""
        return self._is_mask_sent

    def selection_at(self, revision: int) -> SelectionMask | None:
        """What was selected in the state that a frame shows."""
        return self._selections.at(revision)

    def look(self) -> None:
        """Look at the canvas and send what changed since the last look."""
        if not self.is_on or not self._connection.is_open or self._document is None:
            return
        started = time.perf_counter()
        if self._connection.pending_bytes > MAX_PENDING_BYTES:
            self._wait(_AGAIN_MS, started)
            return
        try:
            self._send_canvas(started)
        except ProtocolError as error:
            self.refused.emit(told(error.code, error.sentence), error.action)
        if self._room.watcher.is_pen_down:
            self._metrics.stall("look", (time.perf_counter() - started) * 1000)

    def _wait(self, ms: int, since_s: float) -> None:
        """What may have changed by now is as old as the first look that could not send it."""
        if self._waiting_since_s is None:
            self._waiting_since_s = since_s
        self._again.start(ms)

    def _send_canvas(self, started_s: float) -> None:
        session = self._connection.session
        if session is None or not self._room.is_open(self._document):
            return
        # Asked before anything of that size is read.
        extent = self._room.document_extent(self._document)
        session.limits.check_extent(extent)
        if problem := self._room.colour_problem(self._document):
            raise RejectedChange("colours", *problem)
        pen_down = self._room.watcher.is_pen_down
        budget = PEN_DOWN_BUDGET_BYTES if pen_down else REST_BUDGET_BYTES
        grab_s = time.perf_counter()
        # What it painted comes when it may be up again: a dab is shorter than Krita's own way.
        trail = self._room.watcher.pen_trail(extent)
        result = self._room.capture.grab(self._document, budget, trail)
        read_s = time.perf_counter()
        if result is None:
            self._wait(_UNREADABLE_AGAIN_MS, started_s)
            return
        if result.extent != self._sent_extent:
            try:
                data = session.set_plane(CANVAS, result.extent, PixelFormat.BGRA8)
            except RejectedChange:
                self._room.capture.reset()
                raise
            self._connection.send(data)
            self._sent_extent = result.extent
            self._extents.note(session.revision, result.extent)
            # A mask has its canvas's size: it goes along.
            self._drop_mask(session)
        seen_s = self._waiting_since_s if self._waiting_since_s is not None else started_s
        self._waiting_since_s = None
        if result.has_more:
            self._wait(_AGAIN_MS, seen_s)
        if not pen_down:
            # With the pen down a selection tool may be at work: its end is soon enough.
            self._send_selection(session)
        self.accepted.emit()
        if not result.tiles:
            return
        sending_s = time.perf_counter()
        send_tiles(self._connection, session, CANVAS, result.tiles)
        self._metrics.spent("grab", (read_s - grab_s) * 1000)
        self._metrics.spent("send", (time.perf_counter() - sending_s) * 1000)
        self._metrics.change(session.revision, seen_s)

    def _send_selection(self, session: ClientSession) -> None:
        """Mirror what is selected; it is small, and changes rarely."""
        mask = self.read_mask(self._document)
        had = self._is_mask_sent
        if mask == self._selections.newest and had == (mask is not None):
            return
        if mask is None:
            self._drop_mask(session)
        else:
            assert self._sent_extent is not None
            self._connection.send(session.set_plane(MASK, self._sent_extent, PixelFormat.GRAY8))
            send_tiles(self._connection, session, MASK, _bands(mask), PixelFormat.GRAY8)
            self._is_mask_sent = True
        self._selections.note(session.revision, mask)
        if had != self._is_mask_sent:
            self.selection_changed.emit()

    def _drop_mask(self, session: ClientSession) -> None:
        if self._is_mask_sent:
            self._connection.send(session.drop_plane(MASK))
        self._is_mask_sent = False


def _bands(mask: SelectionMask) -> Iterator[tuple[Bounds, bytes]]:
    """A mask in parts that each fit into a message."""
    x, top, width, height = mask.bounds
    rows = max(1, _BAND_BYTES // width)
    for y in range(0, height, rows):
        count = min(rows, height - y)
        yield Bounds(x, top + y, width, count), mask.pixels[y * width : (y + count) * width]
