"""A backend's command or address enters; an open session leaves, and comes back after every crash.

Signals:
    opened()             a fresh session is open: send the whole state
    received(object)     a message of the server
    state_changed(str)   off, starting, connecting, open, reconnecting, failed
    problem(str, str)    a sentence and what to do
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol

from nijimi_protocol.errors import RemoteProtocolError
from nijimi_protocol.messages import ErrorReport, Status, Welcome
from nijimi_protocol.session import ClientSession, SessionState
from nijimi_protocol.version import VERSION

from ..qt import QtCore, Signal
from ..texts import tr
from .backend_process import BackendProcess
from .heartbeat import (
    BEAT_S,
    LOADING_PATIENCE_S,
    READY_PATIENCE_S,
    Beat,
    Heartbeat,
)
from .socket import LinkSocket

__all__ = ["MAX_ENDS", "MAX_QUICK_ENDS", "Connection", "RemoteAddress"]

_BACKOFF_MS = (200, 1000, 2000, 4000, 8000)
MAX_QUICK_ENDS = 5
"""After so many ends without a frame between them the painter is asked, instead of the machine."""

MAX_ENDS = 10
MAX_ENDS_S = 300.0
"""More ends than this in so long are too many, even if a frame came between them."""


class RemoteAddress(Protocol):
    """Where a backend on another machine is, and what vouches for both ends."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def token_file(self) -> str: ...

    @property
    def ca_file(self) -> str: ...


class Connection(QtCore.QObject):
    """Keeps one backend running and one session open while it is started."""

    opened = Signal()
    received = Signal(object)
    state_changed = Signal(str)
    problem = Signal(str, str)

    def __init__(
        self,
        command: list[str],
        parent: Any = None,
        *,
        remote: RemoteAddress | None = None,
        trouble: tuple[str, str] | None = None,
    ) -> None:
        """``remote``: a backend on another machine, instead of a child. ``trouble``: why there is
        neither, a sentence and what to do."""
        super().__init__(parent)
        self._remote = remote
        self._trouble = trouble or (
            tr("Nijimi's backend is not installed yet."),
            tr("Press Set up, or run: {command}", command="python3 installer run"),
        )
        self._command = command
        self._process: BackendProcess | None = None
        self._socket: LinkSocket | None = None
        self._token = ""
        self._revision = 0
        self._ends = 0
        self._ended_s: deque[float] = deque(maxlen=MAX_ENDS + 1)
        self._wanted = False
        self.session: ClientSession | None = None
        self.receiving_since_s = 0.0
        """When the bytes of the newest event began to be read (``time.perf_counter``)."""
        self._heartbeat: Heartbeat | None = None
        self._beat = QtCore.QTimer(self)
        self._beat.setInterval(round(1000 * BEAT_S))
        self._beat.timeout.connect(self._look_after_it)
        self._again = QtCore.QTimer(self)
        self._again.setSingleShot(True)
        self._again.timeout.connect(self._launch)

    @property
    def is_open(self) -> bool:
        return self.session is not None and self.session.state is SessionState.OPEN

    @property
    def pending_bytes(self) -> int:
        return self._socket.pending_bytes if self._socket is not None else 0

    @property
    def backend_pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def has_backend(self) -> bool:
        """Whether there is anything to start or to reach."""
        return bool(self._command) or self._remote is not None

    def use(self, command: list[str], remote: RemoteAddress | None = None) -> None:
        """From the next start on another backend; the one that runs now is ended."""
        if self._wanted or self.session is not None:
            self.stop()
        self._command, self._remote = command, remote

    def start(self) -> None:
        """Begin, or begin again after a failure."""
        if not self.has_backend:
            self.tell_trouble()
            return
        if self._wanted and (self._process is not None or self._socket is not None):
            return
        self._wanted = True
        self._ends = 0
        self._ended_s.clear()
        self._launch()

    def tell_trouble(self) -> None:
        """Why there is no backend at all."""
        self.state_changed.emit("failed")
        self.problem.emit(*self._trouble)

    def stop(self) -> None:
        """End session and backend; no problem is told."""
        self._wanted = False
        self._again.stop()
        self._drop()
        self.state_changed.emit("off")

    def send(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.send(data)

    def note_success(self) -> None:
        """A frame came: the backend works, earlier ends are forgiven."""
        self._ends = 0

    def _launch(self) -> None:
        self._drop()
        self.state_changed.emit("starting" if self._ends == 0 else "reconnecting")
        if self._remote is not None:
            self._connect_far(self._remote)
            return
        process = BackendProcess(self._command, self)
        process.listening.connect(self._connect)
        process.ended.connect(self._ended)
        self._process = process
        process.start()

    def _connect_far(self, remote: RemoteAddress) -> None:
        try:
            token = Path(remote.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self._give_up(
                tr(
                    "The remote backend's token cannot be read from {path} ({error}).",
                    path=remote.token_file,
                    error=type(error).__name__,
                ),
                tr("Copy it from that machine into this file."),
            )
            return
        self._new_socket(token).open_tls(remote.port, remote.host, remote.ca_file)

    def _connect(self, port: int, token: str) -> None:
        self._new_socket(token).open(port)

    def _new_socket(self, token: str) -> LinkSocket:
        """A socket that will greet with this token."""
        self._token = token
        self.state_changed.emit("connecting")
        socket = LinkSocket(self)
        socket.opened.connect(self._greet)
        socket.message.connect(self._receive)
        socket.closed.connect(self._ended)
        socket.heard.connect(self._heard)
        self._socket = socket
        return socket

    def _greet(self) -> None:
        self._heartbeat = Heartbeat(time.monotonic())
        self._beat.start()
        self.session = ClientSession(
            token=self._token, client=f"nijimi-krita {VERSION}", first_revision=self._revision
        )
        self.send(self.session.hello())

    def _heard(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.heard(time.monotonic())

    def _look_after_it(self) -> None:
        """A backend that hangs is as bad as a dead one: it is ended and started again."""
        if self._heartbeat is None or self._socket is None:
            return
        beat = self._heartbeat.look(time.monotonic())
        if beat is Beat.ASK:
            self._socket.ping()
        elif beat is Beat.GIVE_UP:
            self._ended(tr("The backend did not answer any more."))

    def _receive(self, data: bytes | bytearray | memoryview) -> None:
        session = self.session
        if session is None or self._socket is None:
            return
        self.receiving_since_s = self._socket.reading_since_s
        try:
            event = session.receive(data)
        except RemoteProtocolError as error:
            self._ended(error.sentence)
            return
        if isinstance(event, Welcome):
            self.state_changed.emit("open")
            self.opened.emit()
            self.received.emit(event)
            return
        if isinstance(event, ErrorReport) and event.fatal:
            # Trying again would end the same way.
            self._give_up(event.sentence, event.action)
            return
        if isinstance(event, Status) and self._heartbeat is not None:
            is_ready = event.state == "ready"
            self._heartbeat.patience_s = READY_PATIENCE_S if is_ready else LOADING_PATIENCE_S
        self.received.emit(event)

    def _ended(self, sentence: str) -> None:
        """Process or socket ended without our wish: start both again, ever later."""
        if not self._wanted:
            return
        self._ends += 1
        now = time.monotonic()
        self._ended_s.append(now)
        is_restless = len(self._ended_s) > MAX_ENDS and now - self._ended_s[0] < MAX_ENDS_S
        if self._ends > MAX_QUICK_ENDS or is_restless:
            self._give_up(sentence, tr("Run nijimi doctor in a terminal, then press Retry."))
            return
        self._drop()
        self.state_changed.emit("reconnecting")
        self._again.start(_BACKOFF_MS[min(self._ends, len(_BACKOFF_MS)) - 1])

    def _give_up(self, sentence: str, action: str) -> None:
        self._drop()
        self._wanted = False
        self.state_changed.emit("failed")
        self.problem.emit(sentence, action)

    def _drop(self) -> None:
        self._beat.stop()
        self._heartbeat = None
        if self.session is not None:
            self._revision = self.session.revision
            self.session = None
        if self._socket is not None:
            self._socket.close()
            self._socket.deleteLater()
            self._socket = None
        if self._process is not None:
            # At a crash there is nothing to wait for, and the painter must not wait either.
            self._process.stop(at_once=self._wanted)
            self._process.deleteLater()
            self._process = None
