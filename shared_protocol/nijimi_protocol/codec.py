"""A message enters and bytes leave, or bytes enter and a message leaves.

One WebSocket binary message holds one message of ours:

    magic 2 | type 1 | flags 1 | meta_bytes u32 | meta (UTF-8 JSON) | tiles ...
    tile:  x i32 | y i32 | width u16 | height u16 | format u8 | encoding u8 | zero u16 | bytes u32

All numbers are little-endian. Flag bit 0 of UpdateTiles and
BatchPicture says that the same change or picture goes on.
Pixels are not unpacked here: what they would unpack to is bounded by the session first.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .batch_codec import (
    read_batch_picture,
    read_batch_state,
    read_cancel_batch,
    read_generate,
    read_order_batches,
)
from .errors import MalformedMessage, OversizedMessage
from .fields import MAX_COUNTER, Fields, parse_object
from .geometry import Bounds
from .limits import Limits
from .messages import (
    Ack,
    BatchPicture,
    BatchState,
    Cancel,
    CancelBatch,
    ControlLayer,
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
from .params_codec import params_from_json, params_to_json, upscale_to_json
from .pixels import Encoding, PixelFormat, Tile
from .pose import person_from_json, person_to_json
from .version import MAGIC

__all__ = ["decode", "encode"]

_HEADER = struct.Struct("<2sBBI")
_TILE = struct.Struct("<iiHHBBHI")
_MORE = 1

_TYPES: Mapping[type[object], int] = {
    Hello: 1,
    SetPlane: 2,
    DropPlane: 3,
    UpdateTiles: 4,
    SetControls: 5,
    SetPose: 6,
    SetParams: 7,
    Ack: 8,
    Cancel: 9,
    Generate: 10,
    CancelBatch: 11,
    OrderBatches: 12,
    Welcome: 64,
    Status: 65,
    Frame: 66,
    Progress: 67,
    ErrorReport: 68,
    Models: 69,
    BatchState: 70,
    BatchPicture: 71,
}


_WITH_TILES = (UpdateTiles, Frame, BatchState, BatchPicture)
_TILED = tuple(_TYPES[each] for each in _WITH_TILES)
_IN_PARTS = (_TYPES[UpdateTiles], _TYPES[BatchPicture])


def encode(message: Message) -> bytes:
    """The bytes of one message."""
    tiles: tuple[Tile, ...] = ()
    flags = 0
    if isinstance(message, (UpdateTiles, BatchPicture)):
        flags = _MORE if message.more else 0
    if isinstance(message, _WITH_TILES):
        tiles = message.tiles
    meta = json.dumps(_meta_of(message), separators=(",", ":")).encode("utf-8")
    parts = [_HEADER.pack(MAGIC, _TYPES[type(message)], flags, len(meta)), meta]
    for tile in tiles:
        parts.append(
            _TILE.pack(*tile.bounds, int(tile.format), int(tile.encoding), 0, len(tile.data))
        )
        parts.append(tile.data)
    return b"".join(parts)


def decode(data: bytes | bytearray | memoryview, limits: Limits) -> Message:
    """The message that ``data`` holds.

    Raises ``MalformedMessage`` or ``OversizedMessage`` for bytes that are none, and
    ``RejectedChange`` for settings whose values are refused. Never another exception.
    """
    if len(data) > limits.max_message_bytes:
        raise OversizedMessage(
            f"A message of {len(data)} bytes is larger than the {limits.max_message_bytes} agreed.",
            "Restart Krita and the backend.",
        )
    view = memoryview(data)
    if len(view) < _HEADER.size:
        raise MalformedMessage("A message is too short.")
    magic, kind, flags, meta_bytes = _HEADER.unpack_from(view)
    if magic != MAGIC:
        raise MalformedMessage(
            "The other end does not speak Nijimi's protocol.",
            "Check that the address belongs to a Nijimi backend.",
        )
    start = _HEADER.size + meta_bytes
    if meta_bytes > limits.max_meta_bytes or start > len(view):
        raise MalformedMessage("A message's description is longer than the message.")
    reader = _READERS.get(kind)
    if reader is None:
        raise MalformedMessage(f"A message has the unknown type {kind}.")
    fields = parse_object(bytes(view[_HEADER.size : start]))
    carries_tiles = kind in _TILED
    if not carries_tiles and start != len(view):
        raise MalformedMessage("A message has bytes behind its end.")
    if flags & ~_MORE or (flags and kind not in _IN_PARTS):
        raise MalformedMessage("A message has unknown flags.")
    tiles = tuple(_read_tiles(view[start:], limits)) if carries_tiles else ()
    return reader(fields, tiles, bool(flags & _MORE), limits)


def _read_tiles(view: memoryview, limits: Limits) -> Iterable[Tile]:
    at = 0
    while at < len(view):
        if len(view) - at < _TILE.size:
            raise MalformedMessage("A tile is cut off.")
        x, y, width, height, pixel, encoding, zero, size = _TILE.unpack_from(view, at)
        at += _TILE.size
        if zero or not width or not height or size > len(view) - at:
            raise MalformedMessage("A tile is cut off or empty.")
        if width * height > limits.max_pixels:
            raise OversizedMessage("A tile is larger than any canvas may be.")
        try:
            tile = Tile(
                bounds=Bounds(x, y, width, height),
                format=PixelFormat(pixel),
                encoding=Encoding(encoding),
                data=bytes(view[at : at + size]),
            )
        except ValueError:
            raise MalformedMessage("A tile has an unknown format or encoding.") from None
        at += size
        yield tile


def _meta_of(message: Message) -> dict[str, Any]:
    """The JSON part: the message's own fields, less what travels as tiles."""
    if isinstance(message, Hello):
        meta = dict(vars(message), encodings=[int(e) for e in message.encodings])
    elif isinstance(message, Welcome):
        meta = dict(
            vars(message),
            encodings=[int(e) for e in message.encodings],
            models=[vars(model) for model in message.models],
            limits=vars(message.limits),
        )
    elif isinstance(message, Models):
        meta = {"models": [vars(model) for model in message.models]}
    elif isinstance(message, SetPlane):
        meta = dict(vars(message), format=int(message.format))
    elif isinstance(message, SetControls):
        meta = dict(vars(message), controls=[vars(control) for control in message.controls])
    elif isinstance(message, SetPose):
        meta = dict(vars(message), people=[person_to_json(person) for person in message.people])
    elif isinstance(message, SetParams):
        meta = dict(vars(message), params=params_to_json(message.params))
    elif isinstance(message, Generate):
        meta = dict(
            vars(message),
            params=params_to_json(message.params),
            upscale=upscale_to_json(message.upscale),
        )
    else:
        meta = dict(vars(message))
        meta.pop("tiles", None)
        meta.pop("more", None)
        if isinstance(message, Frame):
            meta["timings_ms"] = dict(message.timings_ms)
        elif isinstance(message, BatchState):
            meta["state"] = message.state.value
    return meta


_MOST_PEOPLE = 500
"""More than this is no pose at all; what a session takes is in its limits."""

_Reader = Callable[[Fields, "tuple[Tile, ...]", bool, Limits], Message]


def _read_hello(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return Hello(
        token=f.text("token"),
        client=f.text("client"),
        protocol=f.integer("protocol", 1, 10_000),
        min_protocol=f.integer("min_protocol", 1, 10_000),
        encodings=f.encodings("encodings"),
        max_message_bytes=f.integer("max_message_bytes", 65_536),
    )


def _read_set_plane(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    try:
        format = PixelFormat(f.integer("format"))
    except ValueError:
        raise MalformedMessage("A plane has an unknown pixel format.") from None
    return SetPlane(
        revision=f.integer("revision", 1),
        plane=f.text("plane", 64),
        extent=f.extent("extent"),
        format=format,
    )


def _read_drop_plane(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return DropPlane(revision=f.integer("revision", 1), plane=f.text("plane", 64))


def _read_update_tiles(f: Fields, tiles: tuple[Tile, ...], more: bool, _l: Limits) -> Message:
    return UpdateTiles(
        revision=f.integer("revision", 1), plane=f.text("plane", 64), tiles=tiles, more=more
    )


def _read_control(value: object, limits: Limits) -> ControlLayer:
    f = Fields(value)
    return ControlLayer(
        id=f.text("id", 64),
        kind=f.text("kind", 32),
        plane=f.text("plane", 64),
        control_scale=f.ratio("control_scale", 2.0),
        start=f.ratio("start"),
        end=f.ratio("end"),
        enabled=f.flag("enabled"),
        process=f.flag("process"),
        prompt=f.text("prompt", limits.max_meta_bytes, missing=""),
        region=f.text("region", 64, missing=""),
    )


def _read_set_controls(f: Fields, _t: tuple[Tile, ...], _m: bool, limits: Limits) -> Message:
    values = f.items("controls", limits.max_planes)
    controls = tuple(_read_control(value, limits) for value in values)
    return SetControls(revision=f.integer("revision", 1), controls=controls)


def _read_set_pose(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    values = f.items("people", _MOST_PEOPLE)
    people = tuple(person_from_json(value) for value in values)
    return SetPose(revision=f.integer("revision", 1), id=f.text("id", 64), people=people)


def _read_set_params(f: Fields, _t: tuple[Tile, ...], _m: bool, limits: Limits) -> Message:
    revision = f.integer("revision", 1)
    return SetParams(revision=revision, params=params_from_json(f.part("params"), limits, revision))


def _read_ack(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return Ack(frame_id=f.integer("frame_id"))


def _read_cancel(_f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return Cancel()


def _read_model(value: object) -> ModelEntry:
    f = Fields(value)
    return ModelEntry(
        name=f.text("name"),
        title=f.text("title"),
        family=f.text("family"),
        native_px=f.integer("native_px", 0, 65_536),
        kind=f.text("kind", 32),
        digest=f.text("digest", 64, missing=""),
    )


def _read_models(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return Models(models=tuple(_read_model(value) for value in f.items("models", 10_000)))


def _read_welcome(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    limits = f.part("limits")
    return Welcome(
        protocol=f.integer("protocol", 1, 10_000),
        server=f.text("server"),
        device=f.text("device"),
        models=tuple(_read_model(value) for value in f.items("models", 10_000)),
        encodings=f.encodings("encodings"),
        capabilities=tuple(str(value)[:64] for value in f.items("capabilities", 256)),
        limits=Limits(**{name: limits.integer(name, 1) for name in vars(Limits())}),
    )


def _read_status(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return Status(
        state=f.text("state", 32),
        device=f.text("device"),
        model=f.text("model"),
        text=f.text("text", 4096),
    )


def _read_frame(f: Fields, tiles: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return Frame(
        frame_id=f.integer("frame_id", 1),
        base_frame_id=f.integer("base_frame_id"),
        revision=f.integer("revision"),
        extent=f.extent("extent"),
        area=f.bounds("area"),
        tiles=tiles,
        seed=f.integer("seed"),
        num_inference_steps=f.integer("num_inference_steps"),
        final=f.flag("final"),
        model_ms=f.ratio("model_ms", 1e9),
        timings_ms=f.numbers("timings_ms"),
    )


def _read_progress(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return Progress(label=f.text("label"), done=f.integer("done"), total=f.integer("total"))


def _read_error(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return ErrorReport(
        code=f.text("code", 64),
        sentence=f.text("sentence", 4096),
        action=f.text("action", 4096),
        revision=f.integer("revision", 0, MAX_COUNTER),
        fatal=f.flag("fatal"),
    )


_READERS: Mapping[int, _Reader] = {
    _TYPES[Hello]: _read_hello,
    _TYPES[SetPlane]: _read_set_plane,
    _TYPES[DropPlane]: _read_drop_plane,
    _TYPES[UpdateTiles]: _read_update_tiles,
    _TYPES[SetControls]: _read_set_controls,
    _TYPES[SetPose]: _read_set_pose,
    _TYPES[SetParams]: _read_set_params,
    _TYPES[Ack]: _read_ack,
    _TYPES[Cancel]: _read_cancel,
    _TYPES[Generate]: read_generate,
    _TYPES[CancelBatch]: read_cancel_batch,
    _TYPES[OrderBatches]: read_order_batches,
    _TYPES[Welcome]: _read_welcome,
    _TYPES[Models]: _read_models,
    _TYPES[Status]: _read_status,
    _TYPES[Frame]: _read_frame,
    _TYPES[Progress]: _read_progress,
    _TYPES[ErrorReport]: _read_error,
    _TYPES[BatchState]: read_batch_state,
    _TYPES[BatchPicture]: read_batch_picture,
}
