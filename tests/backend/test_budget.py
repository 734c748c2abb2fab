"""All clients' planes together stay within the budget, whoever comes and goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nijimi_backend.session.budget import COPIES, PlaneBudget
from nijimi_backend.session.canvas_state import CanvasState
from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import CANVAS, DropPlane, SetPlane, UpdateTiles
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile

CLIENTS, PLANES = st.integers(0, 4), st.sampled_from(["canvas", "mask", "control:c0"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), CLIENTS, PLANES, st.integers(1, 60)),
        st.tuples(st.just("drop"), CLIENTS, PLANES),
        st.tuples(st.just("leave"), CLIENTS),
    ),
    max_size=60,
)


@given(STEPS)
def test_what_is_held_is_what_was_taken_and_never_more_than_allowed(
    steps: list[tuple[object, ...]],
) -> None:
    budget, held = PlaneBudget(300), dict[tuple[object, object], int]()
    for step in steps:
        match step:
            case ("take", int(client), str(plane), int(size)):
                held.pop((client, plane), None)
                fits = sum(held.values()) + COPIES * size <= 300
                if fits:
                    budget.take(client, plane, size, 1)
                    held[client, plane] = COPIES * size
                else:
                    with pytest.raises(RejectedChange):
                        budget.take(client, plane, size, 1)
            case ("drop", int(client), str(plane)):
                budget.give_back(client, plane)
                held.pop((client, plane), None)
            case ("leave", int(client)):
                budget.give_back(client)
                held = {key: size for key, size in held.items() if key[0] != client}
            case _:
                raise AssertionError(step)
        assert budget.held_bytes == sum(held.values()) <= 300


def _open(revision: int, side: int) -> SetPlane:
    return SetPlane(
        revision=revision, plane=CANVAS, extent=Extent(side, side), format=PixelFormat.BGRA8
    )


def test_a_refused_canvas_holds_nothing_and_its_tiles_are_passed_over() -> None:
    budget = PlaneBudget(COPIES * 4 * 32 * 32)
    state = CanvasState(budget)
    state.apply(_open(1, 32))
    with pytest.raises(RejectedChange, match="MiB are allowed"):
        state.apply(_open(2, 33))
    assert budget.held_bytes == 0
    tile = pack_tile(Bounds(0, 0, 2, 2), PixelFormat.BGRA8, bytes(16), Encoding.RAW)
    state.apply(UpdateTiles(revision=3, plane=CANVAS, tiles=(tile,)))
    assert state.snapshot().canvas is None
    state.apply(_open(4, 16))
    assert state.snapshot().extent == Extent(16, 16)
    state.apply(DropPlane(revision=5, plane=CANVAS))
    assert budget.held_bytes == 0


def test_a_client_that_leaves_gives_everything_back() -> None:
    budget = PlaneBudget(10**6)
    states = [CanvasState(budget) for _ in range(3)]
    for state in states:
        state.apply(_open(1, 32))
    assert budget.held_bytes == 3 * COPIES * 4 * 32 * 32
    for state in states:
        state.close()
    assert budget.held_bytes == 0


def test_a_client_that_leaves_holds_no_pixels_even_while_somebody_holds_it() -> None:
    """Connections are parts of cycles: Python may find them minutes later."""
    state = CanvasState()
    state.apply(_open(1, 512))
    assert state.snapshot().canvas is not None
    state.close()
    assert state.snapshot().canvas is None
    assert not state._planes  # pyright: ignore[reportPrivateUsage]
    assert not state._copies  # pyright: ignore[reportPrivateUsage]
