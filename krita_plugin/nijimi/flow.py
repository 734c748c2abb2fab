"""Canvas events and the server's events enter; updates to send and pictures to show leave.

One turn: look at the canvas, send what changed. While the last update is still in the socket, or
nothing is open, changes wait on the canvas itself, and the next look finds them all: the newest
state wins, and nothing queues.

Signals:
    picture_changed(object, object)  BGRA8 pixels (or None) and their Extent
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from nijimi_protocol.errors import ProtocolError, RejectedChange
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import (
    CANVAS,
    ErrorReport,
    Frame,
    Message,
    Progress,
    SetParams,
    Status,
)
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile

from .canvas.room import CanvasRoom
from .link.connection import Connection
from .model.live_state import LiveState
from .model.metrics import Metrics
from .model.settings import SHOW_LAYER, SHOW_NOTHING, Settings
from .qt import QtCore, Signal

__all__ = ["MAX_PENDING_BYTES", "Flow"]

MAX_PENDING_BYTES = 512 * 1024
"""With more than this unsent, canvas changes wait."""

PEN_DOWN_BUDGET_BYTES = 192 * 1024
REST_BUDGET_BYTES = 1024 * 1024
"""Pixels sent in one turn. Copying and masking them (RFC 6455, 5.3, in plain Python) is most of
a turn's work, about 5 ms a megabyte."""

_REST_TURN_MS = 60

_RENDER_SETTINGS = {
    "prompt", "negative_prompt", "strength", "num_inference_steps", "guidance_scale", "seed",
    "model", "live", "refine",
}  # fmt: skip


class Flow(QtCore.QObject):
    """Joins the canvas room, the link and the docker's values."""

    picture_changed = Signal(object, object)

    def __init__(
        self,
        room: CanvasRoom,
        connection: Connection,
        settings: Settings,
        live_state: LiveState,
        parent: Any = None,
    ) -> None:
        super().__init__(parent)
        self.metrics = Metrics()
        self._room = room
        self._connection = connection
        self._settings = settings
        self._live_state = live_state
        self._document: Any = None
        self._document_id = ""
        self._frame: Frame | None = None
        self._frame_document = ""
        self._first_revision_of_document = 0
        self._is_waiting_to_apply = False
        self._sent_extent: Extent | None = None
        self._rest = QtCore.QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_TURN_MS)
        self._rest.timeout.connect(self._rest_turn)
        room.overlay.on_paint = self._painted
        self._again = QtCore.QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(10)
        self._again.timeout.connect(self._look)
        room.watcher.changed.connect(self._look)
        room.watcher.document_changed.connect(self._document_changed)
        connection.opened.connect(self._send_everything)
        connection.received.connect(self._receive)
        connection.state_changed.connect(self._connection_changed)
        connection.problem.connect(self._problem)
        settings.changed.connect(self._setting_changed)

    def begin(self) -> None:
        self._room.overlay.set_opacity(self._settings.get("overlay_opacity"))
        if self._settings.get("live"):
            self._go_live()

    def end(self) -> None:
        """Krita ends: no preview layer, no child process, no overlay stays behind."""
        self._room.watcher.stop()
        self._rest.stop()
        self._again.stop()
        self._room.overlay.clear()
        self._room.overlay.detach()
        self._remove_preview()
        self._connection.stop()
        if path := os.environ.get("NIJIMI_METRICS"):
            Path(path).write_text(json.dumps(self.metrics_report()), encoding="utf-8")

    @property
    def shows_newest(self) -> bool:
        """True when the picture shows the newest change and nothing waits to be sent."""
        session = self._connection.session
        return (
            session is not None
            and self._frame is not None
            and self._frame.revision >= session.revision
            and not self._again.isActive()
        )

    def metrics_report(self) -> dict[str, Any]:
        """The figures of the live line, with device, model and speed."""
        return {
            "device": self._live_state.device,
            "model": self._live_state.model,
            "fps": round(self.metrics.fps(time.perf_counter()), 2),
            **self.metrics.report(),
            "final_revision_shown": self.shows_newest,
            "problem": self._live_state.problem,
            "state": self._live_state.state,
        }

    def apply(self) -> None:
        """Put the newest picture into a layer of its own, as soon as Krita is at rest."""
        if self._frame is None or self._frame_document != self._document_id:
            return
        self._is_waiting_to_apply = True
        self._rest_turn()

    def _go_live(self) -> None:
        self._room.watcher.start()
        self._document_changed()
        if self._connection.is_open:
            # No status will come: the backend is as warm as it was.
            self._live_state.update(state="ready" if self._document is not None else "waiting")
            self._send_everything()
        else:
            self._connection.start()

    def _go_quiet(self) -> None:
        """Live off: the backend stays warm and idle, the canvas is free of us."""
        self._room.watcher.stop()
        self._room.overlay.clear()
        self._send_params()
        self._live_state.update(state="off", problem="", hint="")
        self._remove_preview()

    def _setting_changed(self, name: str) -> None:
        if name == "live":
            if self._settings.get("live"):
                self._go_live()
            else:
                self._go_quiet()
        elif name in _RENDER_SETTINGS:
            self._send_params()
        elif name == "overlay_opacity":
            self._room.overlay.set_opacity(self._settings.get(name))
            self._rest.start()
        elif name == "show_on_canvas":
            self._show_on_canvas()
            if self._settings.get(name) != SHOW_LAYER:
                self._remove_preview()

    def _send_everything(self) -> None:
        """A fresh session knows nothing of us."""
        self._room.capture.reset()
        self._sent_extent = None
        self._frame = None
        self._live_state.update(problem="", hint="", can_retry=False)
        self._send_params()
        self._look()

    def _send_params(self) -> None:
        session = self._connection.session
        if session is None or not self._connection.is_open:
            return
        try:
            data = session.set_params(SetParams(revision=0, params=self._settings.params()))
        except RejectedChange as error:
            self._problem(error.sentence, error.action, can_retry=False)
            return
        self.metrics.change(session.revision, time.perf_counter())
        self._connection.send(data)
        self._live_state.update(problem="", hint="")

    def _look(self) -> None:
        """Look at the canvas and send what changed since the last look."""
        if not self._settings.get("live") or not self._connection.is_open:
            return
        if self._document is None:
            return
        if self._connection.pending_bytes > MAX_PENDING_BYTES:
            self._again.start()
            return
        started = time.perf_counter()
        try:
            self._send_canvas(started)
        except ProtocolError as error:
            self._problem(error.sentence, error.action, can_retry=False)
        if self._room.watcher.is_pen_down:
            self.metrics.stall("look", (time.perf_counter() - started) * 1000)

    def _send_canvas(self, seen_s: float) -> None:
        session = self._connection.session
        if session is None or not self._room.is_open(self._document):
            return
        pen_down = self._room.watcher.is_pen_down
        budget = PEN_DOWN_BUDGET_BYTES if pen_down else REST_BUDGET_BYTES
        result = self._room.capture.grab(self._document, budget)
        if result is None:
            self._rest.start()
            return
        if result.extent != self._sent_extent:
            try:
                data = session.set_plane(CANVAS, result.extent, PixelFormat.BGRA8)
            except RejectedChange:
                self._room.capture.reset()
                raise
            self._connection.send(data)
            self._sent_extent = result.extent
        if result.has_more:
            self._again.start()
        if not result.tiles:
            return
        tiles = [
            pack_tile(area, PixelFormat.BGRA8, pixels, Encoding.RAW)
            for area, pixels in result.tiles
        ]
        for data in session.update_tiles(CANVAS, tiles):
            self._connection.send(data)
        self.metrics.change(session.revision, seen_s)

    def _receive(self, event: Message) -> None:
        if isinstance(event, Frame):
            self._show(event)
        elif isinstance(event, Status):
            self._status(event)
        elif isinstance(event, Progress):
            self._live_state.update(progress=f"{event.label} ({event.done}/{event.total})")
        elif isinstance(event, ErrorReport):
            self._problem(event.sentence, event.action, can_retry=False)

    def _show(self, frame: Frame) -> None:
        session = self._connection.session
        if session is None:
            return
        started = self._connection.receiving_since_s
        # First of all: the backend may send the next one while this one is painted.
        self._connection.send(session.ack(frame.frame_id))
        self._connection.note_success()
        is_stale = frame.revision < self._first_revision_of_document
        if is_stale or not self._settings.get("live"):
            # It shows a document that is no longer in front.
            return
        self._frame, self._frame_document = frame, self._document_id
        self._show_on_canvas()
        pixels, extent = session.picture
        self.picture_changed.emit(pixels, extent)
        now = time.perf_counter()
        self.metrics.frame(frame.revision, now, frame.model_ms, frame.timings_ms.get("queue", 0.0))
        if self._room.watcher.is_pen_down:
            self.metrics.stall("show", (now - started) * 1000)
        else:
            self._rest.start()
        self._live_state.update(
            frame_ms=round(sum(frame.timings_ms.values()) - frame.timings_ms.get("queue", 0.0)),
            fps=round(self.metrics.fps(now), 1),
            has_picture=True,
        )

    def _painted(self, spent_ms: float) -> None:
        if self._room.watcher.is_pen_down:
            self.metrics.stall("paint", spent_ms)

    def _show_on_canvas(self) -> None:
        overlay = self._room.overlay
        session, frame = self._connection.session, self._frame
        how = self._settings.get("show_on_canvas")
        hidden = how == SHOW_NOTHING or (how == SHOW_LAYER and not self._room.watcher.is_pen_down)
        if frame is None or session is None or self._sent_extent is None or hidden:
            overlay.clear()
            return
        pixels, extent = session.picture
        overlay.show_picture(pixels, extent, frame.area, self._sent_extent)

    def _status(self, status: Status) -> None:
        if status.state == "ready":
            waiting = self._document is None
            state = "waiting" if waiting else "ready"
            self._live_state.update(
                state=state, device=status.device, model=status.model, progress=""
            )
        elif status.state == "failed":
            self._problem(status.text, "Choose another model, or run nijimi doctor.")
        else:
            self._live_state.update(state="loading", device=status.device)

    def _connection_changed(self, state: str) -> None:
        if state == "off" and not self._settings.get("live"):
            self._live_state.update(state="off")
        elif state == "open":
            self._live_state.update(state="loading", problem="", hint="", can_retry=False)
        elif state in ("starting", "connecting", "reconnecting"):
            self._live_state.update(state=state, progress="")

    def _problem(self, sentence: str, action: str, can_retry: bool = True) -> None:
        self._live_state.update(problem=sentence, hint=action, can_retry=can_retry)

    def _document_changed(self) -> None:
        document = self._room.active_document()
        identity = self._room.document_id(document) if document is not None else ""
        if identity == self._document_id and document is not None:
            self._document = document
            return
        self._remove_preview()
        self._document, self._document_id = document, identity
        self._frame = None
        self._room.capture.reset()
        self._room.overlay.clear()
        self.picture_changed.emit(None, Extent(0, 0))
        self._live_state.update(has_picture=False)
        session = self._connection.session
        if session is not None and self._connection.is_open:
            if self._sent_extent is not None:
                self._connection.send(session.drop_plane(CANVAS))
                self._sent_extent = None
            # What shows a change from before this belongs to the other document.
            self._first_revision_of_document = session.revision + 1
            if self._live_state.state in ("ready", "waiting"):
                self._live_state.update(state="waiting" if document is None else "ready")
        self._look()

    def _rest_turn(self) -> None:
        """What must not disturb a stroke: layers. Tried again until Krita is at rest."""
        document = self._document
        if document is None or not self._room.is_open(document):
            self._is_waiting_to_apply = False
            return
        if self._room.watcher.is_pen_down or not self._room.is_at_rest(document):
            self._rest.start()
            return
        if self._is_waiting_to_apply:
            self._is_waiting_to_apply = False
            self._apply_now(document)
        elif self._settings.get("show_on_canvas") == SHOW_LAYER:
            self._show_on_canvas()
            self._update_preview(document)
        if self._settings.get("live"):
            self._look()

    def _apply_now(self, document: Any) -> None:
        session, frame = self._connection.session, self._frame
        if frame is None or session is None or self._frame_document != self._document_id:
            return
        pixels, extent = session.picture
        prompt = " ".join(self._settings.get("prompt").split())[:40] or "picture"
        self._room.apply_picture(
            document, pixels, extent, _within(frame.area, self._sent_extent), f"Nijimi: {prompt}"
        )

    def _update_preview(self, document: Any) -> None:
        session, frame = self._connection.session, self._frame
        if frame is None or session is None or not frame.final:
            return
        pixels, extent = session.picture
        opacity = self._settings.get("overlay_opacity")
        self._room.preview_layer(document).show(pixels, extent, frame.area, opacity)

    def _remove_preview(self) -> None:
        document = self._document
        if (
            document is not None
            and self._room.is_open(document)
            and self._room.is_at_rest(document)
        ):
            self._room.preview_layer(document).remove()


def _within(area: Bounds, extent: Extent | None) -> Bounds:
    return area if extent is None else area.intersection(extent.bounds)
