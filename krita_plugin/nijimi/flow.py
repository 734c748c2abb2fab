"""Canvas events and the server's events enter; updates to send and pictures to show leave.

Signals:
    picture_changed(object)  the newest ``Picture``, or None
    layers_chosen(str, str)  names of the layers that are mask and context; "" for none
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from nijimi_protocol.messages import Frame, Message
from nijimi_protocol.upscale import UpscaleParams

from .canvas.room import CanvasRoom
from .link.connection import Connection
from .live.animator import Animator
from .live.area_flow import AreaFlow
from .live.chosen_layers import ChosenLayers
from .live.control_flow import ControlFlow
from .live.generator import Generator, Mirror
from .live.notes import note_event
from .live.params_sender import ParamsSender
from .live.places import Places
from .live.presenter import Presenter
from .live.sender import CanvasSender
from .model.controls import Controls
from .model.live_state import RETRY, SET_UP, LiveState
from .model.metrics import Metrics
from .model.picture import APPLY_NEW
from .model.settings import RENDER_SETTINGS, Settings
from .qt import QtCore, Signal

__all__ = ["Flow"]


class Flow(QtCore.QObject):
    """Joins the canvas room, the link and the docker's values."""

    picture_changed = Signal(object)
    layers_chosen = Signal(str, str)

    def __init__(
        self,
        room: CanvasRoom,
        connection: Connection,
        settings: Settings,
        live_state: LiveState,
        controls: Controls,
        parent: Any = None,
    ) -> None:
        super().__init__(parent)
        self.metrics = Metrics()
        self._room = room
        self._connection = connection
        self._settings = settings
        self._live_state = live_state
        self._sender = CanvasSender(room, connection, self.metrics, self)
        self._chosen = ChosenLayers(room, settings)
        self._sender.read_mask = self._chosen.mask
        self._presenter = Presenter(room, settings, self)
        self._area = AreaFlow(
            room, settings, live_state, self._chosen, self._sender, self._presenter, self
        )
        self._area.layers_chosen.connect(self.layers_chosen)
        self.controls = ControlFlow(room, connection, controls, self.metrics, self)
        self._places = Places(self._sender)
        self._params = ParamsSender(
            connection, settings, live_state, self._chosen, self._area, self._places
        )
        mirror = Mirror(self._hold_mirror, self._is_mirrored, self._params.wished, self._places)
        self.generator = Generator(room, connection, settings, mirror, self)
        self.animator = Animator(room, connection, settings, mirror, self.generator.queue, self)
        for made in (self.generator, self.animator):
            made.refused.connect(lambda what, do: live_state.tell("generate", what, do))
        self.generator.results.chosen_changed.connect(self._look_at_chosen)
        self.controls.told.connect(self._control_told)
        self.controls.left_out.connect(self._leave_out)
        for slot in (self._presenter.tidy, self.generator.set_document, self._look_at_chosen):
            self.controls.followed.connect(slot)
        self.controls.list_sent.connect(lambda: live_state.forget("network"))
        self._document: Any = None
        self._document_id = ""
        self._first_revision_of_document = 0
        room.overlay.on_paint = self._painted
        room.paired_steps.listeners += [self._chosen.relink, controls.relink]
        room.watcher.changed.connect(self._canvas_changed)
        room.watcher.document_changed.connect(self._document_changed)
        connection.opened.connect(self._send_everything)
        connection.received.connect(self._receive)
        connection.state_changed.connect(self._connection_changed)
        connection.problem.connect(self._connection_failed)
        settings.changed.connect(self._setting_changed)
        self._sender.selection_changed.connect(self._selection_changed)
        self._sender.refused.connect(lambda what, do: live_state.tell("canvas", what, do))
        self._sender.accepted.connect(lambda: live_state.forget("canvas"))
        self._presenter.refused.connect(lambda what, do: live_state.tell("apply", what, do))

    def begin(self) -> None:
        self._presenter.refresh()
        self.controls.begin()
        if self._settings.get("live"):
            self._go_live()

    def end(self) -> None:
        """Krita ends: no preview layer, no child process, no overlay stays behind."""
        self._room.watcher.stop()
        self._sender.stop()
        self.controls.end()
        self.generator.end()
        self.animator.end()
        self._presenter.end()
        self._connection.stop()
        if path := os.environ.get("NIJIMI_METRICS"):
            Path(path).write_text(json.dumps(self.metrics_report()), encoding="utf-8")

    @property
    def shows_newest(self) -> bool:
        """True when the picture shows the newest change and nothing waits to be sent."""
        session, picture = self._connection.session, self._presenter.picture
        return (
            session is not None
            and picture is not None
            and picture.revision >= session.revision
            and not self._sender.is_waiting
            and not self.controls.is_waiting
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

    def apply(self, how: str = APPLY_NEW) -> None:
        """Put the newest picture into a layer of its own, as soon as Krita is at rest."""
        self._live_state.forget("apply")
        self._presenter.apply(how=how)

    def generate(self, upscale: UpscaleParams | None = None) -> None:
        """Make finished pictures of the canvas as it is, or with ``upscale`` a larger one."""
        self._live_state.forget("generate")
        self.generator.generate(upscale)

    def apply_result(self, result_id: int, how: str = APPLY_NEW) -> None:
        """Put one of them into a layer of its own."""
        self._live_state.forget("apply")
        if (result := self.generator.results.get(result_id)) is not None:
            self._presenter.apply(result.picture, result.params.prompt, how=how)

    # Generating ----------------------------------------------------------------------------

    def _hold_mirror(self, is_wanted: bool) -> None:
        """With live off the canvas is sent only while a batch waits for it."""
        if self._settings.get("live"):
            return
        if not is_wanted:
            self._sender.stop()
            self.controls.stop()
            return
        self._sender.is_on = True
        self.controls.start()
        self._document_changed()
        if self._connection.is_open:
            self._sender.look()
            self.controls.look()
        else:
            self._connection.start()

    def _is_mirrored(self) -> bool:
        is_waiting = self._sender.is_waiting or self.controls.is_waiting
        return (
            self._params.accepted is not None
            and not is_waiting
            and not self._room.watcher.is_pen_down
        )

    def _look_at_chosen(self, _document: Any = None) -> None:
        """A result that is chosen is seen in place of the newest live picture."""
        chosen = self.generator.results.chosen
        picture = chosen.picture if chosen is not None else None
        self._presenter.look_at(picture)
        shown = picture or self._presenter.picture_in_front
        self.picture_changed.emit(shown)
        self._live_state.update(has_picture=shown is not None)

    # The painter ---------------------------------------------------------------------------

    def _go_live(self) -> None:
        self._sender.is_on = True
        self.controls.start()
        self._presenter.start()
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
        self._sender.stop()
        self.controls.stop()
        self._params.send()
        self._presenter.stop()
        self._live_state.update(state="off")
        self._live_state.forget_all()

    def _setting_changed(self, name: str) -> None:
        if name == "live":
            if self._settings.get("live"):
                self._go_live()
            else:
                self._go_quiet()
        elif name == "area":
            self._area.forget()
            self._area.choose()
            self._params.send()
            self._sender.look()
            self._note_layer()
        elif name == "inpaint_context_layer":
            self._area.choose(context=True)
            self._params.send()
        elif name in RENDER_SETTINGS:
            self._params.send()
        elif name in ("overlay_opacity", "show_on_canvas"):
            self._presenter.refresh()

    def _control_told(self, sentence: str, action: str) -> None:
        if sentence:
            self._live_state.tell("control", sentence, action)
        else:
            self._live_state.forget("control")

    def _leave_out(self, ids: frozenset[str]) -> None:
        """Control layers are no part of the picture that it starts from."""
        if ids != self._room.capture.left_out:
            self._room.capture.left_out = ids
            # Not at once: this may be said in the middle of a change of documents.
            QtCore.QTimer.singleShot(0, self._sender.look)

    def _canvas_changed(self) -> None:
        self._sender.look()
        self.controls.look()
        if not self._room.watcher.is_pen_down:
            self._params.send_if_inpaint_changed()

    def _document_changed(self) -> None:
        document = self._room.active_document()
        identity = self._room.document_id(document) if document is not None else ""
        if identity == self._document_id and document is not None:
            self._document = self._params.document = document
            self._presenter.follow(document)
            self.controls.follow(document)
            return
        self._document, self._document_id = document, identity
        self._params.document = document
        self._area.forget()
        self._presenter.set_document(document)
        self._sender.set_document(document)
        self.controls.set_document(document)
        if document is not None and not self._chosen.mask_name(document):
            self._area.choose()
        self.picture_changed.emit(None)
        self._live_state.update(has_picture=False)
        self._live_state.forget("canvas")
        self._live_state.forget("apply")
        session = self._connection.session
        if session is not None:
            # What shows a change from before this belongs to the other document.
            self._first_revision_of_document = session.revision + 1
        if self._live_state.state in ("ready", "waiting"):
            self._live_state.update(state="waiting" if document is None else "ready")
        self._sender.look()
        self.controls.look()
        self._note_layer()
        self._params.send_if_mode_changed()

    # To the backend ------------------------------------------------------------------------

    def _send_everything(self) -> None:
        """A fresh session knows nothing of us."""
        self._params.begin_session()
        self._area.was_selected = False
        self._sender.begin_session()
        self._live_state.forget_all()
        # Canvas and selection first: nothing is rendered before there are parameters.
        self._sender.look()
        self.controls.begin_session()
        self._note_layer()
        self._params.send()

    def _selection_changed(self) -> None:
        self._area.note(self._document)
        self._params.send()

    def _note_layer(self) -> None:
        """A layer that covers nothing from the start changes nothing, and must be told of."""
        if self._area.is_of_layer(self._document) and self._connection.is_open:
            self._area.note(self._document)

    # From the backend ----------------------------------------------------------------------

    def _receive(self, event: Message) -> None:
        if isinstance(event, Frame):
            self._show(event)
        else:
            session = self._connection.session
            note_event(
                self._live_state, event, has_document=self._document is not None,
                revision=session.revision if session is not None else 0,
            )  # fmt: skip

    def _show(self, frame: Frame) -> None:
        session = self._connection.session
        if session is None:
            return
        started = self._connection.receiving_since_s
        # First of all: the backend may send the next one while this one is painted.
        self._connection.send(session.ack(frame.frame_id))
        self._connection.note_success()
        is_stale = frame.revision < self._first_revision_of_document
        place = self._places.at(frame.revision, self._document_id)
        if is_stale or place is None or not self._settings.get("live"):
            # It shows a document that is no longer in front, or what is no longer selected.
            return
        pixels, extent = session.picture
        picture = place.picture(pixels, extent, frame.area, frame.revision, is_final=frame.final)
        self._presenter.show(picture)
        self.picture_changed.emit(picture)
        now = time.perf_counter()
        self.metrics.frame(frame.revision, now, frame.model_ms, frame.timings_ms)
        is_pen_down = self._room.watcher.is_pen_down
        self.metrics.turn("show", (now - started) * 1000, is_pen_down=is_pen_down)
        # An earlier one may have been on its way when the backend complained.
        self._live_state.forget("backend", frame.revision)
        self._live_state.update(
            frame_ms=round(sum(frame.timings_ms.values()) - frame.timings_ms.get("queue", 0.0)),
            fps=round(self.metrics.fps(now), 1),
            has_picture=True,
        )

    def _painted(self, spent_ms: float) -> None:
        self.metrics.turn("paint", spent_ms, is_pen_down=self._room.watcher.is_pen_down)

    def _connection_changed(self, state: str) -> None:
        if state == "off" and not self._settings.get("live"):
            self._live_state.update(state="off")
        elif state == "open":
            self._live_state.update(state="loading")
            self._live_state.forget_all()
        elif state in ("starting", "connecting", "reconnecting"):
            self._live_state.update(state=state, progress="")

    def _connection_failed(self, sentence: str, action: str) -> None:
        remedy = RETRY if self._connection.has_backend else SET_UP
        self._live_state.tell("link", sentence, action, remedy)
