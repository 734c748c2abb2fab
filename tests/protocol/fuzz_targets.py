"""Bytes enter, as hostile as they like; what must hold of both ends is asserted.

An input is several messages: each begins with its length in two bytes. Only typed errors may come
out, a session that met one is closed, and nothing is allocated beyond small limits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from nijimi_protocol.codec import decode, encode
from nijimi_protocol.errors import LocalProtocolError, RejectedChange, RemoteProtocolError
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import (
    CANVAS,
    BatchPhase,
    BatchPicture,
    BatchState,
    CancelBatch,
    Frame,
    Generate,
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
)
from nijimi_protocol.openpose import openpose_people
from nijimi_protocol.params import RenderParams
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile, unpack_tile
from nijimi_protocol.session import ClientSession, ServerSession, SessionState
from nijimi_protocol.upscale import UpscaleParams

__all__ = ["TARGETS", "first_inputs", "join"]

LIMITS = Limits(max_message_bytes=65536, max_meta_bytes=16384, max_pixels=64 * 64, max_planes=3)
TOKEN = "t"

_HELLO = ClientSession(token=TOKEN, client="c").hello()


def _new_server() -> ServerSession:
    server = ServerSession(token=TOKEN, device="d", models=(), limits=LIMITS)
    server.receive(_HELLO)
    return server


_WELCOME = _new_server().welcome()


def join(messages: list[bytes]) -> bytes:
    """Messages as one input."""
    return b"".join(struct.pack("<H", len(data)) + data for data in messages)


def _split(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 2 <= len(data):
        (size,) = struct.unpack_from("<H", data, at)
        yield data[at + 2 : at + 2 + size]
        at += 2 + size


def codec(data: bytes) -> None:
    """Whatever decodes encodes again, to something that decodes to the same."""
    try:
        message = decode(data, LIMITS)
    except RemoteProtocolError:
        return
    assert decode(encode(message), LIMITS) == message


def server_end(data: bytes) -> None:
    """A client that may send anything, after a handshake or instead of one."""
    server = (
        _new_server()
        if data[:1] != b"\0"
        else ServerSession(token=TOKEN, device="d", models=(), limits=LIMITS)
    )
    for part in _split(data[1:]):
        before = server.revision
        try:
            event = server.receive(part)
        except RejectedChange:
            assert server.state is SessionState.OPEN
            continue
        except RemoteProtocolError:
            assert server.state is SessionState.CLOSED
            return
        assert server.revision >= before
        if isinstance(event, UpdateTiles):
            _unpack(event)


def _unpack(event: UpdateTiles) -> None:
    total = 0
    for tile in event.tiles:
        if tile.encoding is not Encoding.JPEG:
            try:
                total += len(unpack_tile(tile))
            except RemoteProtocolError:
                return
    assert total <= LIMITS.max_pixels * 4


def client_end(data: bytes) -> None:
    """A server that may send anything."""
    client = ClientSession(token=TOKEN, client="c", limits=LIMITS)
    if data[:1] != b"\0":
        client.receive(_WELCOME)
        client.set_plane(CANVAS, Extent(8, 8), PixelFormat.BGRA8)
        client.generate(RenderParams(), 2)
    for part in _split(data[1:]):
        try:
            event = client.receive(part)
        except RemoteProtocolError:
            assert client.state is SessionState.CLOSED
            return
        pixels, extent = client.picture
        assert len(pixels) == extent.pixels * 4 <= LIMITS.max_pixels * 4
        if isinstance(event, BatchPicture) and not event.more:
            assert len(client.take_made()) == event.extent.pixels * 4 <= LIMITS.max_pixels * 4
        if isinstance(event, Frame):
            try:
                client.ack(event.frame_id)
            except LocalProtocolError:
                assert client.state is not SessionState.OPEN


def pose_file(data: bytes) -> None:
    """A file that somebody drops on the docker."""
    try:
        people = openpose_people(data.decode("utf-8", "replace"), Extent(512, 512))
    except (RejectedChange, ValueError):
        return
    assert len(people) <= 1000


TARGETS: dict[str, Callable[[bytes], None]] = {
    "codec": codec,
    "server": server_end,
    "client": client_end,
    "pose": pose_file,
}


def first_inputs(target: str) -> list[bytes]:
    """Good inputs, from which a fuzzer can go astray."""
    extent = Extent(8, 8)
    tile = pack_tile(Bounds(0, 0, 8, 8), PixelFormat.BGRA8, bytes(256), Encoding.ZLIB)
    theirs: list[Message] = [
        SetPlane(revision=1, plane=CANVAS, extent=extent, format=PixelFormat.BGRA8),
        UpdateTiles(revision=2, plane=CANVAS, tiles=(tile,)),
        SetParams(revision=3, params=RenderParams(prompt="sea")),
        SetControls(revision=4, controls=()),
        SetPose(revision=5, id="c0", people=()),
        Generate(batch_id=1, count=2, params=RenderParams(prompt="sea")),
        Generate(batch_id=2, count=1, params=RenderParams(), upscale=UpscaleParams(factor=3.0)),
        OrderBatches(batch_ids=(1,)),
        CancelBatch(batch_id=1),
    ]
    ours: list[Message] = [
        Status(state="ready", device="d", model="m"),
        Models(models=()),
        Progress(label="loading", done=1, total=2),
        Frame(
            frame_id=1, base_frame_id=0, revision=1, extent=extent, area=extent.bounds,
            tiles=(tile,),
        ),
        BatchState(batch_id=1, state=BatchPhase.RUNNING, steps=4),
        BatchState(batch_id=1, state=BatchPhase.RUNNING, steps=4, tiles=(tile,)),
        BatchPicture(batch_id=1, index=0, extent=extent, area=extent.bounds, tiles=(tile,), seed=1),
        BatchState(batch_id=1, state=BatchPhase.DONE, done=1),
    ]  # fmt: skip
    if target == "codec":
        return [encode(message) for message in (*theirs, *ours)]
    if target == "pose":
        joints = ",".join("1" for _ in range(54))
        return [b'{"people":[{"pose_keypoints_2d":[' + joints.encode() + b"]}]}"]
    messages = theirs if target == "server" else ours
    return [b"\1" + join([encode(message) for message in messages])]
