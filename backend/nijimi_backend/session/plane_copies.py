"""Changed areas of a plane enter; copies that stay as they are leave, at the cost of the change.

Copying a large canvas for a small stroke would take longer than rendering it: two copies take
turns, and each is only brought up to date. A copy is left alone until the one after the next is
taken; the worker, who takes them, is done with it by then.
"""

from __future__ import annotations

from functools import reduce

from nijimi_protocol.geometry import Bounds

from ..engine.request import CanvasChanges, Pixels

__all__ = ["PlaneCopies"]

_MAX_AREAS = 64
"""More areas than this are remembered as the one around them."""


class PlaneCopies:
    """The copies of one plane of one size. Takes up twice what the plane does."""

    def __init__(self) -> None:
        self._copies: list[Pixels] = []
        self._stale: list[list[Bounds]] = [[], []]
        self._turn = 0
        self._version = 0
        self._since: list[Bounds] = []
        self.changes: CanvasChanges | None = None
        """What the newest copy changed of the one before it."""

    def note(self, area: Bounds) -> None:
        """``area`` of the plane changed."""
        for areas in (*self._stale, self._since):
            areas.append(area)
            if len(areas) > _MAX_AREAS:
                areas[:] = [reduce(Bounds.union, areas)]

    def newest(self, pixels: Pixels, version: int) -> Pixels:
        """A copy of ``pixels`` as they are now; the same one while ``version`` is."""
        if self._copies and version == self._version:
            return self._copies[self._turn]
        self.changes = (
            CanvasChanges(base_version=self._version, areas=tuple(self._since))
            if self._copies
            else None
        )
        self._since = []
        if len(self._copies) < 2:
            self._copies.append(pixels.copy())
            self._turn = len(self._copies) - 1
        else:
            self._turn = 1 - self._turn
            copy = self._copies[self._turn]
            for x, y, width, height in self._stale[self._turn]:
                part = (slice(y, y + height), slice(x, x + width))
                copy[part] = pixels[part]
        self._stale[self._turn] = []
        self._version = version
        return self._copies[self._turn]
