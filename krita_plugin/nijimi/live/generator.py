"""The painter's wish for finished pictures enters; batches leave for the backend, results arrive.

A batch is of the canvas as it is when it is asked for. With live off the canvas is sent for that,
and only for that.

Signals:
    refused(str, str)  nothing can be generated: a sentence and what to do
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.messages import BatchPhase, BatchPicture, BatchState, Message
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams

from ..canvas.room import CanvasRoom
from ..link.connection import Connection
from ..model.batches import BatchEntry, BatchQueue
from ..model.results import Result, Results
from ..model.settings import Settings
from ..qt import QtCore, Signal
from ..texts import told, tr
from .keeper import Keeper
from .places import Place, Places

__all__ = ["Generator", "Mirror"]

_TURN_MS = 30

_MOST_WISHES = 4
"""Presses of the button that may wait for the canvas to arrive."""


class Mirror(NamedTuple):
    """What the generator asks of those who send the canvas."""

    hold: Callable[[bool], None]
    """Send the canvas although live is off, for as long as it is wanted."""
    is_complete: Callable[[], bool]
    params: Callable[[], RenderParams]
    places: Places


class _Asked(NamedTuple):
    place: Place
    params: RenderParams
    revision: int


class Generator(QtCore.QObject):
    """Asks for batches, and keeps what comes of them."""

    refused = Signal(str, str)

    def __init__(
        self,
        room: CanvasRoom,
        connection: Connection,
        settings: Settings,
        mirror: Mirror,
        parent: Any = None,
    ) -> None:
        super().__init__(parent)
        self.queue = BatchQueue(self)
        self.results = Results(self)
        self._keeper = Keeper(room, self.results, self)
        self._room = room
        self._connection = connection
        self._settings = settings
        self._mirror = mirror
        self._wishes: list[UpscaleParams | None] = []
        self._document_id = ""
        self._asked: dict[int, _Asked] = {}
        self._turn = QtCore.QTimer(self)
        self._turn.setInterval(_TURN_MS)
        self._turn.timeout.connect(self._look)
        connection.received.connect(self._receive)
        connection.state_changed.connect(self._connection_changed)

    def generate(self, upscale: UpscaleParams | None = None) -> None:
        """Make a batch of the document in front, as soon as all of it has been sent.

        With ``upscale`` it is one larger picture of the whole canvas.
        """
        document = self._room.active_document()
        if document is None:
            self.refused.emit(
                tr("There is no document to generate for."), tr("Open one, or make a new one.")
            )
            return
        self._document_id = self._room.document_id(document)
        if len(self._wishes) < _MOST_WISHES:
            self._wishes.append(upscale)
        self.queue.prepare(True)
        self._mirror.hold(True)
        self._turn.start()

    def cancel(self) -> None:
        """Give up what runs and what waits."""
        self._give_up_wishes()
        for entry in self.queue.entries:
            if entry.id > 0:
                self.cancel_batch(entry.id)

    def cancel_batch(self, batch_id: int) -> None:
        session = self._connection.session
        if session is not None and self._connection.is_open:
            self._connection.send(session.cancel_batch(batch_id))

    def first(self, batch_id: int) -> None:
        """A batch that waits becomes the next one."""
        session = self._connection.session
        if session is not None and self._connection.is_open:
            self._connection.send(session.order_batches(self.queue.first(batch_id)))

    def set_document(self, document: Any | None) -> None:
        """Another document is in front, with pictures of its own."""
        identity = self._room.document_id(document) if document is not None else ""
        self.results.set_document(identity)
        self._keeper.set_document(document)

    def end(self) -> None:
        self._turn.stop()
        # Nothing is looked at any more, and nobody watches for what ends that.
        self.results.choose(None)
        self._keeper.end()

    # Asking --------------------------------------------------------------------------------

    def _look(self) -> None:
        """Ask when the mirror is complete."""
        document = self._room.active_document()
        if document is None or self._room.document_id(document) != self._document_id:
            self._give_up_wishes()
            return
        session = self._connection.session
        if session is None or not self._connection.is_open or not self._mirror.is_complete():
            return
        while self._wishes and self._ask(self._wishes.pop(0)):
            pass
        self._give_up_wishes()

    def _give_up_wishes(self) -> None:
        self._wishes.clear()
        self._turn.stop()
        self.queue.prepare(False)
        self._mirror.hold(False)

    def _ask(self, upscale: UpscaleParams | None) -> bool:
        session = self._connection.session
        assert session is not None
        wanted = "generate" if upscale is None else "upscale"
        if session.welcome is not None and wanted not in session.welcome.capabilities:
            self.refused.emit(tr("This backend cannot do that yet."), tr("Update the backend."))
            return False
        params = self._settings.final_params(self._mirror.params())
        if upscale is not None:
            params = replace(params, mode=RenderMode.IMG2IMG)
        place = self._mirror.places.at(session.revision, self._document_id, params.mode)
        if place is None:
            if params.mode is RenderMode.INPAINT:
                self.refused.emit(
                    tr("Nothing is selected, so there is nothing to generate."),
                    tr("Select what is to be repainted, or choose Whole picture."),
                )
            # Why else there is no canvas was told by the one who could not send it.
            return False
        count = self._settings.get("batch_count") if upscale is None else 1
        try:
            batch_id, data = session.generate(params, count, upscale, looks=True)
        except RejectedChange as error:
            self.refused.emit(told(error.code, error.sentence), error.action)
            return False
        self._asked[batch_id] = _Asked(place, params, session.revision)
        title = " ".join(params.prompt.split()) or tr("No prompt")
        if upscale is not None:
            title = tr("Upscale: {prompt}", prompt=title)
        self.queue.add(BatchEntry(id=batch_id, title=title, count=count))
        self._connection.send(data)
        self._settings.note_prompt()
        if not self._settings.get("seed_locked"):
            self._settings.new_seed()
        return True

    # What comes of it ----------------------------------------------------------------------

    def _receive(self, event: Message) -> None:
        if isinstance(event, BatchState):
            self.queue.note(event)
            if event.state is BatchPhase.FAILED:
                self.refused.emit(event.sentence, event.action)
            if event.state.is_over:
                self._asked.pop(event.batch_id, None)
        elif isinstance(event, BatchPicture) and not event.more:
            self._keep(event)

    def _keep(self, event: BatchPicture) -> None:
        session = self._connection.session
        asked = self._asked.get(event.batch_id)
        if session is None or asked is None:
            return
        pixels = bytes(session.take_made())
        picture = asked.place.picture(
            pixels, event.extent, event.area, asked.revision, is_final=True
        )
        self.results.add(
            Result(
                id=self.results.new_id(),
                name=f"{time.time_ns() // 1000:018d}",
                picture=picture,
                params=asked.params.variation(event.index),
                sampler=event.sampler,
            )
        )

    def _connection_changed(self, state: str) -> None:
        """A backend that is gone takes its batches along; pictures that came stay."""
        if state == "open":
            return
        if self._asked:
            self.refused.emit(
                tr("The backend ended while it was generating."),
                tr("What came is kept; press Generate again for the rest."),
            )
        self._asked.clear()
        self.queue.clear()
        if state in ("failed", "off") and self._wishes:
            self._give_up_wishes()
