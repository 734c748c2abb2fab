"""Finished pictures enter; Frames with only what the client does not show yet leave."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from nijimi_protocol.geometry import TILE_PX, Bounds, Extent, merge_tiles
from nijimi_protocol.messages import BatchPicture, Frame
from nijimi_protocol.pixels import Encoding, PixelFormat, Tile, pack_tile
from PIL import Image

from ..engine.request import Picture, Pixels

__all__ = ["MAX_FRAME_PIXELS", "Finished", "FrameMaker", "Made", "changed_areas", "made_messages"]

_ROOM_BYTES = 8192
"""What a message takes beside its pixels, at most."""

MAX_FRAME_PIXELS = 1_500_000
"""A larger picture is scaled down on its way: raw it would not fit into one message."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A picture with the revision that it shows, on its way to a client."""

    picture: Picture
    revision: int
    final: bool
    timings_ms: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A picture of a batch, on its way to a client."""

    picture: Picture
    batch_id: int
    index: int


def made_messages(
    made: Made, encodings: tuple[Encoding, ...], max_bytes: int
) -> Iterator[BatchPicture]:
    """A picture of a batch in full size, in bands that each fit into a message."""
    picture = made.picture
    height, width = picture.pixels.shape[:2]
    # Without loss, whatever live frames do: these are for keeps.
    lossless = tuple(each for each in encodings if each is not Encoding.JPEG) or (Encoding.RAW,)
    rows = max(1, (max_bytes - _ROOM_BYTES) // (width * 4))
    for y in range(0, height, rows):
        band = Bounds(0, y, width, min(rows, height - y))
        yield BatchPicture(
            batch_id=made.batch_id,
            index=made.index,
            extent=Extent(width, height),
            area=picture.area,
            tiles=(_pack(picture.pixels, band, lossless),),
            seed=picture.seed,
            num_inference_steps=picture.num_inference_steps,
            sampler=picture.sampler,
            more=band.bottom < height,
        )


def changed_areas(before: Pixels, after: Pixels) -> list[Bounds]:
    """Rectangles that cover every changed tile of two pictures of equal size, h x w x 4."""
    height, width = after.shape[:2]
    columns = np.arange(0, width, TILE_PX)
    tiles: list[Bounds] = []
    # Band by band: what differs of one stays in the processor's cache until it is asked for.
    for y in range(0, height, TILE_PX):
        band = slice(y, y + TILE_PX)
        differs = before[band].view(np.uint32) != after[band].view(np.uint32)  # rows x w x 1
        dirty = np.logical_or.reduceat(differs.any(axis=(0, 2)), columns)  # one flag a tile
        tiles += [
            Bounds(x, y, min(TILE_PX, width - x), min(TILE_PX, height - y))
            for x in columns[dirty].tolist()
        ]
    return merge_tiles(tiles)


class FrameMaker:
    """Remembers what one client shows, and packs the difference."""

    def __init__(self) -> None:
        self._last_id = 0
        self._sent: tuple[int, Pixels] | None = None
        self._shown: tuple[int, Pixels] | None = None

    def make(self, finished: Finished, encodings: tuple[Encoding, ...]) -> Frame:
        """The next frame, based on what the client has acknowledged."""
        pixels = _within_limit(finished.picture.pixels)
        height, width = pixels.shape[:2]
        started = time.perf_counter()
        base_id, areas = 0, [Bounds(0, 0, width, height)]
        if self._shown is not None and self._shown[1].shape == pixels.shape:
            base_id = self._shown[0]
            areas = changed_areas(self._shown[1], pixels)
        diffed = time.perf_counter()
        tiles = tuple(_pack(pixels, area, encodings) for area in areas)
        packed = time.perf_counter()
        self._last_id += 1
        self._sent = (self._last_id, pixels)
        timings = {
            **finished.timings_ms,
            "diff": (diffed - started) * 1000,
            "pack": (packed - diffed) * 1000,
        }
        return Frame(
            frame_id=self._last_id,
            base_frame_id=base_id,
            revision=finished.revision,
            extent=Extent(width, height),
            area=finished.picture.area,
            tiles=tiles,
            seed=finished.picture.seed,
            num_inference_steps=finished.picture.num_inference_steps,
            final=finished.final,
            model_ms=round(finished.picture.model_ms, 3),
            timings_ms={name: round(value, 3) for name, value in timings.items()},
        )

    def forget(self) -> None:
        """The client is gone."""
        self._sent = self._shown = None

    def acknowledged(self, frame_id: int) -> None:
        """The client shows this frame; 0 means that it shows none of ours."""
        self._shown = self._sent if self._sent and self._sent[0] == frame_id else None


def _within_limit(pixels: Pixels) -> Pixels:
    """Pixels that fit into a message. The client has the selection, and cuts the edge exactly."""
    height, width = pixels.shape[:2]
    scale = (MAX_FRAME_PIXELS / (width * height)) ** 0.5
    if scale >= 1.0:
        return pixels
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _pack(pixels: Pixels, area: Bounds, encodings: tuple[Encoding, ...]) -> Tile:
    """RAW where the client takes it: on loopback nothing is faster than a copy."""
    part = pixels[area.y : area.bottom, area.x : area.right]
    if Encoding.RAW in encodings or not encodings:
        return pack_tile(area, PixelFormat.BGRA8, part.tobytes(), Encoding.RAW)
    # JPEG knows no transparency; RAW is always allowed.
    is_opaque = bool((part[..., 3] == 255).all())
    if not (is_opaque or Encoding.ZLIB in encodings):
        return pack_tile(area, PixelFormat.BGRA8, part.tobytes(), Encoding.RAW)
    if Encoding.ZLIB in encodings:
        return pack_tile(area, PixelFormat.BGRA8, part.tobytes(), Encoding.ZLIB)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(part[..., 2::-1])).save(buffer, "JPEG", quality=90)
    return Tile(
        bounds=area, format=PixelFormat.BGRA8, encoding=Encoding.JPEG, data=buffer.getvalue()
    )
