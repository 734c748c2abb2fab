"""A document enters; the 64 px tiles of its projection that changed since the last grab leave."""

from __future__ import annotations

from typing import Any

from nijimi_protocol.geometry import Bounds, Extent, merge_tiles
from nijimi_protocol.pixels import PixelFormat, changed_tiles, copy_out, paste

from ..qt import QtGui
from .document import change_token, document_extent, document_id, is_at_rest, is_plain_srgb
from .layers import find_preview
from .room import CaptureResult

__all__ = ["Capture"]

_TOKEN_ABOVE_PIXELS = 1_000_000
"""Above this a change token is asked before the pixels are compared."""


class Capture:
    """Remembers the last grab of one document."""

    def __init__(self) -> None:
        self._id = ""
        self._extent = Extent(0, 0)
        self._last = bytearray()
        self._token = 0

    def reset(self) -> None:
        """Forget: the next grab is whole."""
        self._id, self._last, self._token = "", bytearray(), 0

    def grab(self, document: Any, budget_bytes: int) -> CaptureResult | None:
        """What changed, or None where the picture cannot be read now: then ask again later.

        At most about ``budget_bytes`` of pixels come at once (but at least one band), so that one
        turn on Krita's thread stays short. What is left counts as not yet grabbed.
        """
        extent = document_extent(document)
        if extent.pixels < 1:
            return None
        identity = document_id(document)
        known = identity == self._id and extent == self._extent
        # Comparing is cheaper than asking, but for large canvases and for converted ones.
        is_cheap = extent.pixels <= _TOKEN_ABOVE_PIXELS and is_plain_srgb(document)
        token = 0 if is_cheap else change_token(document)
        if known and token and token == self._token:
            return CaptureResult(extent, [], False)
        pixels = self._read(document, extent)
        if pixels is None:
            return None
        if not known:
            # The mirror begins all zero at the other end, too.
            self._id, self._extent, self._last = identity, extent, bytearray(len(pixels))
        areas = merge_tiles(changed_tiles(self._last, pixels, extent, PixelFormat.BGRA8))
        tiles: list[tuple[Bounds, bytes]] = []
        spent = 0
        parts = [part for area in areas for part in _split(area, budget_bytes)]
        for part in parts:
            if spent >= budget_bytes:
                self._token = 0
                return CaptureResult(extent, tiles, True)
            data = copy_out(pixels, extent, part, PixelFormat.BGRA8)
            paste(self._last, extent, part, data, PixelFormat.BGRA8)
            tiles.append((part, data))
            spent += len(data)
        self._token = token
        return CaptureResult(extent, tiles, False)

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
    if is_plain_srgb(document):
        pixels = bytes(document.pixelData(0, 0, extent.width, extent.height))
        if len(pixels) == extent.pixels * 4:
            return pixels
    # Any other colour space: Krita converts to sRGB, ARGB32, which is BGRA in memory.
    image = document.projection(0, 0, extent.width, extent.height)
    image = image.convertToFormat(QtGui.QImage.Format.Format_ARGB32)
    bits = image.constBits()
    bits.setsize(extent.pixels * 4)
    return bytes(bits)


def _split(area: Bounds, budget_bytes: int) -> list[Bounds]:
    """Cut a rectangle into bands of at most ``budget_bytes``, or of one row."""
    rows = max(1, budget_bytes // (area.width * 4))
    return [
        Bounds(area.x, y, area.width, min(rows, area.bottom - y))
        for y in range(area.y, area.bottom, rows)
    ]
