"""Copies of a plane cost what changed, and are always equal to the plane as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nijimi_backend.engine.stages import refresh_small, resize_canvas
from nijimi_backend.session.plane_copies import PlaneCopies
from nijimi_protocol.geometry import Bounds, Extent

strokes = st.lists(
    st.tuples(
        st.integers(0, 55), st.integers(0, 35), st.integers(1, 9), st.integers(1, 9), st.booleans()
    ),
    max_size=90,
)


@settings(max_examples=60)
@given(strokes)
def test_a_copy_is_the_plane_and_the_one_before_stays(
    drawn: list[tuple[int, int, int, int, bool]],
) -> None:
    plane = np.zeros((44, 64, 4), np.uint8)
    copies, version = PlaneCopies(), 0
    before: tuple[np.ndarray, np.ndarray] | None = None
    for n, (x, y, w, h, take) in enumerate(drawn):
        plane[y : y + h, x : x + w] = n + 1
        copies.note(Bounds(x, y, w, h))
        version += 1
        if not take:
            continue
        copy = copies.newest(plane, version)
        assert np.array_equal(copy, plane)
        assert copies.newest(plane, version) is copy
        if before is not None:
            assert np.array_equal(before[0], before[1]), "the copy before was written to"
            changes = copies.changes
            assert changes is not None
            differs = (before[1] != copy).any(axis=2)
            for area in changes.areas:
                differs[area.y : area.bottom, area.x : area.right] = False
            assert not differs.any(), "a change was not told"
        before = (copy, copy.copy())


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 120), st.integers(0, 60), st.integers(1, 40), st.integers(1, 30)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([0, 128, 255]),
)
def test_a_refreshed_small_canvas_is_the_one_made_anew(
    areas: list[tuple[int, int, int, int]], alpha: int
) -> None:
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 255, (96, 160, 4), dtype=np.uint8)
    canvas[..., 3] = 255
    extent = Extent(40, 24)
    small = resize_canvas(canvas, extent)
    drawn: list[Bounds] = []
    for x, y, w, h in areas:
        bounds = Bounds(x, y, w, h).intersection(Bounds(0, 0, 160, 96))
        canvas[bounds.y : bounds.bottom, bounds.x : bounds.right] = rng.integers(0, 255, 4)
        canvas[bounds.y : bounds.bottom, bounds.x : bounds.right, 3] = alpha
        drawn.append(bounds)
    refreshed = refresh_small(small, canvas, drawn, extent)
    assert refreshed is not None
    anew = resize_canvas(canvas, extent)
    assert np.abs(refreshed.astype(int) - anew).max() <= 1


@pytest.mark.parametrize("extent", [Extent(50, 24), Extent(40, 25), Extent(320, 192)])
def test_where_cells_do_not_fall_together_nothing_is_refreshed(extent: Extent) -> None:
    canvas = np.zeros((96, 160, 4), np.uint8)
    small = np.zeros((extent.height, extent.width, 3), np.uint8)
    assert refresh_small(small, canvas, [Bounds(0, 0, 8, 8)], extent) is None
