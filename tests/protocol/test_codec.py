"""Codec: what is encoded decodes to itself, and any other bytes give a typed error."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nijimi_protocol.codec import decode, encode
from nijimi_protocol.errors import MalformedMessage, OversizedMessage, RemoteProtocolError
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import Ack, Hello, Message, SetParams, UpdateTiles
from nijimi_protocol.params import RenderParams

from .strategies import messages

LIMITS = Limits()


def _raw(kind: int, meta: bytes, body: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack("<2sBBI", b"NJ", kind, flags, len(meta)) + meta + body


@given(messages)
@settings(max_examples=400)
def test_every_message_decodes_to_itself(message: Message) -> None:
    assert decode(encode(message), LIMITS) == message


@given(st.binary(max_size=300))
@settings(max_examples=1000)
@example(b"")
@example(b"NJ")
@example(_raw(7, b"[" * 100_000))
@example(_raw(7, b'{"revision":' + b"9" * 5000 + b"}"))
@example(_raw(6, b'{"revision":1,"id":"a","people":[{"body":[' + b"1e999," * 53 + b"1]}]}"))
@example(_raw(6, b'{"revision":1,"id":"a","people":[{"body":[' + b"9" * 400 + b",0" * 53 + b"]}]}"))
def test_any_bytes_give_a_message_or_a_typed_error(data: bytes) -> None:
    try:
        message = decode(data, LIMITS)
    except RemoteProtocolError as error:
        assert error.sentence  # noqa: PT017 - both outcomes are allowed, each with its own check
    else:
        assert decode(encode(message), LIMITS) == message


@given(messages, st.data())
@settings(max_examples=600)
def test_a_damaged_message_gives_a_message_or_a_typed_error(
    message: Message, data: st.DataObject
) -> None:
    damaged = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for candidate in (bytes(damaged), bytes(damaged[:cut])):
        try:
            found = decode(candidate, LIMITS)
        except RemoteProtocolError as error:
            assert error.sentence  # noqa: PT017
        else:
            assert type(found).__name__ in {type(message).__name__, *MESSAGE_NAMES}


MESSAGE_NAMES = {
    "Hello", "SetPlane", "DropPlane", "UpdateTiles", "SetControls", "SetPose", "SetParams",
    "Ack", "Cancel", "Welcome", "Status", "Frame", "Progress", "ErrorReport",
}  # fmt: skip


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=8,
)


@given(messages, st.data())
@settings(max_examples=600)
def test_a_field_of_another_type_gives_a_message_or_a_typed_error(
    message: Message, data: st.DataObject
) -> None:
    whole = encode(message)
    _, kind, flags, size = struct.unpack_from("<2sBBI", whole)
    meta = json.loads(whole[8 : 8 + size])
    if not meta:
        return
    meta[data.draw(st.sampled_from(sorted(meta)))] = data.draw(json_values)
    changed = _raw(kind, json.dumps(meta).encode(), whole[8 + size :], flags)
    try:
        decode(changed, LIMITS)
    except RemoteProtocolError as error:
        assert error.sentence  # noqa: PT017


def test_a_message_beyond_the_agreed_size_is_refused_before_it_is_read() -> None:
    with pytest.raises(OversizedMessage):
        decode(bytes(LIMITS.max_message_bytes + 1), LIMITS)


def test_a_tile_that_declares_more_than_any_canvas_is_refused() -> None:
    meta = b'{"revision":1,"plane":"canvas"}'
    tile = struct.pack("<iiHHBBHI", 0, 0, 65535, 65535, 1, 2, 0, 4) + b"\0" * 4
    with pytest.raises(OversizedMessage):
        decode(_raw(4, meta, tile), LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        _raw(99, b"{}"),
        _raw(9, b"{}", b"behind"),
        _raw(9, b"{}", flags=1),
        _raw(4, b'{"revision":1,"plane":"a"}', flags=2),
        _raw(8, b'{"frame_id":true}'),
        _raw(8, b'{"frame_id":-1}'),
        _raw(8, b"\xff\xfe"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_known_bad_messages_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(data, LIMITS)


def test_half_a_surrogate_pair_is_malformed() -> None:
    good = encode(SetParams(revision=1, params=RenderParams(prompt="#")))
    _, kind, _, size = struct.unpack_from("<2sBBI", good)
    meta = good[8 : 8 + size].replace(b'"#"', b'"\\ud800"')
    with pytest.raises(MalformedMessage, match="Unicode"):
        decode(_raw(kind, meta), LIMITS)


def test_the_token_is_not_in_the_text_of_a_hello() -> None:
    hello = Hello(token="secret", client="krita", protocol=1, min_protocol=1)
    assert "secret" not in repr(hello)
    assert "secret" not in str(hello)


def test_an_ack_is_small_and_a_tile_costs_only_its_header() -> None:
    assert len(encode(Ack(frame_id=1))) < 40
    empty = encode(UpdateTiles(revision=1, plane="canvas", tiles=()))
    assert len(empty) < 64
