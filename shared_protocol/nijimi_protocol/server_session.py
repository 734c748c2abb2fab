"""One client's messages enter the server's end; checked events and bytes to send leave."""

from __future__ import annotations

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
    ModelEntry,
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
from .pixels import Encoding, PixelFormat, check_tiles
from .session_state import SessionState
from .version import MIN_PROTOCOL, PROTOCOL, VERSION

__all__ = ["ServerSession"]


class ServerSession:
    """The server's end: checks order, token, revisions and sizes of what one client sends."""

    def __init__(
        self,
        *,
        token: str,
        device: str,
        models: tuple[ModelEntry, ...],
        capabilities: tuple[str, ...] = (
            "img2img",
            "txt2img",
            "inpaint",
            "generate",
            "upscale",
            "animation",
        ),
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
        self._poses: set[str] = set()
        self._awaiting_ack = 0
        self._batch_id = 0
        self.state = SessionState.HANDSHAKE
        self.encodings: tuple[Encoding, ...] = ()
        self.client = ""
        self.max_message_bytes = self._limits.max_message_bytes
        """What both ends take."""
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

    def send(
        self,
        message: Models | Status | Progress | ErrorReport | BatchState | BatchPicture,
    ) -> bytes:
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
        self.max_message_bytes = min(message.max_message_bytes, self._limits.max_message_bytes)
        self.state = SessionState.OPEN

    def _check(self, message: Message) -> None:
        if isinstance(message, Ack):
            if message.frame_id not in (0, self._awaiting_ack):
                raise OutOfOrder("A frame was acknowledged that was not sent.")
            self._awaiting_ack = 0
            self.acked_frame_id = message.frame_id
            return
        if isinstance(message, (Cancel, CancelBatch, OrderBatches)):
            return
        if isinstance(message, Generate):
            if message.batch_id <= self._batch_id:
                raise OutOfOrder("The numbers of the batches do not rise.")
            self._batch_id = message.batch_id
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
            # Its SetPlane may have been refused, which the client did not know when it sent this.
            self._planes.pop(message.plane, None)
        elif isinstance(message, UpdateTiles):
            self._check_tiles(message)
        elif isinstance(message, SetControls):
            for control in message.controls:
                self._limits.check_prompt(control.prompt, "region's prompt", message.revision)
        elif isinstance(message, SetPose):
            self._check_pose(message)
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

    def _check_pose(self, message: SetPose) -> None:
        count, most = len(message.people), self._limits.max_people
        if count > most:
            raise RejectedChange(
                "too_many_people",
                f"The pose has {count} people; at most {most} are drawn.",
                "Remove some; the last good pose stays in use.",
                message.revision,
            )
        if message.id not in self._poses and len(self._poses) >= self._limits.max_planes:
            raise RejectedChange(
                "too_many_poses",
                f"More than {self._limits.max_planes} pose layers are streamed at once.",
                "Switch off some control layers.",
                message.revision,
            )
        self._poses.add(message.id)

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
        check_tiles(message.tiles, extent)
        for tile in message.tiles:
            if tile.format is not format or not extent.bounds.contains(tile.bounds):
                raise MalformedMessage("A tile does not fit its plane.")
            if tile.encoding not in self.encodings and tile.encoding is not Encoding.RAW:
                raise MalformedMessage("A tile travels in an encoding that was not negotiated.")
