"""Nijimi's wire protocol: bytes enter, events leave, and the other way round.

Python 3.10, standard library only; it runs inside Krita and in the backend alike.
"""

from __future__ import annotations

from .errors import (
    LocalProtocolError,
    MalformedMessage,
    OutOfOrder,
    OversizedMessage,
    ProtocolError,
    RejectedChange,
    RemoteProtocolError,
    Unauthorized,
    VersionMismatch,
)
from .geometry import TILE_PX, Bounds, Extent
from .limits import Limits
from .params import RenderMode, RenderParams
from .pixels import Encoding, PixelFormat, Tile
from .session import ClientSession, ServerSession, SessionState
from .version import PROTOCOL, SUBPROTOCOL, VERSION

__all__ = [
    "PROTOCOL",
    "SUBPROTOCOL",
    "TILE_PX",
    "VERSION",
    "Bounds",
    "ClientSession",
    "Encoding",
    "Extent",
    "Limits",
    "LocalProtocolError",
    "MalformedMessage",
    "OutOfOrder",
    "OversizedMessage",
    "PixelFormat",
    "ProtocolError",
    "RejectedChange",
    "RemoteProtocolError",
    "RenderMode",
    "RenderParams",
    "ServerSession",
    "SessionState",
    "Tile",
    "Unauthorized",
    "VersionMismatch",
]
