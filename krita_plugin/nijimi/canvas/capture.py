"""A document enters; what changed of its projection since the last grab leaves, as pixels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from nijimi_protocol.geometry import Bounds, Extent

from .document import change_token, clone_at_rest, document_extent, document_id, is_plain_srgb
from .flattening import hide_in_clone, in_the_way, reader_without
from .layer_pixels import image_bytes
from .layers import find_preview
from .room import CaptureResult
from .tile_scan import Reader, TileScan

__all__ = ["Capture", "document_reader", "with_preview"]

_TOKEN_ABOVE_PIXELS = 1_000_000
"""Above this a change token is asked before the pixels are compared."""

_TURN_S = 0.003
"""Time for reading and comparing in one turn; packing and sending come on top."""

_UNLIMITED_S = 3600.0


class Capture:
    """Remembers the last grab of one document."""

    def __init__(self) -> None:
        self._id = ""
        self._scan: TileScan | None = None
        self._token = 0
        self._round_token = 0
        self.left_out: frozenset[str] = frozenset()
        """Ids of layers that are no part of the picture: control layers."""

    def reset(self) -> None:
        """Forget: the next grab is whole."""
        self._id, self._scan = "", None
        self._token = self._round_token = 0

    def grab(
        self, document: Any, budget_bytes: int, trail: Sequence[tuple[int, int]] = ()
    ) -> CaptureResult | None:
        """What changed, or None where the picture cannot be read now: then ask again later.

        ``trail``: pixels where the pen was lately, the newest last: there it is looked first.

        At most about ``budget_bytes`` of pixels come at once, and only as much of a large canvas
        is looked at as one short turn on Krita's thread allows: ``has_more`` says that a part of
        it is still to be looked at.
        """
        extent = document_extent(document)
        if extent.pixels < 1:
            return None
        identity = document_id(document)
        scan = self._scan
        if scan is None or identity != self._id or extent != scan.extent:
            self.reset()
            scan = self._scan = TileScan(extent)
            self._id = identity
        result = self._grab(document, scan, budget_bytes, trail)
        if result is not None and not result.has_more:
            self._token = self._round_token
        return result

    def _has_news(self, document: Any) -> bool:
        """Whether a round of looking is worth while."""
        # Comparing is cheaper than asking, but for large canvases and for converted ones.
        pixels = document_extent(document).pixels
        if pixels <= _TOKEN_ABOVE_PIXELS and is_plain_srgb(document):
            token = 0
        else:
            token = change_token(document)
            if token and token == self._token:
                return False
        # As it was when the round began: what changes meanwhile asks for another round.
        self._round_token = token
        return True

    def _grab(
        self, document: Any, scan: TileScan, budget_bytes: int, trail: Sequence[tuple[int, int]]
    ) -> CaptureResult | None:
        """Without our own preview layer and without control layers.

        Where Qt cannot blend the others as Krita does, a clone is read in which those are hidden;
        that is done only at rest, so then the picture follows when the pen is lifted.
        """

        def has_news() -> bool:
            return self._has_news(document)

        left_out = with_preview(document, self.left_out)
        if not in_the_way(document, left_out):
            reader: Reader | None = document_reader(document, scan.extent)
        else:
            reader = reader_without(document, left_out)
        if reader is not None:
            return scan.scan(reader, budget_bytes, _TURN_S, near=trail, has_news=has_news)
        if scan.is_between_rounds and not has_news():
            return CaptureResult(scan.extent, [], False)
        clone = clone_at_rest(document)
        if clone is None:
            return None
        try:
            hide_in_clone(document, clone, left_out)
            # A clone costs more than reading it: all of it, while we have it.
            return scan.scan(document_reader(clone, scan.extent), budget_bytes, _UNLIMITED_S)
        finally:
            clone.setModified(False)
            clone.close()


def with_preview(document: Any, left_out: Collection[str]) -> set[str]:
    """Ids of all layers that are no part of the picture: those, and our own preview layer."""
    preview = find_preview(document)
    return {*left_out, *([preview.uniqueId().toString()] if preview is not None else [])}


def document_reader(document: Any, extent: Extent) -> Reader:
    """Reads BGRA8 of the projection, whatever the document's own kind of pixels."""

    def plain(bounds: Bounds) -> bytes:
        return bytes(document.pixelData(*bounds))

    def converted(bounds: Bounds) -> bytes:
        # Krita converts to sRGB.
        return image_bytes(document.projection(*bounds))

    if is_plain_srgb(document) and len(plain(Bounds(0, 0, 1, 1))) == 4:
        return plain
    return converted
