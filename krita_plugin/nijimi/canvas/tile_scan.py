"""A reader of pixels enters; what changed since the last scan leaves, a little in every turn.

The canvas is looked at in blocks, the restless ones first: those that changed a moment ago, or
where the pen was, and what lies beside a change at their edge. So a stroke is found at once however
large the canvas, and one turn on Krita's thread stays short. Imports no Krita.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from nijimi_protocol.geometry import Bounds, Extent, merge_tiles
from nijimi_protocol.pixels import PixelFormat, changed_tiles, copy_out, paste

from .room import CaptureResult

__all__ = ["BLOCK_PX", "TileScan"]

BLOCK_PX = 256
"""Side of a block: large enough that reading one costs hardly more than the call."""

_OTHERS = 0.15
"""Of a turn's time: for other blocks, once restless ones have changed, in every other such turn."""

Reader = Callable[[Bounds], bytes]
"""Bounds within the canvas in, their pixels out, BGRA8 where nothing else is said."""


class TileScan:
    """Remembers what was last seen of one canvas. A block never seen counts as all zero."""

    def __init__(self, extent: Extent, format: PixelFormat = PixelFormat.BGRA8) -> None:
        self.extent = extent
        self._format = format
        self._columns = -(-extent.width // BLOCK_PX)
        self._rows = -(-extent.height // BLOCK_PX)
        self._seen: dict[int, bytearray] = {}
        self._waiting: dict[int, None] = {}
        """Blocks of this round that were not looked at yet, in order."""
        self._restless: set[int] = set()
        """Blocks that had changed in the turn before."""
        self._owes_others = False

    @property
    def is_between_rounds(self) -> bool:
        """Whether every block was looked at since the round began."""
        return not self._waiting

    def scan(
        self,
        read: Reader,
        budget_bytes: int,
        budget_s: float,
        clock: Callable[[], float] = time.perf_counter,
        near: Iterable[tuple[int, int]] = (),
        has_news: Callable[[], bool] = lambda: True,
    ) -> CaptureResult:
        """Go on with the round, or begin one, until a budget is spent (but one block at least).

        ``near``: pixels where something may have changed, such as where the pen was, the likeliest
        last; their blocks count as restless. ``has_news`` is asked before a round is begun: False
        says that nothing changed since the last one was.

        Restless blocks come first in every turn, also when their turn in the round is over. What
        they gave is not kept waiting: of the others none are looked at then, or few if it was so
        in the turn before, so that a round goes on all the same.
        """
        is_between = not self._waiting
        end = clock() + budget_s
        hot, self._restless = self._hot(near), set()
        owes_others, self._owes_others = self._owes_others, False
        looked: set[int] = set()
        tiles: list[tuple[Bounds, bytes]] = []
        spent = 0
        while True:
            was_hot = bool(hot)
            if not hot and not self._waiting:
                if not is_between or not has_news():
                    return CaptureResult(self.extent, tiles, False)
                is_between = False
                # Restless ones again: they may have changed between their look and the question.
                self._waiting = dict.fromkeys(range(self._columns * self._rows))
            block = hot.pop() if hot else next(iter(self._waiting))
            looked.add(block)
            known = len(tiles)
            if self._look(block, read, budget_bytes - spent, tiles):
                self._waiting.pop(block, None)
            elif not is_between:
                self._waiting[block] = None
            if len(tiles) > known:
                beside = self._beside(block, [place for place, _ in tiles[known:]])
                hot.extend(beside - looked - set(hot))
            spent = sum(len(data) for _, data in tiles)
            if clock() >= end or spent >= budget_bytes:
                break
            if was_hot and not hot and tiles:
                if not owes_others:
                    self._owes_others = True
                    break
                end = min(end, clock() + _OTHERS * budget_s)
        return CaptureResult(self.extent, tiles, is_between or bool(self._waiting))

    def _look(
        self, block: int, read: Reader, budget_bytes: int, tiles: list[tuple[Bounds, bytes]]
    ) -> bool:
        """Note what changed in a block; False where some of it must wait for the next turn."""
        bounds = self._bounds(block)
        pixels = read(bounds)
        seen = self._seen.get(block)
        if seen is None:
            seen = self._seen[block] = bytearray(len(pixels))
        if seen.startswith(pixels):
            # Of equal length, so it means equal: one memory comparison.
            return True
        self._restless.add(block)
        areas = merge_tiles(changed_tiles(seen, pixels, bounds.extent, self._format))
        spent = 0
        pixel = self._format.bytes_per_pixel
        for part in (part for area in areas for part in _split(area, budget_bytes // 4, pixel)):
            if spent and spent >= budget_bytes:
                return False
            data = copy_out(pixels, bounds.extent, part, self._format)
            if data == copy_out(seen, bounds.extent, part, self._format):
                # The tile differs elsewhere: this band went in an earlier turn.
                continue
            paste(seen, bounds.extent, part, data, self._format)
            place = Bounds(bounds.x + part.x, bounds.y + part.y, part.width, part.height)
            tiles.append((place, data))
            spent += len(data)
        return True

    def _hot(self, near: Iterable[tuple[int, int]]) -> list[int]:
        """Restless blocks, those of ``near`` last: the end is taken first."""
        here = [
            y // BLOCK_PX * self._columns + x // BLOCK_PX
            for x, y in near
            if 0 <= x < self.extent.width and 0 <= y < self.extent.height
        ]
        # Of equal ones the likeliest place counts.
        last_first = dict.fromkeys([*reversed(here), *sorted(self._restless, reverse=True)])
        return [*reversed(last_first)]

    def _beside(self, block: int, places: list[Bounds]) -> set[int]:
        """Neighbours that ``places``, which changed in a block, lie against."""
        bounds, (row, column) = self._bounds(block), divmod(block, self._columns)
        found: set[int] = set()
        for place in places:
            top, bottom = place.y == bounds.y, place.bottom == bounds.bottom
            left, right = place.x == bounds.x, place.right == bounds.right
            for y in range(max(0, row - top), min(self._rows, row + bottom + 1)):
                for x in range(max(0, column - left), min(self._columns, column + right + 1)):
                    found.add(y * self._columns + x)
        return found - {block}

    def _bounds(self, block: int) -> Bounds:
        row, column = divmod(block, self._columns)
        x, y = column * BLOCK_PX, row * BLOCK_PX
        return Bounds(
            x, y, min(BLOCK_PX, self.extent.width - x), min(BLOCK_PX, self.extent.height - y)
        )


def _split(area: Bounds, budget_bytes: int, pixel_bytes: int) -> list[Bounds]:
    """Cut a rectangle into bands of at most ``budget_bytes``, or of one row."""
    rows = max(1, max(1, budget_bytes) // (area.width * pixel_bytes))
    return [
        Bounds(area.x, y, area.width, min(rows, area.bottom - y))
        for y in range(area.y, area.bottom, rows)
    ]
