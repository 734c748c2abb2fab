"""A document enters; the 64 px tiles of its projection that changed since the last grab leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nijimi_protocol.geometry import Bounds, Extent, merge_tiles
from nijimi_protocol.pixels import PixelFormat, changed_tiles, copy_out

from ..qt import QtGui
from .document import change_token, document_extent, document_id, is_at_rest
from .layers import find_preview

__all__ = ["Capture", "CaptureResult"]

_TOKEN_ABOVE_PIXELS = 1_000_000
"""Above this a change token is asked before the pixels are compared."""

_MAX_RUN_BYTES = 1024 * 1024
"""Changed tiles are joined to rectangles of at most this size: messages stay small."""


@dataclass(frozen=True)
class CaptureResult:
    """Changed areas with their raw BGRA8 pixels; ``whole`` when they are the whole canvas."""

    extent: Extent
    tiles: list[tuple[Bounds, bytes]]
    whole: bool


class Capture:
    """Remembers the last grab of one document."""

    def __init__(self) -> None:
        self._id = ""
        self._extent = Extent(0, 0)
        self._last = b""
        self._token = 0

    def reset(self) -> None:
        """Forget: the next grab is whole."""
        self._id, self._last, self._token = "", b"", 0

    def grab(self, document: Any) -> CaptureResult | None:
        """What changed, or None where the picture cannot be read now: then ask again later."""
        extent = document_extent(document)
        if extent.pixels < 1:
            return None
        identity = document_id(document)
        known = identity == self._id and extent == self._extent
        if known and extent.pixels > _TOKEN_ABOVE_PIXELS:
            token = change_token(document)
            if token == self._token:
                return CaptureResult(extent, [], False)
            self._token = token
        pixels = self._read(document, extent)
        if pixels is None:
            return None
        if known:
            if pixels == self._last:
                return CaptureResult(extent, [], False)
            areas = merge_tiles(changed_tiles(self._last, pixels, extent, PixelFormat.BGRA8))
        else:
            areas = [extent.bounds]
        self._id, self._extent, self._last = identity, extent, pixels
        tiles = [
            (part, copy_out(pixels, extent, part, PixelFormat.BGRA8))
            for area in areas
            for part in _split(area)
        ]
        return CaptureResult(extent, tiles, not known)

    def _read(self, document: Any, extent: Extent) -> bytes | None:
        """The projection as BGRA8, without our own preview layer.

        With a preview layer in the way a clone is read in which it is hidden; that is done only
        at rest, so in that mode the picture follows when the pen is lifted.
        """
        preview = find_preview(document)
        if preview is None or not preview.visible():
            return _projection(document, extent)
        if not is_at_rest(document):
            return None
        clone = document.clone()
        try:
            hidden = find_preview(clone)
            if hidden is not None:
                hidden.setVisible(False)
            clone.refreshProjection()
            return _projection(clone, extent)
        finally:
            clone.setModified(False)
            clone.close()


def _projection(document: Any, extent: Extent) -> bytes:
    if document.colorDepth() == "U8" and document.colorModel() == "RGBA":
        pixels = bytes(document.pixelData(0, 0, extent.width, extent.height))
        if len(pixels) == extent.pixels * 4:
            return pixels
    # Any other colour space: Krita converts to sRGB, ARGB32, which is BGRA in memory.
    image = document.projection(0, 0, extent.width, extent.height)
    image = image.convertToFormat(QtGui.QImage.Format.Format_ARGB32)
    bits = image.constBits()
    bits.setsize(extent.pixels * 4)
    return bytes(bits)


def _split(area: Bounds) -> list[Bounds]:
    """Cut a rectangle into bands of at most ``_MAX_RUN_BYTES``."""
    rows = max(1, _MAX_RUN_BYTES // (area.width * 4))
    return [
        Bounds(area.x, y, area.width, min(rows, area.bottom - y))
        for y in range(area.y, area.bottom, rows)
    ]
