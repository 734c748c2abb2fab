"""The server's messages enter the client's end; events, an assembled picture and bytes leave."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import decode, encode
from .errors import (
    LocalProtocolError,
    MalformedMessage,
    OutOfOrder,
    RemoteProtocolError,
)
from .geometry import Extent
from .limits import MAX_BATCH_PICTURES, MAX_LOOK_PX, Limits
from .messages import (
    CANVAS,
    Ack,
    BatchPicture,
    BatchState,
    Cancel,
    CancelBatch,
    DropPlane,
    ErrorReport,
    Frame,
    Generate,
    Hello,
    Message,
    Models,
    OrderBatches,
    Progress,
    SetControls,
    SetParams,
    SetPlane,
    SetPose,
    Status,
    UpdateTiles,
    Welcome,
)
from .params import RenderParams
from .pixels import Encoding, PixelFormat, Tile, check_tiles, paste, unpack_tile
from .session_state import SessionState
from .upscale import UpscaleParams
from .version import MIN_PROTOCOL, PROTOCOL

__all__ = ["ClientSession", "JpegDecoder"]


class JpegDecoder:
    """What an end gives a session that accepts JPEG tiles."""

    def decode(self, tile: Tile) -> bytes:
        """Raw pixels of exactly ``tile.raw_bytes`` bytes, or ``MalformedMessage``."""
        raise NotImplementedError


class ClientSession:
    """The client's end: numbers the changes, assembles frames, checks what the server sends."""

    def __init__(
        self,
        *,
        token: str,
        client: str,
        encodings: tuple[Encoding, ...] = (Encoding.RAW, Encoding.ZLIB),
        jpeg: JpegDecoder | None = None,
        limits: Limits | None = None,
        first_revision: int = 0,
    ) -> None:
        self._token = token
        self._client = client
        self._encodings = encodings
        self._jpeg = jpeg
        self._own_limits = limits or Limits()
        self.limits = self._own_limits
        self.state = SessionState.HANDSHAKE
        self.revision = first_revision
        self.encodings: tuple[Encoding, ...] = ()
        self.welcome: Welcome | None = None
        self._planes: dict[str, tuple[Extent, PixelFormat]] = {}
        self._frame_id = 0
        self._picture: bytes | bytearray = b""
        self._picture_extent = Extent(0, 0)
        self._batch_id = 0
        self._batches: dict[int, int] = {}
        self._made: _Made | None = None

    @property
    def picture(self) -> tuple[bytes, Extent]:
        """The newest frame, BGRA8, assembled, to be kept; its size is 0 x 0 before the first.

        It is a copy where the frame was given as a difference, so ask once.
        """
        return bytes(self._picture), self._picture_extent

    def hello(self) -> bytes:
        """The first message to send."""
        return encode(
            Hello(
                token=self._token,
                client=self._client,
                protocol=PROTOCOL,
                min_protocol=MIN_PROTOCOL,
                encodings=self._encodings,
                max_message_bytes=self._own_limits.max_message_bytes,
            )
        )

    def receive(self, data: bytes | bytearray | memoryview) -> Message:
        """The event in one binary WebSocket message. A Frame is pasted into ``picture`` first."""
        if self.state is SessionState.CLOSED:
            raise OutOfOrder("A message came after the end of the session.")
        try:
            message = decode(data, self._own_limits)
            self._check(message)
        except RemoteProtocolError:
            self.state = SessionState.CLOSED
            raise
        return message

    def ack(self, frame_id: int) -> bytes:
        """Tell the server that a frame is shown; 0 asks for a whole one."""
        self._require_open()
        return encode(Ack(frame_id=frame_id))

    def cancel(self) -> bytes:
        self._require_open()
        return encode(Cancel())

    def set_plane(self, plane: str, extent: Extent, format: PixelFormat) -> bytes:
        """Begin a plane. Raises ``RejectedChange`` for an extent that is out of bounds."""
        self._require_open()
        self.limits.check_extent(extent)
        self._planes[plane] = (extent, format)
        return encode(SetPlane(revision=self._next(), plane=plane, extent=extent, format=format))

    def drop_plane(self, plane: str) -> bytes:
        self._require_open()
        if self._planes.pop(plane, None) is None:
            raise LocalProtocolError(f"The plane {plane!r} was never begun.")
        return encode(DropPlane(revision=self._next(), plane=plane))

    def plane_extent(self, plane: str) -> Extent | None:
        """The extent of a plane that was begun."""
        known = self._planes.get(plane)
        return known[0] if known else None

    def update_tiles(self, plane: str, tiles: list[Tile]) -> list[bytes]:
        """One change as one or more messages, each within the agreed size; [] for no tiles."""
        self._require_open()
        known = self._planes.get(plane)
        if known is None:
            raise LocalProtocolError(f"The plane {plane!r} was never begun.")
        budget = self.limits.max_message_bytes - 4096
        groups: list[list[Tile]] = []
        size = budget + 1
        for tile in tiles:
            if not known[0].bounds.contains(tile.bounds) or tile.format is not known[1]:
                raise LocalProtocolError("A tile does not fit its plane.")
            cost = len(tile.data) + 32
            if cost > budget:
                raise LocalProtocolError("A tile is larger than a message may be.")
            if size + cost > budget:
                groups.append([])
                size = 0
            groups[-1].append(tile)
            size += cost
        return [
            encode(
                UpdateTiles(
                    revision=self._next(),
                    plane=plane,
                    tiles=tuple(group),
                    more=n + 1 < len(groups),
                )
            )
            for n, group in enumerate(groups)
        ]

    def set_params(self, message: SetParams) -> bytes:
        """Send settings; ``message.revision`` is replaced. ``RejectedChange`` for bad values."""
        self._require_open()
        message.params.checked(self.limits)
        return encode(SetParams(revision=self._next(), params=message.params))

    def set_controls(self, message: SetControls) -> bytes:
        self._require_open()
        return encode(SetControls(revision=self._next(), controls=message.controls))

    def set_pose(self, message: SetPose) -> bytes:
        self._require_open()
        return encode(SetPose(revision=self._next(), id=message.id, people=message.people))

    def generate(
        self,
        params: RenderParams,
        count: int,
        upscale: UpscaleParams | None = None,
        *,
        looks: bool = False,
        plane: str = "",
    ) -> tuple[int, bytes]:
        """Ask for a batch of the state as it is now: its number, and what to send.

        ``plane`` stands for the canvas, if it is named.

        Raises ``RejectedChange`` for bad values.
        """
        self._require_open()
        params.checked(self.limits)
        canvas = self._planes.get(plane or CANVAS)
        if upscale is not None and canvas is not None:
            upscale.checked().check_extent(canvas[0], self.limits)
        if not 1 <= count <= MAX_BATCH_PICTURES:
            raise LocalProtocolError(f"A batch has 1 to {MAX_BATCH_PICTURES} pictures.")
        self._batch_id += 1
        self._batches[self._batch_id] = count
        message = Generate(
            batch_id=self._batch_id, count=count, params=params, upscale=upscale, looks=looks,
            plane=plane,
        )  # fmt: skip
        return self._batch_id, encode(message)

    def cancel_batch(self, batch_id: int) -> bytes:
        self._require_open()
        return encode(CancelBatch(batch_id=batch_id))

    def order_batches(self, batch_ids: tuple[int, ...]) -> bytes:
        self._require_open()
        return encode(OrderBatches(batch_ids=batch_ids))

    def take_made(self) -> bytearray:
        """Pixels (BGRA8) of the batch's picture whose last part was just received; once."""
        made = self._made
        if made is None or made.missing:
            raise LocalProtocolError("No picture of a batch is whole now.")
        self._made = None
        return made.pixels

    def _next(self) -> int:
        self.revision += 1
        return self.revision

    def _require_open(self) -> None:
        if self.state is not SessionState.OPEN:
            raise LocalProtocolError("The session is not open.")

    def _check(self, message: Message) -> None:
        if isinstance(message, ErrorReport):
            if message.fatal:
                self.state = SessionState.CLOSED
            return
        if self.state is SessionState.HANDSHAKE:
            if not isinstance(message, Welcome):
                raise OutOfOrder("The server's first message must be Welcome.")
            self.welcome = message
            self.encodings = tuple(e for e in message.encodings if e in self._encodings)
            self.limits = message.limits
            self.state = SessionState.OPEN
            return
        if isinstance(message, Frame):
            self._paste(message)
        elif isinstance(message, BatchState):
            self._check_batch(message.batch_id)
            _check_look(message.tiles)
            if message.state.is_over:
                del self._batches[message.batch_id]
        elif isinstance(message, BatchPicture):
            self._assemble(message)
        elif not isinstance(message, (Models, Status, Progress)):
            raise OutOfOrder("A server must not send that message now.")

    def _paste(self, frame: Frame) -> None:
        extent = frame.extent
        if extent.width < 1 or extent.height < 1 or extent.pixels > self._own_limits.max_pixels:
            raise MalformedMessage("A frame has no size, or one beyond the agreed bound.")
        if frame.revision > self.revision:
            raise MalformedMessage("A frame shows a change that was never made.")
        if frame.base_frame_id not in (0, self._frame_id):
            raise OutOfOrder("A frame is based on one that was not acknowledged.")
        whole = frame.base_frame_id == 0
        if not whole and extent != self._picture_extent:
            raise MalformedMessage("A frame's size differs from the one it is based on.")
        tiles = self._unpack(frame.tiles, extent)
        if whole and sum(tile.bounds.extent.pixels for tile in frame.tiles) != extent.pixels:
            raise MalformedMessage("A whole frame does not cover its own size.")
        if len(tiles) == 1 and tiles[0][0].bounds == extent.bounds:
            # The usual case: every pixel is another one.
            self._picture = tiles[0][1]
        else:
            pixels = bytearray(extent.pixels * 4) if whole else self._picture
            if not isinstance(pixels, bytearray):
                pixels = bytearray(pixels)
            for tile, data in tiles:
                paste(pixels, extent, tile.bounds, data, PixelFormat.BGRA8)
            self._picture = pixels
        self._picture_extent = extent
        self._frame_id = frame.frame_id

    def _check_batch(self, batch_id: int) -> int:
        count = self._batches.get(batch_id)
        if count is None:
            raise OutOfOrder("Something came of a batch that was never asked for.")
        return count

    def _assemble(self, part: BatchPicture) -> None:
        """A picture of a batch comes in as many messages as it takes."""
        extent, made = part.extent, self._made
        if part.index >= self._check_batch(part.batch_id):
            raise OutOfOrder("A batch has more pictures than were asked for.")
        name = (part.batch_id, part.index, extent)
        if made is None or made.name != name or not made.missing:
            if extent.width < 1 or extent.height < 1 or extent.pixels > self._own_limits.max_pixels:
                raise MalformedMessage("A picture has no size, or one beyond the agreed bound.")
            made = self._made = _Made(name, bytearray(extent.pixels * 4), extent.pixels)
        for tile, data in self._unpack(part.tiles, extent):
            paste(made.pixels, extent, tile.bounds, data, PixelFormat.BGRA8)
            made.missing -= tile.bounds.extent.pixels
        if made.missing < 0 or bool(made.missing) != part.more:
            raise MalformedMessage("The parts of a picture do not cover it once.")

    def _unpack(self, tiles: tuple[Tile, ...], extent: Extent) -> list[tuple[Tile, bytes]]:
        check_tiles(tiles, extent)
        pixels: list[tuple[Tile, bytes]] = []
        for tile in tiles:
            if not extent.bounds.contains(tile.bounds) or tile.format is not PixelFormat.BGRA8:
                raise MalformedMessage("A tile does not fit its frame.")
            if tile.encoding is not Encoding.RAW and tile.encoding not in self.encodings:
                raise MalformedMessage("A tile travels in an encoding that was not negotiated.")
            if tile.encoding is Encoding.JPEG:
                if self._jpeg is None:
                    raise MalformedMessage("A JPEG tile came, and this end has no decoder.")
                pixels.append((tile, self._jpeg.decode(tile)))
            else:
                pixels.append((tile, unpack_tile(tile)))
        return pixels


def _check_look(tiles: tuple[Tile, ...]) -> None:
    """None, or one that is a whole small picture as it is."""
    for tile in tiles:
        x, y, width, height = tile.bounds
        is_small = max(width, height) <= MAX_LOOK_PX
        is_plain = tile.format is PixelFormat.BGRA8 and tile.encoding is Encoding.RAW
        if len(tiles) > 1 or (x, y) != (0, 0) or not (is_small and is_plain):
            raise MalformedMessage("What is being made is shown by no such picture.")
        unpack_tile(tile)


@dataclass
class _Made:
    """A picture of a batch while its parts come."""

    name: tuple[int, int, Extent]
    pixels: bytearray
    missing: int
