"""Bytes of the peer enter, checked events leave; calls of our side enter, bytes to send leave.

Sans-IO: no socket, clock, thread or Qt. Each end owns one session per connection.

    client                                server
    AWAIT_WELCOME --Hello------------->   AWAIT_HELLO
    OPEN          <------------Welcome--  OPEN
    CLOSED        (fatal error at either end)

``receive`` raises a ``RemoteProtocolError``. When it is fatal the session is closed and the
caller ends the connection (the server first sends ``refusal(error)``); a ``RejectedChange`` leaves
the session open and the state before it in force.
"""

from __future__ import annotations

from .client_session import ClientSession, JpegDecoder
from .server_session import ServerSession
from .session_state import SessionState

__all__ = ["ClientSession", "JpegDecoder", "ServerSession", "SessionState"]
