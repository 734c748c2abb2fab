"""One kind of frame by several ways: each is tried, and the quickest stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nijimi_backend.engine.recorded import Recorder
from nijimi_backend.engine.whole_ways import (
    MUST_AGREE_DB,
    TRIAL_FRAMES,
    WholeFrame,
    WholeWays,
)

from tests.backend.test_quickened import Clock
from tests.backend.test_recorded import stand_in

RGB = np.zeros((4, 4, 3), dtype=np.uint8)


class Bench:
    """Ways that take so many milliseconds by the clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ran: list[str] = []

    def way(self, name: str, spent_ms: float, error: Exception | None = None) -> Callable[[], Any]:
        def frame(rgb: Any, _tensors: Any) -> Any:
            self.ran.append(name)
            self.clock.now_s += spent_ms / 1000.0
            if error is not None:
                raise error
            return rgb

        return lambda: frame

    def ways(self, *makers: Callable[[], Any], most_ms: float = 10.0) -> WholeWays:
        return WholeWays(makers, most_ms, self.clock)


def paint(ways: WholeWays, count: int) -> None:
    for _ in range(count):
        assert ways(RGB, ()) is RGB


@pytest.mark.parametrize(
    ("compiled_ms", "plain_ms", "stays"),
    [(4.0, 6.0, "compiled"), (6.0, 4.0, "plain"), (12.0, 9.0, "plain"), (9.0, 12.0, "compiled")],
)
def test_the_quickest_way_stays(compiled_ms: float, plain_ms: float, stays: str) -> None:
    bench = Bench()
    ways = bench.ways(bench.way("compiled", compiled_ms), bench.way("plain", plain_ms))
    paint(ways, 2 * TRIAL_FRAMES + 3)
    assert bench.ran[:TRIAL_FRAMES] == ["compiled"] * TRIAL_FRAMES
    assert bench.ran[TRIAL_FRAMES : 2 * TRIAL_FRAMES] == ["plain"] * TRIAL_FRAMES
    assert bench.ran[2 * TRIAL_FRAMES :] == [stays] * 3
    assert not ways.has_lost


def test_where_none_is_quick_enough_all_go() -> None:
    bench = Bench()
    ways = bench.ways(bench.way("compiled", 11.0), bench.way("plain", 12.0))
    paint(ways, 2 * TRIAL_FRAMES)
    assert ways.has_lost


def test_one_that_fails_is_passed_over_and_the_painter_gets_the_picture() -> None:
    bench = Bench()
    fails = bench.way("compiled", 1.0, RuntimeError("it was compiled for something else"))
    ways = bench.ways(fails, bench.way("plain", 4.0))
    paint(ways, 3)
    assert bench.ran == ["compiled", "plain", "plain", "plain"]


def test_what_the_last_one_fails_at_is_told() -> None:
    bench = Bench()
    ways = bench.ways(bench.way("plain", 1.0, RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        ways(RGB, ())


def test_one_that_has_won_serves_when_the_next_one_fails() -> None:
    bench = Bench()
    fails = bench.way("plain", 1.0, RuntimeError("no"))
    ways = bench.ways(bench.way("compiled", 4.0), fails)
    paint(ways, TRIAL_FRAMES + 2)
    assert bench.ran[-3:] == ["plain", "compiled", "compiled"]


@pytest.mark.parametrize(("off", "agrees"), [(1, True), (12, False)])
@torch.inference_mode()
def test_a_frame_is_compared_with_what_it_stands_for(off: int, agrees: bool) -> None:
    """All pixels off by 12 are 26.5 dB apart, by one 48."""
    assert 26.5 < MUST_AGREE_DB < 48.0

    def plain(pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([pixels, pixels[..., :1]], dim=-1)

    frame = WholeFrame(
        lambda pixels: plain(pixels) + off, Recorder(stand_in), torch.device("cpu"),
        instead_of=plain,
    )  # fmt: skip
    if agrees:
        assert frame(RGB, ()).max() == 0
        assert frame(RGB, ()).min() == off
    else:
        with pytest.raises(RuntimeError, match="something else"):
            frame(RGB, ())
