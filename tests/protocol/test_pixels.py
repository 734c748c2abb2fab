"""Pixels: exact differences, pasting and bounded unpacking."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nijimi_protocol.codec import encode
from nijimi_protocol.errors import MalformedMessage, OversizedMessage
from nijimi_protocol.geometry import TILE_PX, Bounds, Extent, tile_grid
from nijimi_protocol.messages import Frame, UpdateTiles
from nijimi_protocol.pixels import (
    Encoding,
    PixelFormat,
    Tile,
    changed_tiles,
    check_tiles,
    copy_out,
    pack_tile,
    paste,
    unpack_tile,
)
from nijimi_protocol.session import ClientSession, ServerSession

from .strategies import extents

formats = st.sampled_from(PixelFormat)


@given(extents, formats, st.data())
def test_changed_tiles_are_just_those_with_a_changed_byte(
    extent: Extent, format: PixelFormat, data: st.DataObject
) -> None:
    size = extent.pixels * format.bytes_per_pixel
    before = bytes(size)
    after = bytearray(before)
    expected: set[Bounds] = set()
    for at in data.draw(st.lists(st.integers(0, size - 1), max_size=6)):
        after[at] = 1
        y, x = divmod(at // format.bytes_per_pixel, extent.width)
        expected.update(t for t in tile_grid(extent) if t.contains(Bounds(x, y, 1, 1)))
    found = changed_tiles(before, after, extent, format)
    assert set(found) == expected
    assert len(found) == len(expected)


@given(extents, formats, st.data())
def test_changed_tiles_carry_one_plane_over_to_the_other(
    extent: Extent, format: PixelFormat, data: st.DataObject
) -> None:
    size = extent.pixels * format.bytes_per_pixel
    seed = data.draw(st.integers(1, 255))
    start = data.draw(st.integers(0, size - 1))
    after = bytes((n * seed) % 256 if n >= start else 0 for n in range(size))
    mirror = bytearray(size)
    for area in changed_tiles(mirror, after, extent, format):
        paste(mirror, extent, area, copy_out(after, extent, area, format), format)
    assert mirror == after


@given(st.binary(max_size=4096), st.sampled_from([Encoding.RAW, Encoding.ZLIB]))
def test_a_tile_unpacks_to_what_was_packed(data: bytes, encoding: Encoding) -> None:
    pixels = data + bytes(-len(data) % 4) or bytes(4)
    tile = pack_tile(Bounds(0, 0, len(pixels) // 4, 1), PixelFormat.BGRA8, pixels, encoding)
    assert unpack_tile(tile) == pixels
    assert len(tile.data) <= len(pixels)


def test_a_decompression_bomb_stops_at_the_declared_size() -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    tile = Tile(
        bounds=Bounds(0, 0, TILE_PX, TILE_PX),
        format=PixelFormat.BGRA8,
        encoding=Encoding.ZLIB,
        data=bomb,
    )
    with pytest.raises(MalformedMessage):
        unpack_tile(tile)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        (Encoding.RAW, bytes(15)),
        (Encoding.ZLIB, zlib.compress(bytes(15))),
        (Encoding.ZLIB, zlib.compress(bytes(17))),
        (Encoding.ZLIB, zlib.compress(bytes(16))[:-5]),
        (Encoding.ZLIB, b"not zlib at all"),
        (Encoding.JPEG, bytes(16)),
    ],
)
def test_a_tile_that_does_not_hold_its_pixels_is_malformed(encoding: Encoding, data: bytes) -> None:
    tile = Tile(bounds=Bounds(0, 0, 2, 2), format=PixelFormat.BGRA8, encoding=encoding, data=data)
    with pytest.raises(MalformedMessage):
        unpack_tile(tile)


def test_a_message_full_of_whole_planes_is_refused_before_anything_is_unpacked() -> None:
    """Each tile is within its bounds, and packed a thousandfold: together they are gigabytes."""
    extent = Extent(1000, 1000)
    tile = pack_tile(extent.bounds, PixelFormat.BGRA8, bytes(extent.pixels * 4), Encoding.ZLIB)
    assert len(tile.data) < 20_000
    check_tiles([tile], extent)
    with pytest.raises(OversizedMessage):
        check_tiles([tile] * 400, extent)
    server = ServerSession(token="t", device="d", models=())
    client = ClientSession(token="t", client="c")
    server.receive(client.hello())
    client.receive(server.welcome())
    server.receive(client.set_plane("canvas", extent, PixelFormat.BGRA8))
    with pytest.raises(OversizedMessage):
        server.receive(
            encode(UpdateTiles(revision=9, plane="canvas", tiles=(tile,) * 400, more=False))
        )
    bomb = Frame(
        frame_id=1, base_frame_id=0, revision=0, extent=extent, area=extent.bounds,
        tiles=(tile,) * 400,
    )  # fmt: skip
    with pytest.raises(OversizedMessage):
        client.receive(encode(bomb))
