"""Geometry: unions, intersections and tile grids hold on any rectangle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nijimi_protocol.geometry import TILE_PX, Bounds, Extent, fit_inside, merge_tiles, tile_grid

from .strategies import bounds, extents


def _cells(rectangles: list[Bounds]) -> list[tuple[int, int]]:
    """Corner cells at the tile grid, each rectangle cut to single tiles."""
    return [
        (x, y)
        for r in rectangles
        for y in range(r.y, r.bottom, TILE_PX)
        for x in range(r.x, r.right, TILE_PX)
    ]


@given(bounds, bounds)
def test_an_intersection_lies_in_both_and_a_union_holds_both(a: Bounds, b: Bounds) -> None:
    common, around = a.intersection(b), a.union(b)
    if not common.is_empty:
        assert a.contains(common)
        assert b.contains(common)
    for part in (a, b):
        assert part.is_empty or around.contains(part)


@given(extents)
def test_a_tile_grid_covers_each_pixel_once(extent: Extent) -> None:
    grid = list(tile_grid(extent))
    assert sum(tile.extent.pixels for tile in grid) == extent.pixels
    assert all(extent.bounds.contains(tile) for tile in grid)
    assert len(set(grid)) == len(grid)


@given(extents, bounds)
def test_a_grid_within_an_area_has_just_the_tiles_that_touch_it(
    extent: Extent, area: Bounds
) -> None:
    expected = [tile for tile in tile_grid(extent) if not tile.intersection(area).is_empty]
    assert list(tile_grid(extent, area)) == expected


@given(extents, st.data())
def test_merged_tiles_cover_the_same_cells_without_overlap(
    extent: Extent, data: st.DataObject
) -> None:
    grid = list(tile_grid(extent))
    chosen = data.draw(st.lists(st.sampled_from(grid), unique=True))
    merged = merge_tiles(chosen)
    assert sorted(_cells(merged)) == sorted(_cells(chosen))
    assert sum(m.extent.pixels for m in merged) == sum(c.extent.pixels for c in chosen)
    assert len(merged) <= len(chosen)


def test_a_full_grid_merges_into_one_rectangle() -> None:
    extent = Extent(200, 130)
    assert merge_tiles(tile_grid(extent)) == [extent.bounds]


@given(extents, st.integers(1, 2048))
def test_fitting_keeps_the_longest_side_and_never_gives_nothing(extent: Extent, side: int) -> None:
    fitted = fit_inside(extent, side)
    assert fitted.longest_side == side
    assert min(fitted) >= 1
