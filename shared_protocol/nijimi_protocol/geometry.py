"""Sizes and rectangles in canvas pixels enter; intersections, unions and tile grids leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["TILE_PX", "Bounds", "Extent", "fit_inside", "merge_tiles", "tile_grid"]

TILE_PX = 64
"""Side of a dirty tile. Small enough for a dab, large enough that a header costs little."""


class Extent(NamedTuple):
    """A size in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def bounds(self) -> Bounds:
        return Bounds(0, 0, self.width, self.height)

    @property
    def longest_side(self) -> int:
        return max(self.width, self.height)


class Bounds(NamedTuple):
    """A rectangle in pixels; ``x`` and ``y`` may be negative, sizes are never."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """One past the last column."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """One past the last row."""
        return self.y + self.height

    @property
    def extent(self) -> Extent:
        return Extent(self.width, self.height)

    @property
    def is_empty(self) -> bool:
        return self.width <= 0 or self.height <= 0

    def contains(self, other: Bounds) -> bool:
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.right <= self.right
            and other.bottom <= self.bottom
        )

    def intersection(self, other: Bounds) -> Bounds:
        """The common part; an empty rectangle where there is none."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        width = min(self.right, other.right) - x
        height = min(self.bottom, other.bottom) - y
        return Bounds(x, y, max(0, width), max(0, height))

    def union(self, other: Bounds) -> Bounds:
        """The smallest rectangle around both; an empty one counts for nothing."""
        if self.is_empty:
            return other
        if other.is_empty:
            return self
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Bounds(x, y, max(self.right, other.right) - x, max(self.bottom, other.bottom) - y)


def tile_grid(extent: Extent, within: Bounds | None = None) -> Iterator[Bounds]:
    """The tiles of ``extent`` in row order, those at the edge cut to it.

    With ``within`` only tiles that touch that rectangle come.
    """
    area = extent.bounds if within is None else extent.bounds.intersection(within)
    if area.is_empty:
        return
    first_row, first_column = area.y // TILE_PX, area.x // TILE_PX
    for y in range(first_row * TILE_PX, area.bottom, TILE_PX):
        height = min(TILE_PX, extent.height - y)
        for x in range(first_column * TILE_PX, area.right, TILE_PX):
            yield Bounds(x, y, min(TILE_PX, extent.width - x), height)


def merge_tiles(tiles: Iterable[Bounds]) -> list[Bounds]:
    """Join tiles that touch within one row, then equal rows above each other.

    Fewer, larger rectangles cost fewer calls; the area stays exactly the same.
    """
    rows: dict[tuple[int, int], list[Bounds]] = {}
    for tile in sorted(set(tiles), key=lambda t: (t.y, t.height, t.x)):
        row = rows.setdefault((tile.y, tile.height), [])
        if row and row[-1].right == tile.x:
            last = row[-1]
            row[-1] = Bounds(last.x, last.y, last.width + tile.width, last.height)
        else:
            row.append(tile)
    merged: list[Bounds] = []
    open_runs: dict[tuple[int, int], int] = {}
    for _, row in sorted(rows.items()):
        next_runs: dict[tuple[int, int], int] = {}
        for run in row:
            key = (run.x, run.width)
            above = open_runs.get(key)
            if above is not None and merged[above].bottom == run.y:
                grown = merged[above]
                merged[above] = grown._replace(height=grown.height + run.height)
                next_runs[key] = above
            else:
                next_runs[key] = len(merged)
                merged.append(run)
        open_runs = next_runs
    return merged


def fit_inside(extent: Extent, longest_side_px: int) -> Extent:
    """``extent`` scaled so that its longest side is ``longest_side_px``, never below 1 px."""
    scale = longest_side_px / max(1, extent.longest_side)
    return Extent(max(1, round(extent.width * scale)), max(1, round(extent.height * scale)))
