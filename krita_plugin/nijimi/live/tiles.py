"""Areas of a plane with their raw pixels enter; they leave for the backend, as one change."""

from __future__ import annotations

from collections.abc import Iterable

from nijimi_protocol.client_session import ClientSession
from nijimi_protocol.geometry import Bounds
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile

from ..link.connection import Connection

__all__ = ["send_tiles"]


def send_tiles(
    connection: Connection,
    session: ClientSession,
    plane: str,
    areas: Iterable[tuple[Bounds, bytes]],
    format: PixelFormat = PixelFormat.BGRA8,
) -> None:
    """Raw: on loopback nothing is quicker than a copy."""
    tiles = [pack_tile(area, format, pixels, Encoding.RAW) for area, pixels in areas]
    for data in session.update_tiles(plane, tiles):
        connection.send(data)
