"""Scanning a canvas block by block: every change is found, the restless blocks first."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nijimi.canvas.room import CaptureResult
from nijimi.canvas.tile_scan import BLOCK_PX, TileScan
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.pixels import PixelFormat, copy_out, paste

SIZE = Extent(3 * BLOCK_PX + 10, 2 * BLOCK_PX + 77)
PLENTY_BYTES, PLENTY_S = 10**9, 60.0


class Canvas:
    """Pixels that can be drawn on and read, and a count of the reads."""

    def __init__(self, extent: Extent = SIZE) -> None:
        self.extent = extent
        self.pixels = bytearray(extent.pixels * 4)
        self.reads: list[Bounds] = []

    def draw(self, area: Bounds, value: int) -> None:
        data = bytes([value]) * (area.extent.pixels * 4)
        paste(self.pixels, self.extent, area, data, PixelFormat.BGRA8)

    def read(self, bounds: Bounds) -> bytes:
        self.reads.append(bounds)
        return copy_out(self.pixels, self.extent, bounds, PixelFormat.BGRA8)


def _known(canvas: Canvas) -> TileScan:
    """A scan that has seen all of it."""
    scan = TileScan(canvas.extent)
    while scan.scan(canvas.read, PLENTY_BYTES, PLENTY_S).has_more:
        pass
    return scan


def _ticking(step_s: float) -> Callable[[], float]:
    now = [0.0]

    def clock() -> float:
        now[0] += step_s
        return now[0]

    return clock


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([5_000, 60_000, PLENTY_BYTES]))
def test_the_other_end_always_becomes_equal(seed: int, budget_bytes: int) -> None:
    rng = random.Random(seed)
    canvas, mirror = Canvas(), bytearray(SIZE.pixels * 4)
    scan = TileScan(SIZE)
    for _ in range(4):
        x, y = rng.randrange(SIZE.width - 1), rng.randrange(SIZE.height - 1)
        area = Bounds(
            x, y, rng.randint(1, min(90, SIZE.width - x)), rng.randint(1, min(40, SIZE.height - y))
        )
        canvas.draw(area, rng.randrange(256))
        for _ in range(rng.randint(0, 3)):
            # Turns that are interrupted by the next stroke.
            for place, data in scan.scan(canvas.read, budget_bytes, PLENTY_S).tiles:
                paste(mirror, SIZE, place, data, PixelFormat.BGRA8)
    # Whatever was under way, then one whole round.
    for _ in range(2):
        more = True
        while more:
            result = scan.scan(canvas.read, budget_bytes, PLENTY_S)
            more = result.has_more
            for place, data in result.tiles:
                paste(mirror, SIZE, place, data, PixelFormat.BGRA8)
    assert mirror == canvas.pixels
    assert scan.is_between_rounds


def test_a_turn_ends_with_its_time_and_the_next_goes_on() -> None:
    canvas, scan = Canvas(), TileScan(SIZE)
    first = scan.scan(canvas.read, PLENTY_BYTES, 2.5, _ticking(1.0))
    assert first.has_more
    assert len(canvas.reads) == 3
    while scan.scan(canvas.read, PLENTY_BYTES, 2.5, _ticking(1.0)).has_more:
        pass
    assert len(canvas.reads) == 12
    assert len({tuple(bounds) for bounds in canvas.reads}) == 12


def test_a_block_under_the_pen_is_looked_at_in_every_turn() -> None:
    canvas = Canvas(Extent(16 * BLOCK_PX, 16 * BLOCK_PX))
    scan = _known(canvas)
    for n in range(6):
        canvas.draw(Bounds(1000 + 4 * n, 900, 20, 20), 10 + n)
        if n == 0:
            while not scan.scan(canvas.read, PLENTY_BYTES, PLENTY_S).tiles:
                pass
            continue
        canvas.reads.clear()
        # A turn with time for a dozen blocks of the 256.
        result = scan.scan(canvas.read, PLENTY_BYTES, 12.0, _ticking(1.0))
        assert result.tiles, "the stroke had to wait for its turn in the round"
        assert len(canvas.reads) <= 13


def test_where_the_pen_is_is_looked_at_first() -> None:
    canvas = Canvas(Extent(16 * BLOCK_PX, 16 * BLOCK_PX))
    scan = _known(canvas)
    canvas.draw(Bounds(2900, 2900, 20, 20), 9)
    canvas.reads.clear()
    trail = [(-5, 10), (200, 200), (2910, 2910), (10**6, 0)]
    result = scan.scan(canvas.read, PLENTY_BYTES, 2.5, _ticking(1.0), near=trail)
    assert [place.contains(Bounds(2900, 2900, 20, 20)) for place, _ in result.tiles] == [True]
    assert canvas.reads[0].x == 2816
    assert canvas.reads[1] == Bounds(0, 0, BLOCK_PX, BLOCK_PX), "then where it came from"
    assert result.has_more


def test_what_a_change_lies_against_is_looked_at_in_the_same_turn() -> None:
    canvas = Canvas(Extent(16 * BLOCK_PX, 16 * BLOCK_PX))
    scan = _known(canvas)
    stroke = Bounds(10 * BLOCK_PX - 30, 900, 60, 20)
    canvas.draw(stroke, 9)
    canvas.reads.clear()
    result = scan.scan(canvas.read, PLENTY_BYTES, 2.5, _ticking(1.0), near=[(stroke.x, stroke.y)])
    assert [place.x for place, _ in result.tiles] == [10 * BLOCK_PX - 64, 10 * BLOCK_PX]
    assert len(canvas.reads) == 2


def test_a_stroke_does_not_wait_for_other_blocks_and_a_round_ends_all_the_same() -> None:
    canvas = Canvas(Extent(6 * BLOCK_PX, 6 * BLOCK_PX))
    scan = _known(canvas)
    canvas.draw(Bounds(400, 400, 20, 20), 9)
    while not scan.scan(canvas.read, PLENTY_BYTES, PLENTY_S).tiles:
        pass
    reads: list[int] = []
    while True:
        canvas.draw(Bounds(400, 400, 20, 20), 10 + len(reads))
        canvas.reads.clear()
        result = scan.scan(canvas.read, PLENTY_BYTES, 20.0, _ticking(1.0))
        assert result.tiles
        reads.append(len(canvas.reads))
        if not result.has_more:
            break
    # Of 36 blocks the restless one; in every other turn for 3 ticks others, too.
    assert set(reads[::2]) == {1}
    assert max(reads) == 4
    assert len(reads) <= 36


def test_a_change_where_the_pen_is_goes_before_the_question_whether_there_is_one() -> None:
    canvas = Canvas(Extent(6 * BLOCK_PX, 6 * BLOCK_PX))
    scan = _known(canvas)
    asked: list[int] = []

    def look(*, news: bool) -> CaptureResult:
        def has_news() -> bool:
            asked.append(len(canvas.reads))
            return news

        canvas.reads.clear()
        return scan.scan(canvas.read, PLENTY_BYTES, PLENTY_S, near=[(410, 410)], has_news=has_news)

    canvas.draw(Bounds(400, 400, 20, 20), 9)
    first = look(news=True)
    assert (len(first.tiles), first.has_more, asked) == (1, True, [])
    # Asked now, and all is looked at, the place of the pen after the question, too.
    second = look(news=True)
    assert (second.tiles, second.has_more, asked) == ([], False, [1])
    assert len(canvas.reads) == 1 + 36
    third = look(news=False)
    assert (third.tiles, third.has_more, asked) == ([], False, [1, 1])
    assert len(canvas.reads) == 1, "nothing is new: only the place of the pen was looked at"


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([5_000, PLENTY_BYTES]), st.sampled_from([3.0, 99.0]))
def test_nothing_is_lost_where_a_number_tells_of_changes(
    seed: int, budget_bytes: int, budget_s: float
) -> None:
    """As the canvas is grabbed: rounds are begun only while the number is another one than it was
    when the last whole round began, and the painter goes on at every moment."""
    rng = random.Random(seed)
    canvas, mirror = Canvas(), bytearray(SIZE.pixels * 4)
    scan, strokes = TileScan(SIZE), [0]
    token = round_token = -1

    def draw(place: Bounds = SIZE.bounds) -> None:
        x, y = rng.randrange(place.x, place.right - 30), rng.randrange(place.y, place.bottom - 30)
        canvas.draw(Bounds(x, y, rng.randint(1, 30), rng.randint(1, 30)), rng.randrange(256))
        strokes[0] += 1

    def read(bounds: Bounds) -> bytes:
        pixels = canvas.read(bounds)
        if strokes[0] < 12 and rng.random() < 0.3 and min(bounds.extent) > 30:
            # Just after it was looked at.
            draw(bounds)
        return pixels

    def has_news() -> bool:
        nonlocal round_token
        if token == strokes[0]:
            return False
        round_token = strokes[0]
        return True

    draw()
    looks = 0
    while looks < 400:
        looks += 1
        near = [(rng.randrange(SIZE.width), rng.randrange(SIZE.height))] * rng.randint(0, 1)
        result = scan.scan(read, budget_bytes, budget_s, _ticking(1.0), near, has_news)
        for place, data in result.tiles:
            paste(mirror, SIZE, place, data, PixelFormat.BGRA8)
        if not result.has_more:
            token = round_token
            if token == strokes[0]:
                break
    assert token == strokes[0], "the rounds do not end"
    assert mirror == canvas.pixels


@pytest.mark.parametrize("budget_bytes", [4 * 70, 50_000])
def test_a_large_change_is_cut_to_the_budget(budget_bytes: int) -> None:
    canvas, scan = Canvas(), TileScan(SIZE)
    canvas.draw(Bounds(0, 0, 300, 200), 9)
    turns = 0
    more = True
    while more:
        result = scan.scan(canvas.read, budget_bytes, PLENTY_S)
        more = result.has_more
        turns += 1
        # A band is one row at least, and what was begun with room left is finished.
        assert sum(len(data) for _, data in result.tiles) <= 1.25 * budget_bytes + 4 * BLOCK_PX
    assert turns > 2


def test_nothing_new_costs_one_comparison_a_block_and_sends_nothing() -> None:
    canvas, scan = Canvas(), TileScan(SIZE)
    canvas.draw(SIZE.bounds, 255)
    while scan.scan(canvas.read, PLENTY_BYTES, PLENTY_S).has_more:
        pass
    scan.scan(canvas.read, PLENTY_BYTES, PLENTY_S)
    canvas.reads.clear()
    result = scan.scan(canvas.read, PLENTY_BYTES, PLENTY_S)
    assert result.tiles == []
    assert not result.has_more
    assert len(canvas.reads) == 12
