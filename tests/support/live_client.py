"""A port and a token enter; a client with the plugin's session on a plain socket leaves."""

from __future__ import annotations

from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import (
    CANVAS,
    BatchPicture,
    BatchState,
    ErrorReport,
    Frame,
    Message,
    SetControls,
    SetParams,
    Status,
)
from nijimi_protocol.params import RenderParams
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile
from nijimi_protocol.session import ClientSession
from nijimi_protocol.version import SUBPROTOCOL
from websockets.sync.client import ClientConnection, connect

__all__ = ["LiveClient"]


class LiveClient:
    """What the plugin does, without Qt: blocking, with a time-out on everything."""

    def __init__(
        self, port: int, token: str, first_revision: int = 0, limits: Limits | None = None
    ) -> None:
        self.socket: ClientConnection = connect(
            f"ws://127.0.0.1:{port}/nijimi",
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            compression=None,
            max_size=None,
            open_timeout=10,
        )
        self.session = ClientSession(
            token=token, client="tests", first_revision=first_revision, limits=limits
        )
        self.socket.send(self.session.hello())
        self.seen: list[Message] = []

    def receive(self, timeout_s: float = 20.0) -> Message:
        """The next event; a frame is acknowledged at once."""
        data = self.socket.recv(timeout=timeout_s)
        assert isinstance(data, bytes)
        event = self.session.receive(data)
        self.seen.append(event)
        if isinstance(event, Frame):
            self.socket.send(self.session.ack(event.frame_id))
        return event

    def wait_for_state(self, state: str) -> Status:
        while True:
            event = self.receive()
            if isinstance(event, Status) and event.state == state:
                return event

    def wait_for_frame(self, revision: int, *, final: bool = False) -> Frame:
        """The first frame that shows ``revision``; with ``final`` the best one of it."""
        while True:
            event = self.receive()
            if isinstance(event, Frame) and event.revision >= revision and event.final >= final:
                return event

    def wait_for_error(self) -> ErrorReport:
        while True:
            event = self.receive()
            if isinstance(event, ErrorReport):
                return event

    def generate(self, params: RenderParams, count: int) -> int:
        batch_id, data = self.session.generate(params, count)
        self.socket.send(data)
        return batch_id

    def wait_for_batch(self, batch_id: int) -> tuple[BatchState, list[tuple[BatchPicture, bytes]]]:
        """The batch's end, and its pictures with their pixels."""
        made: list[tuple[BatchPicture, bytes]] = []
        while True:
            event = self.receive()
            if isinstance(event, BatchPicture) and event.batch_id == batch_id and not event.more:
                made.append((event, bytes(self.session.take_made())))
            if not isinstance(event, BatchState) or event.batch_id != batch_id:
                continue
            if event.state.is_over:
                return event, made

    def open_canvas(self, extent: Extent, plane: str = CANVAS) -> None:
        self.socket.send(self.session.set_plane(plane, extent, PixelFormat.BGRA8))

    def paint(self, area: Bounds, value: int, plane: str = CANVAS) -> None:
        pixels = bytes([value, value // 2, 255 - value, 255]) * area.extent.pixels
        tile = pack_tile(area, PixelFormat.BGRA8, pixels, Encoding.RAW)
        for data in self.session.update_tiles(plane, [tile]):
            self.socket.send(data)

    def set(self, params: RenderParams) -> None:
        self.socket.send(self.session.set_params(SetParams(revision=0, params=params)))

    def send_controls(self, message: SetControls) -> None:
        self.socket.send(self.session.set_controls(message))

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> LiveClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
