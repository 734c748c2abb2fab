"""A canvas and what changed of it enter; the same at the model's resolution leaves."""

from __future__ import annotations

from nijimi_protocol.geometry import Extent

from .request import FrameRequest, Pixels
from .stages import refresh_small, resize_canvas

__all__ = ["SmallCanvases"]

_KEPT = 8
"""For a few clients; each needs its newest only."""


class SmallCanvases:
    """Remembers the last ones, so that only changed cells are made again."""

    def __init__(self) -> None:
        # By version, which is never another client's.
        self._known: dict[tuple[int, Extent], Pixels] = {}

    def get(self, request: FrameRequest, canvas: Pixels, extent: Extent) -> Pixels:
        """RGB h x w x 3 of ``extent``."""
        changes = request.canvas_changes
        before = self._known.get((changes.base_version, extent)) if changes is not None else None
        small: Pixels | None = None
        if changes is not None and before is not None:
            small = refresh_small(before, canvas, changes.areas, extent)
        if small is None:
            small = resize_canvas(canvas, extent)
        self._known[request.canvas_version, extent] = small
        while len(self._known) > _KEPT:
            self._known.pop(next(iter(self._known)))
        return small
