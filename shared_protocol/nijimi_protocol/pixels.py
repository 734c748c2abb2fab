"""Raw rows of pixels enter; changed tiles, packed tiles and patched planes leave.

Standard library only: the plugin runs this inside Krita. Rows are tightly packed, top to bottom,
``BGRA8`` with straight alpha as Krita's 8-bit RGBA layers hold them, or ``GRAY8`` for masks.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import MalformedMessage, OversizedMessage
from .geometry import TILE_PX, Bounds, Extent

__all__ = [
    "Encoding",
    "PixelFormat",
    "Tile",
    "changed_tiles",
    "check_tiles",
    "copy_out",
    "pack_tile",
    "paste",
    "unpack_tile",
]


class PixelFormat(enum.IntEnum):
    """How a pixel lies in memory."""

    BGRA8 = 1
    GRAY8 = 2

    @property
    def bytes_per_pixel(self) -> int:
        return 4 if self is PixelFormat.BGRA8 else 1


class Encoding(enum.IntEnum):
    """How the pixels of a tile travel. JPEG is lossy and drops alpha (becomes opaque)."""

    RAW = 1
    ZLIB = 2
    JPEG = 3


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A rectangle of one plane with its packed pixels."""

    bounds: Bounds
    format: PixelFormat
    encoding: Encoding
    data: bytes

    @property
    def raw_bytes(self) -> int:
        """Size of the unpacked pixels."""
        return self.bounds.width * self.bounds.height * self.format.bytes_per_pixel


def copy_out(
    plane: bytes | bytearray | memoryview, extent: Extent, area: Bounds, format: PixelFormat
) -> bytes:
    """The pixels of ``area`` as tightly packed rows. ``area`` lies inside ``extent``."""
    pixel = format.bytes_per_pixel
    stride, row = extent.width * pixel, area.width * pixel
    start = area.y * stride + area.x * pixel
    view = memoryview(plane)
    if row == stride:
        return bytes(view[start : start + stride * area.height])
    rows = (view[start + n * stride : start + n * stride + row] for n in range(area.height))
    return b"".join(rows)


def paste(
    plane: bytearray, extent: Extent, area: Bounds, pixels: bytes, format: PixelFormat
) -> None:
    """Write tightly packed ``pixels`` over ``area`` of ``plane``, in place."""
    pixel = format.bytes_per_pixel
    stride, row = extent.width * pixel, area.width * pixel
    start = area.y * stride + area.x * pixel
    if row == stride:
        plane[start : start + len(pixels)] = pixels
        return
    source = memoryview(pixels)
    for n in range(area.height):
        at = start + n * stride
        plane[at : at + row] = source[n * row : (n + 1) * row]


def changed_tiles(
    before: bytes | bytearray,
    after: bytes | bytearray,
    extent: Extent,
    format: PixelFormat,
) -> list[Bounds]:
    """The tiles in which two planes of the same extent differ, in row order.

    Exact: no threshold, no hash. A row of tiles that did not change costs one memory comparison.
    Slices are copied on purpose: comparing memoryviews goes byte by byte and is 10 times slower.
    """
    old, new = before, after
    pixel = format.bytes_per_pixel
    stride = extent.width * pixel
    tile_stride = TILE_PX * pixel
    changed: list[Bounds] = []
    for y in range(0, extent.height, TILE_PX):
        height = min(TILE_PX, extent.height - y)
        band = slice(y * stride, (y + height) * stride)
        if old[band] == new[band]:
            continue
        dirty: set[int] = set()
        columns = range(0, stride, tile_stride)
        for n in range(y, y + height):
            row = n * stride
            if old[row : row + stride] == new[row : row + stride]:
                continue
            for column in columns:
                if column in dirty:
                    continue
                end = row + min(column + tile_stride, stride)
                if old[row + column : end] != new[row + column : end]:
                    dirty.add(column)
            if len(dirty) == len(columns):
                break
        for column in sorted(dirty):
            x = column // pixel
            changed.append(Bounds(x, y, min(TILE_PX, extent.width - x), height))
    return changed


def pack_tile(bounds: Bounds, format: PixelFormat, pixels: bytes, encoding: Encoding) -> Tile:
    """Pack raw pixels. JPEG tiles are made by the ends, which have codecs; here RAW and ZLIB."""
    if encoding is Encoding.ZLIB:
        packed = zlib.compress(pixels, 1)
        if len(packed) < len(pixels):
            return Tile(bounds=bounds, format=format, encoding=Encoding.ZLIB, data=packed)
    return Tile(bounds=bounds, format=format, encoding=Encoding.RAW, data=pixels)


def check_tiles(tiles: Sequence[Tile], extent: Extent) -> None:
    """Refuse tiles that together cover more than the whole, before any is unpacked.

    Each is bounded by its own size; a message full of tiles of the whole plane's size, packed a
    thousandfold, would still unpack to gigabytes.
    """
    if sum(tile.bounds.extent.pixels for tile in tiles) > extent.pixels:
        raise OversizedMessage("The tiles of a message cover more than there is.")


def unpack_tile(tile: Tile) -> bytes:
    """The raw pixels of a RAW or ZLIB tile, never more than its bounds declare.

    Raises ``MalformedMessage`` when the data is not exactly the declared size. A decompression
    bomb stops at the declared size.
    """
    if tile.encoding is Encoding.RAW:
        pixels = tile.data
    elif tile.encoding is Encoding.ZLIB:
        unpacker = zlib.decompressobj()
        try:
            pixels = unpacker.decompress(tile.data, tile.raw_bytes + 1)
        except zlib.error as error:
            raise MalformedMessage(f"A tile holds broken zlib data ({error}).") from None
        if not unpacker.eof:
            raise MalformedMessage("A tile's zlib data does not end where its pixels do.")
    else:
        raise MalformedMessage("A tile travels in an encoding that was not negotiated.")
    if len(pixels) != tile.raw_bytes:
        raise MalformedMessage(
            f"A tile holds {len(pixels)} bytes where {tile.raw_bytes} were declared."
        )
    return pixels
