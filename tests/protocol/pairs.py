"""A client and a server session that have shaken hands, and a tile of one value."""

from __future__ import annotations

from nijimi_protocol.geometry import Bounds
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import ModelEntry
from nijimi_protocol.pixels import Encoding, PixelFormat, Tile, pack_tile
from nijimi_protocol.session import ClientSession, ServerSession

MODELS = (ModelEntry(name="mini", title="Mini", family="sd1", native_px=256),)
BGRA = PixelFormat.BGRA8


def make_server(limits: Limits | None = None) -> ServerSession:
    return ServerSession(token="right", device="cpu", models=MODELS, limits=limits)


def make_pair(limits: Limits | None = None) -> tuple[ClientSession, ServerSession]:
    client, server = ClientSession(token="right", client="test"), make_server(limits)
    server.receive(client.hello())
    client.receive(server.welcome())
    return client, server


def plain_tile(area: Bounds, value: int = 1) -> Tile:
    return pack_tile(area, BGRA, bytes([value]) * (area.extent.pixels * 4), Encoding.RAW)
