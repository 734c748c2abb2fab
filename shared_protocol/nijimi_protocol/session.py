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

import enum
import hmac

from .codec import decode, encode
from .errors import (
    LocalProtocolError,
    MalformedMessage,
    OutOfOrder,
    RejectedChange,
    RemoteProtocolError,
    Unauthorized,
    VersionMismatch,
)
from .geometry import Extent
from .limits import Limits
from .messages import (
    CANVAS,
    MASK,
    Ack,
    Cancel,
    DropPlane,
    ErrorReport,
    Frame,
    Hello,
    Message,
    ModelEntry,
    Progress,
    SetControls,
    SetParams,
    SetPlane,
    SetPose,
    Status,
    UpdateTiles,
    Welcome,
)
from .pixels import Encoding, PixelFormat, Tile, paste, unpack_tile
from .version import MIN_PROTOCOL, PROTOCOL, VERSION

__all__ = ["ClientSession", "JpegDecoder", "ServerSession", "SessionState"]


class JpegDecoder:
    """What an end gives a session that accepts JPEG tiles."""

    def decode(self, tile: Tile) -> bytes:
        """Raw pixels of exactly ``tile.raw_bytes`` bytes, or ``MalformedMessage``."""
        raise NotImplementedError


class SessionState(enum.Enum):
    """Where a session is."""

    HANDSHAKE = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()


class ServerSession:
    """The server's end: checks order, token, revisions and sizes of what one client sends."""

    def __init__(
        self,
        *,
        token: str,
        device: str,
        models: tuple[ModelEntry, ...],
        capabilities: tuple[str, ...] = ("img2img", "txt2img"),
        limits: Limits | None = None,
        encodings: tuple[Encoding, ...] = (Encoding.RAW, Encoding.ZLIB, Encoding.JPEG),
    ) -> None:
        self._token = token
        self._device = device
        self._models = models
        self._capabilities = capabilities
        self._limits = limits or Limits()
        self._offered = encodings
        self._planes: dict[str, tuple[Extent, PixelFormat]] = {}
        self._awaiting_ack = 0
        self.state = SessionState.HANDSHAKE
        self.encodings: tuple[Encoding, ...] = ()
        self.client = ""
        self.revision = 0
        self.acked_frame_id = 0

    @property
    def ready_for_frame(self) -> bool:
        """True when the client has acknowledged the last frame: only then send the next."""
        return self.state is SessionState.OPEN and self._awaiting_ack == 0

    def receive(self, data: bytes | bytearray | memoryview) -> Message:
        """The event in one binary WebSocket message."""
        if self.state is SessionState.CLOSED:
            raise OutOfOrder("A message came after the end of the session.")
        try:
            message = decode(data, self._limits)
            if self.state is SessionState.HANDSHAKE:
                self._open(message)
            else:
                self._check(message)
        except RejectedChange as error:
            if self.state is not SessionState.OPEN:
                self.state = SessionState.CLOSED
                raise OutOfOrder("The first message must be Hello.") from None
            if error.revision > self.revision:
                # The change is refused but counted, so that the next one is not out of order.
                self.revision = error.revision
            raise
        except RemoteProtocolError:
            self.state = SessionState.CLOSED
            raise
        return message

    def welcome(self) -> bytes:
        """The answer to Hello; call it once, right after Hello was received."""
        self._require_open()
        return encode(
            Welcome(
                protocol=PROTOCOL,
                server=f"nijimi-backend {VERSION}",
                device=self._device,
                models=self._models,
                encodings=self.encodings,
                capabilities=self._capabilities,
                limits=self._limits,
            )
        )

    def send_frame(self, frame: Frame) -> bytes:
        """The bytes of a frame. Its base must be the last acknowledged frame, or 0 for a whole."""
        self._require_open()
        if not self.ready_for_frame:
            raise LocalProtocolError("The last frame is not acknowledged yet.")
        if frame.base_frame_id not in (0, self.acked_frame_id):
            raise LocalProtocolError("A frame is based on one that the client does not show.")
        if frame.revision > self.revision:
            raise LocalProtocolError("A frame shows a revision that was never received.")
        self._awaiting_ack = frame.frame_id
        return encode(frame)

    def send(self, message: Status | Progress | ErrorReport) -> bytes:
        """The bytes of a message that needs no state."""
        self._require_open()
        return encode(message)

    def refusal(self, error: RemoteProtocolError) -> bytes:
        """What to send for a failure that ``receive`` raised; allowed in every state."""
        revision = error.revision if isinstance(error, RejectedChange) else 0
        return encode(
            ErrorReport(
                code=error.code,
                sentence=error.sentence,
                action=error.action,
                revision=revision,
                fatal=error.fatal,
            )
        )

    def _require_open(self) -> None:
        if self.state is not SessionState.OPEN:
            raise LocalProtocolError("The session is not open.")

    def _open(self, message: Message) -> None:
        if not isinstance(message, Hello):
            raise OutOfOrder("The first message must be Hello.")
        # Compared as bytes: compare_digest refuses text beyond ASCII.
        given = message.token.encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(given, self._token.encode("utf-8")):
            raise Unauthorized(
                "The backend did not accept this Krita's token.",
                "Restart live mode; for a backend of your own, copy its token again.",
            )
        if message.min_protocol > PROTOCOL or message.protocol < MIN_PROTOCOL:
            raise VersionMismatch(
                f"The plugin speaks protocol {message.protocol}, this backend "
                f"{MIN_PROTOCOL} to {PROTOCOL}.",
                "Update plugin and backend to the same version.",
            )
        common = tuple(e for e in self._offered if e in message.encodings)
        self.encodings = common or (Encoding.RAW,)
        self.client = message.client
        self.state = SessionState.OPEN

    def _check(self, message: Message) -> None:
        if isinstance(message, Ack):
            if message.frame_id not in (0, self._awaiting_ack):
                raise OutOfOrder("A frame was acknowledged that was not sent.")
            self._awaiting_ack = 0
            self.acked_frame_id = message.frame_id
            return
        if isinstance(message, Cancel):
            return
        if not isinstance(
            message, (SetPlane, DropPlane, UpdateTiles, SetControls, SetPose, SetParams)
        ):
            raise OutOfOrder("A client must not send that message now.")
        if message.revision <= self.revision:
            raise OutOfOrder("The revisions of the changes do not rise.")
        if isinstance(message, SetPlane):
            self._open_plane(message)
        elif isinstance(message, DropPlane):
            if self._planes.pop(message.plane, None) is None:
                raise OutOfOrder(f"The plane {message.plane!r} was never begun.")
        elif isinstance(message, UpdateTiles):
            self._check_tiles(message)
        self.revision = message.revision

    def _open_plane(self, message: SetPlane) -> None:
        self._limits.check_extent(message.extent, message.revision)
        wanted = PixelFormat.GRAY8 if message.plane == MASK else PixelFormat.BGRA8
        if message.plane in (CANVAS, MASK) and message.format is not wanted:
            raise MalformedMessage(f"The plane {message.plane} must be {wanted.name}.")
        if message.plane not in self._planes and len(self._planes) >= self._limits.max_planes:
            raise RejectedChange(
                "too_many_planes",
                f"More than {self._limits.max_planes} layers are streamed at once.",
                "Switch off some control layers.",
                message.revision,
            )
        self._planes[message.plane] = (message.extent, message.format)

    def _check_tiles(self, message: UpdateTiles) -> None:
        plane = self._planes.get(message.plane)
        if plane is None:
            # Its SetPlane may just have been refused; the tiles behind it are then in flight.
            raise RejectedChange(
                "no_plane",
                f"The backend does not hold the plane {message.plane!r}.",
                "Open a document, or restart live mode.",
                message.revision,
            )
        extent, format = plane
        for tile in message.tiles:
            if tile.format is not format or not extent.bounds.contains(tile.bounds):
                raise MalformedMessage("A tile does not fit its plane.")
            if tile.encoding not in self.encodings and tile.encoding is not Encoding.RAW:
                raise MalformedMessage("A tile travels in an encoding that was not negotiated.")


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
        self._picture = bytearray()
        self._picture_extent = Extent(0, 0)

    @property
    def picture(self) -> tuple[bytearray, Extent]:
        """The newest frame, BGRA8, assembled; its size is 0 x 0 before the first."""
        return self._picture, self._picture_extent

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
        elif not isinstance(message, (Status, Progress)):
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
        pixels: list[tuple[Tile, bytes]] = []
        for tile in frame.tiles:
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
        if whole:
            if sum(tile.bounds.extent.pixels for tile in frame.tiles) != extent.pixels:
                raise MalformedMessage("A whole frame does not cover its own size.")
            self._picture, self._picture_extent = bytearray(extent.pixels * 4), extent
        for tile, data in pixels:
            paste(self._picture, extent, tile.bounds, data, PixelFormat.BGRA8)
        self._frame_id = frame.frame_id
