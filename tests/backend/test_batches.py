"""Batches: pictures of a state that is kept, in order, beside live ones."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import time

import pytest
from nijimi_backend.session import batches
from nijimi_backend.session import serving as serving_module
from nijimi_backend.session.batches import Batch
from nijimi_backend.session.budget import PlaneBudget
from nijimi_backend.session.canvas_state import UPSCALED_BYTES, CanvasState
from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.geometry import Extent
from nijimi_protocol.messages import (
    CANVAS,
    MASK,
    BatchPhase,
    ControlLayer,
    SetControls,
    SetPlane,
)
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.pixels import PixelFormat
from nijimi_protocol.upscale import UpscaleParams

from tests.support.worker_bench import Bench, until


def test_a_batch_has_a_seed_for_each_picture_and_waits_until_one_is_sent() -> None:
    bench = Bench()
    bench.generate(1, count=3, seed=2**32 - 2, num_inference_steps=2)
    until(lambda: len(bench.made) == 1)
    time.sleep(0.05)
    assert len(bench.made) == 1, "the next one was made before the last was sent"
    for count in (2, 3):
        bench.worker.made_sent(bench.client)
        until(lambda count=count: len(bench.made) == count)
    assert bench.end_of(1).done == 3
    assert [made.picture.seed for made in bench.made] == [2**32 - 2, 2**32 - 1, 0]
    assert [made.index for made in bench.made] == [0, 1, 2]
    assert all(request.exact for request in bench.engine.requests)
    bench.worker.stop()


def test_live_goes_before_a_batch_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PATIENCE_S", 0.3)
    bench = Bench()
    until(lambda: "ready" in bench.states())
    bench.engine.may_go_on.clear()
    bench.want("")
    until(lambda: len(bench.engine.requests) == 1)
    bench.generate(1)
    bench.want("")
    bench.engine.may_go_on.set()
    until(lambda: len(bench.made) == 1)
    assert [request.exact for request in bench.engine.requests[:2]] == [False, False]
    bench.worker.made_sent(bench.client)
    bench.generate(2)
    ends = time.monotonic() + 10
    while len(bench.made) < 2:
        bench.want("")
        time.sleep(0.002)
        assert time.monotonic() < ends, "live pictures starved the batch"
    bench.worker.stop()


def test_a_batch_is_cancelled_while_it_waits_and_while_it_runs() -> None:
    bench = Bench()
    until(lambda: "ready" in bench.states())
    bench.engine.may_go_on.clear()
    bench.generate(1, count=4)
    until(lambda: len(bench.engine.requests) == 1)
    bench.generate(2)
    bench.worker.cancel_batch(bench.client, 2)
    assert bench.end_of(2).state is BatchPhase.CANCELLED
    bench.worker.cancel_batch(bench.client, 1)
    bench.engine.may_go_on.set()
    assert bench.end_of(1).state is BatchPhase.CANCELLED
    assert bench.made == []
    bench.generate(3)
    until(lambda: len(bench.made) == 1)
    assert bench.end_of(3).state is BatchPhase.DONE
    bench.worker.stop()


def test_batches_that_wait_run_in_the_order_that_is_wished() -> None:
    bench = Bench()
    until(lambda: "ready" in bench.states())
    bench.engine.may_go_on.clear()
    for batch_id in (1, 2, 3, 4):
        bench.generate(batch_id)
        until(lambda: len(bench.engine.requests) == 1)
    bench.worker.order_batches(bench.client, (4, 2, 99))
    bench.engine.may_go_on.set()
    for count in (1, 2, 3, 4):
        until(lambda count=count: len(bench.made) == count)
        bench.worker.made_sent(bench.client)
    assert [made.batch_id for made in bench.made] == [1, 4, 2, 3]
    bench.worker.stop()


def test_a_batch_that_cannot_be_says_why_and_the_next_one_runs() -> None:
    bench = Bench("bad")
    until(lambda: "ready" in bench.states())
    bench.generate(1, model="bad")
    bench.generate(2, mode=RenderMode.IMG2IMG)
    bench.generate(3)
    assert bench.end_of(1).sentence == "bad is damaged."
    assert "no picture to start from" in bench.end_of(2).sentence
    assert bench.end_of(3).state is BatchPhase.DONE
    bench.worker.stop()


def test_an_upscale_is_of_the_whole_canvas_and_needs_one() -> None:
    bench = Bench()
    until(lambda: "ready" in bench.states())
    wish = UpscaleParams(factor=3.0)
    bench.generate(1, upscale=wish)
    assert "no picture to start from" in bench.end_of(1).sentence
    for plane, format in ((CANVAS, PixelFormat.BGRA8), (MASK, PixelFormat.GRAY8)):
        bench.client.state.apply(
            SetPlane(revision=1, plane=plane, extent=Extent(30, 20), format=format)
        )
    layer = ControlLayer(id="a", kind="scribble", plane=MASK)
    bench.client.state.apply(SetControls(revision=2, controls=(layer,)))
    bench.generate(2, upscale=wish, mode=RenderMode.INPAINT)
    assert bench.end_of(2).state is BatchPhase.DONE
    request = bench.engine.requests[-1]
    assert request.upscale == wish
    assert request.params.mode is RenderMode.IMG2IMG
    assert request.extent == Extent(30, 20)
    assert request.canvas is not None
    assert request.mask is None
    assert request.controls == ()
    bench.worker.stop()


def test_an_upscale_without_room_for_its_picture_is_refused() -> None:
    budget = PlaneBudget(1_000_000)
    state = CanvasState(budget)
    state.apply(
        SetPlane(revision=1, plane=CANVAS, extent=Extent(100, 100), format=PixelFormat.BGRA8)
    )
    held = budget.held_bytes
    state.keep("small", RenderParams(), UpscaleParams(factor=2.0))
    assert budget.held_bytes == held + 40_000 + UPSCALED_BYTES * 40_000
    with pytest.raises(RejectedChange, match="no memory left"):
        state.keep("large", RenderParams(), UpscaleParams(factor=4.0))
    state.let_go("small")
    assert budget.held_bytes == held
    state.apply(
        SetPlane(revision=2, plane=CANVAS, extent=Extent(5000, 1), format=PixelFormat.BGRA8)
    )
    with pytest.raises(RejectedChange, match="20000 x 4 px"):
        state.keep("too long", RenderParams(), UpscaleParams(factor=4.0))


def test_more_batches_than_agreed_are_refused() -> None:
    bench = Bench()
    until(lambda: "ready" in bench.states())
    bench.engine.may_go_on.clear()
    for batch_id in range(1, 17):
        bench.generate(batch_id)
    with pytest.raises(RejectedChange, match="16 batches"):
        bench.generate(17)
    bench.worker.remove(bench.client)
    bench.engine.may_go_on.set()
    bench.worker.stop()


def test_what_is_being_made_is_shown_to_who_wants_to_see_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving_module, "_BATCH_TOLD_S", 0.0)
    bench = Bench()
    bench.generate(1, count=2, looks=True, num_inference_steps=3)
    bench.generate(2, num_inference_steps=3)
    for made in range(1, 4):
        until(lambda made=made: len(bench.made) == made)
        bench.worker.made_sent(bench.client)
    bench.end_of(2)
    shown = [(state.done, state.step, state.tiles[0].data[0])
             for state in bench.batch_states(1) if state.tiles]  # fmt: skip
    # The next picture begins with none of the last one's.
    assert shown == [(0, 1, 0), (0, 2, 1), (0, 3, 2), (1, 1, 0), (1, 2, 1), (1, 3, 2)]
    assert bench.batch_states(1)[-1].tiles == ()
    assert not any(state.tiles for state in bench.batch_states(2))
    bench.worker.stop()


def test_how_far_a_batch_is_and_how_long_it_takes_is_told() -> None:
    batch = Batch(id=1, snapshot=CanvasState().snapshot(), count=4)
    assert batch.state(BatchPhase.RUNNING).left_s == 0.0
    batch.step, batch.steps = 1, 4
    # A quarter of the first took 2 s: 8 s a picture, 32 in all.
    assert batch.state(BatchPhase.RUNNING, 2.0).left_s == 30.0
    batch.done, batch.spent_s, batch.step = 2, 20.0, 0
    assert batch.state(BatchPhase.RUNNING).left_s == 20.0
    assert batch.state(BatchPhase.DONE).left_s == 0.0
