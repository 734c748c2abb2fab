"""Protocol numbers enter nothing; both ends read them to agree on one dialect."""

from __future__ import annotations

__all__ = ["MAGIC", "MIN_PROTOCOL", "PROTOCOL", "SUBPROTOCOL", "VERSION"]

VERSION = "0.1.0"
"""The version of the program, the same for plugin, protocol and backend."""

PROTOCOL = 1
"""The newest dialect that this code speaks."""

MIN_PROTOCOL = 1
"""The oldest dialect that this code still understands."""

SUBPROTOCOL = "nijimi.1"
"""Offered in the WebSocket handshake (RFC 6455, 4.1, Sec-WebSocket-Protocol)."""

MAGIC = b"NJ"
"""The first two bytes of every message."""
