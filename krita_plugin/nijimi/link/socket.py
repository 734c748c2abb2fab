"""An address enters; whole binary messages come and go over a WebSocket, driven by Qt's signals.

The sans-IO core of ``websockets`` (RFC 6455) speaks; a QTcpSocket carries. No thread, no asyncio,
no polling.

Signals:
    opened()
    heard()          bytes of any kind came
    message(object)  bytes, or a buffer that is let go afterwards
    closed(str)      a sentence
"""

from __future__ import annotations

import time
from typing import Any

from nijimi_protocol.version import SUBPROTOCOL

from ..qt import QtCore, QtNetwork, Signal
from ..texts import tr
from .websocket_core import (
    ClientProtocol,
    Frame,
    InvalidState,
    Opcode,
    Response,
    State,
    parse_uri,
)

__all__ = ["LinkSocket"]

_NO_TLS = "This Krita comes without TLS, which a backend on another machine needs."

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class LinkSocket(QtCore.QObject):
    """One connection; make a new one for the next."""

    opened = Signal()
    heard = Signal()
    message = Signal(object)
    closed = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._tcp: Any = None
        self._protocol: ClientProtocol | None = None
        self._parts: list[bytes | bytearray | memoryview] = []
        self._is_open = False
        self._is_over = False
        self.reading_since_s = 0.0

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def pending_bytes(self) -> int:
        """Bytes that the peer has not taken yet: the sign to send less."""
        if self._tcp is None:
            return 0
        encrypted = getattr(self._tcp, "encryptedBytesToWrite", lambda: 0)
        return int(self._tcp.bytesToWrite()) + int(encrypted())

    def open(self, port: int, host: str = "127.0.0.1") -> None:
        """Connect to a backend on this machine."""
        self._prepare(QtNetwork.QTcpSocket(self), f"ws://{host}:{port}/nijimi")
        self._tcp.connected.connect(self._shake_hands)
        self._tcp.connectToHost(host, port)

    def open_tls(self, port: int, host: str, ca_file: str = "") -> None:
        """Connect to a backend elsewhere, once its certificate is that of ``host``.

        ``ca_file`` (PEM) names who vouches for it, instead of the system's own authorities.
        """
        if not hasattr(QtNetwork, "QSslSocket") or not QtNetwork.QSslSocket.supportsSsl():
            self._lost(tr(_NO_TLS))
            return
        self._prepare(QtNetwork.QSslSocket(self), f"wss://{host}:{port}/nijimi")
        configuration = self._tcp.sslConfiguration()
        configuration.setProtocol(QtNetwork.QSsl.SslProtocol.TlsV1_2OrLater)
        if ca_file:
            authorities = QtNetwork.QSslCertificate.fromPath(ca_file)
            if not authorities:
                self._lost(tr("{path} holds no certificate.", path=ca_file))
                return
            configuration.setCaCertificates(authorities)
        self._tcp.setSslConfiguration(configuration)
        self._tcp.setPeerVerifyMode(QtNetwork.QSslSocket.PeerVerifyMode.VerifyPeer)
        self._tcp.sslErrors.connect(
            lambda errors: self._lost(
                tr(
                    "The backend's certificate is not trusted ({error}).",
                    error=errors[0].errorString(),
                )
            )
        )
        self._tcp.encrypted.connect(self._shake_hands)
        self._tcp.connectToHostEncrypted(host, port)

    def _prepare(self, tcp: Any, uri: str) -> None:
        self._tcp = tcp
        tcp.readyRead.connect(self._read)
        tcp.disconnected.connect(self._lost)
        errors = getattr(tcp, "errorOccurred", None)
        if errors is not None:
            errors.connect(lambda _error: self._lost())
        self._protocol = ClientProtocol(
            parse_uri(uri),
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            max_size=_MAX_MESSAGE_BYTES,
        )
        # A proxy that the system is set to must not see what is painted.
        tcp.setProxy(QtNetwork.QNetworkProxy(QtNetwork.QNetworkProxy.ProxyType.NoProxy))

    def send(self, data: bytes) -> None:
        """Send one binary message; nothing happens once the connection is over."""
        if not self._is_open or self._protocol is None:
            return
        try:
            self._protocol.send_binary(data)
        except InvalidState:
            return
        self._write()

    def ping(self) -> None:
        """Ask whether somebody is there; the answer is ``heard``, as all bytes are."""
        if not self._is_open or self._protocol is None:
            return
        try:
            self._protocol.send_ping(b"")
        except InvalidState:
            return
        self._write()

    def close(self) -> None:
        """Say goodbye and be done; ``closed`` is not emitted for one's own wish."""
        self._is_over = True
        if self._is_open and self._protocol is not None:
            try:
                self._protocol.send_close(1000)
                self._write()
                self._tcp.flush()
            except InvalidState:
                pass
        self._is_open = False
        if self._tcp is not None:
            self._tcp.abort()

    def _shake_hands(self) -> None:
        assert self._protocol is not None
        self._tcp.setSocketOption(QtNetwork.QAbstractSocket.SocketOption.LowDelayOption, 1)
        self._protocol.send_request(self._protocol.connect())
        self._write()

    def _read(self) -> None:
        protocol = self._protocol
        if protocol is None or self._is_over:
            return
        self.reading_since_s = time.perf_counter()
        self.heard.emit()
        protocol.receive_data(bytes(self._tcp.readAll()))
        for event in protocol.events_received():
            if isinstance(event, Response):
                if protocol.state is State.OPEN:
                    self._is_open = True
                    self.opened.emit()
            elif isinstance(event, Frame):
                self._frame(event)
            if self._is_over:
                return
        self._write()
        if protocol.handshake_exc is not None:
            self._lost(tr("The backend refused the connection."))

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self._parts.append(frame.data)
            if frame.fin:
                data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts = []
                self.message.emit(data)

    def _write(self) -> None:
        assert self._protocol is not None
        for data in self._protocol.data_to_send():
            if data:
                self._tcp.write(data)
        self._tcp.flush()

    def _lost(self, sentence: str = "") -> None:
        if self._is_over:
            return
        self._is_over = True
        self._is_open = False
        if self._tcp is not None:
            self._tcp.abort()
        self.closed.emit(sentence or tr("The connection to the backend ended."))
