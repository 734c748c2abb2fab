"""The worker's thread: a model that cannot be loaded is told, left alone, and tried again."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.errors import ModelCorrupt, RenderCancelled
from nijimi_backend.session import batches, refusals
from nijimi_backend.session import worker as worker_module
from nijimi_backend.session.batches import Batch
from nijimi_backend.session.budget import PlaneBudget
from nijimi_backend.session.canvas_state import UPSCALED_BYTES, CanvasState
from nijimi_backend.session.frames import Finished, Made
from nijimi_backend.session.jobs import RenderClient, Told
from nijimi_backend.session.refusals import RETRY_S, Refusals
from nijimi_backend.session.worker import Worker
from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.geometry import Extent
from nijimi_protocol.messages import (
    CANVAS,
    MASK,
    BatchPhase,
    BatchState,
    ControlLayer,
    ErrorReport,
    Generate,
    SetControls,
    SetParams,
    SetPlane,
    Status,
)
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.pixels import PixelFormat
from nijimi_protocol.upscale import UpscaleParams


@dataclass(frozen=True)
class Model:
    name: str


class Engine:
    device = "test"

    def __init__(self, name: str) -> None:
        self.model = Model(name)
        self.requests: list[FrameRequest] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def render(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Picture:
        self.requests.append(request)
        steps = request.params.num_inference_steps
        for step in range(steps):
            self.may_go_on.wait(10)
            if should_stop():
                raise RenderCancelled
            if request.on_look is not None:
                request.on_look(np.full((4, 8, 4), step, dtype=np.uint8))
            on_step(step + 1, steps)
        return Picture(
            pixels=np.zeros((8, 8, 4), dtype=np.uint8),
            area=request.extent.bounds,
            seed=request.params.seed,
            num_inference_steps=1,
            model_ms=1.0,
            timings_ms={},
        )


class Bench:
    """A worker with models of which some are broken, and one client of it."""

    def __init__(self, *broken: str, default: str = "good") -> None:
        self.broken = set(broken)
        self.opened: list[str] = []
        self.finished: list[Finished] = []
        self.told: list[Told] = []
        self.worker = Worker(self._open, default)
        self.made: list[Made] = []
        self.client = RenderClient(
            self.finished.append, self.told.append, deliver_made=self.made.append
        )
        self._revision = 0
        self.worker.add(self.client)
        self.worker.start()

    def _open(self, name: str, _progress: Callable[[str, int, int], None]) -> Engine:
        self.opened.append(name)
        if name in self.broken:
            raise ModelCorrupt(f"{name} is damaged.", "Copy it again.")
        self.engine = Engine(name)
        return self.engine

    def want(self, model: str) -> None:
        self._revision += 1
        params = RenderParams(
            model=model, mode=RenderMode.TXT2IMG, live=True, seed=self._revision, refine=False
        )
        assert self.client.state.apply(SetParams(revision=self._revision, params=params))
        self.worker.changed(self.client)

    def generate(
        self,
        batch_id: int,
        count: int = 1,
        upscale: UpscaleParams | None = None,
        looks: bool = False,
        **params: object,
    ) -> None:
        wish = RenderParams(**{"mode": RenderMode.TXT2IMG, **params})  # type: ignore[arg-type]
        message = Generate(batch_id=batch_id, count=count, params=wish, upscale=upscale,
                           looks=looks)  # fmt: skip
        self.worker.generate(self.client, message)

    def batch_states(self, batch_id: int) -> list[BatchState]:
        return [
            event
            for event in tuple(self.told)
            if isinstance(event, BatchState) and event.batch_id == batch_id
        ]

    def end_of(self, batch_id: int) -> BatchState:
        _until(lambda: any(state.state.is_over for state in self.batch_states(batch_id)))
        return self.batch_states(batch_id)[-1]

    def errors(self) -> list[str]:
        return [event.sentence for event in self.told if isinstance(event, ErrorReport)]

    def states(self) -> list[str]:
        return [event.state for event in self.told if isinstance(event, Status)]


def _until(predicate: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not predicate():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


@pytest.fixture
def quick_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "RETRY_S", 0.2)


def test_two_broken_models_are_each_loaded_once_and_each_told() -> None:
    bench = Bench("bad", "worse")
    _until(lambda: "ready" in bench.states())
    for name in ("bad", "worse", "bad", "worse"):
        told = len(bench.errors())
        bench.want(name)
        _until(lambda told=told: len(bench.errors()) > told)
    assert bench.opened == ["good", "bad", "worse"]
    assert bench.errors() == ["bad is damaged.", "worse is damaged."] * 2
    bench.want("good")
    _until(lambda: len(bench.finished) == 1)
    bench.worker.stop()


@pytest.mark.usefixtures("quick_retry")
def test_a_mended_model_is_loaded_at_a_later_change() -> None:
    bench = Bench("bad")
    bench.want("bad")
    _until(lambda: len(bench.errors()) == 1)
    bench.broken.clear()
    time.sleep(0.25)
    bench.want("bad")
    _until(lambda: len(bench.finished) == 1)
    assert bench.opened == ["good", "bad", "bad"]
    bench.worker.stop()


@pytest.mark.usefixtures("quick_retry")
def test_without_any_model_the_backend_waits_and_tries_the_mended_one() -> None:
    bench = Bench("good")
    _until(lambda: "failed" in bench.states())
    bench.broken.clear()
    time.sleep(0.25)
    assert bench.opened == ["good"], "it tried again although nobody asked"
    bench.want("")
    _until(lambda: len(bench.finished) == 1)
    bench.worker.stop()


def test_a_worker_that_waits_for_work_ends_at_once() -> None:
    for _ in range(20):
        bench = Bench()
        _until(lambda bench=bench: "ready" in bench.states())
        started = time.monotonic()
        bench.worker.stop()
        assert time.monotonic() - started < 1.0
        assert not bench.worker._thread.is_alive()


def test_a_refusal_is_remembered_for_a_while() -> None:
    known = Refusals()
    report = ErrorReport(code="model_corrupt", sentence="Broken.", action="Mend it.")
    assert known.may_try("a", 0.0)
    known.note("a", report, 10.0)
    assert not known.may_try("a", 10.0 + RETRY_S - 0.1)
    assert known.may_try("a", 10.0 + RETRY_S)
    assert known.report("a") == report
    assert known.may_try("b", 10.0)
    known.forget("a")
    assert known.report("a") is None


def test_a_batch_has_a_seed_for_each_picture_and_waits_until_one_is_sent() -> None:
    bench = Bench()
    bench.generate(1, count=3, seed=2**32 - 2, num_inference_steps=2)
    _until(lambda: len(bench.made) == 1)
    time.sleep(0.05)
    assert len(bench.made) == 1, "the next one was made before the last was sent"
    for count in (2, 3):
        bench.worker.made_sent(bench.client)
        _until(lambda count=count: len(bench.made) == count)
    assert bench.end_of(1).done == 3
    assert [made.picture.seed for made in bench.made] == [2**32 - 2, 2**32 - 1, 0]
    assert [made.index for made in bench.made] == [0, 1, 2]
    assert all(request.exact for request in bench.engine.requests)
    bench.worker.stop()


def test_live_goes_before_a_batch_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PATIENCE_S", 0.3)
    bench = Bench()
    _until(lambda: "ready" in bench.states())
    bench.engine.may_go_on.clear()
    bench.want("")
    _until(lambda: len(bench.engine.requests) == 1)
    bench.generate(1)
    bench.want("")
    bench.engine.may_go_on.set()
    _until(lambda: len(bench.made) == 1)
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
    _until(lambda: "ready" in bench.states())
    bench.engine.may_go_on.clear()
    bench.generate(1, count=4)
    _until(lambda: len(bench.engine.requests) == 1)
    bench.generate(2)
    bench.worker.cancel_batch(bench.client, 2)
    assert bench.end_of(2).state is BatchPhase.CANCELLED
    bench.worker.cancel_batch(bench.client, 1)
    bench.engine.may_go_on.set()
    assert bench.end_of(1).state is BatchPhase.CANCELLED
    assert bench.made == []
    bench.generate(3)
    _until(lambda: len(bench.made) == 1)
    assert bench.end_of(3).state is BatchPhase.DONE
    bench.worker.stop()


def test_batches_that_wait_run_in_the_order_that_is_wished() -> None:
    bench = Bench()
    _until(lambda: "ready" in bench.states())
    bench.engine.may_go_on.clear()
    for batch_id in (1, 2, 3, 4):
        bench.generate(batch_id)
        _until(lambda: len(bench.engine.requests) == 1)
    bench.worker.order_batches(bench.client, (4, 2, 99))
    bench.engine.may_go_on.set()
    for count in (1, 2, 3, 4):
        _until(lambda count=count: len(bench.made) == count)
        bench.worker.made_sent(bench.client)
    assert [made.batch_id for made in bench.made] == [1, 4, 2, 3]
    bench.worker.stop()


def test_a_batch_that_cannot_be_says_why_and_the_next_one_runs() -> None:
    bench = Bench("bad")
    _until(lambda: "ready" in bench.states())
    bench.generate(1, model="bad")
    bench.generate(2, mode=RenderMode.IMG2IMG)
    bench.generate(3)
    assert bench.end_of(1).sentence == "bad is damaged."
    assert "no picture to start from" in bench.end_of(2).sentence
    assert bench.end_of(3).state is BatchPhase.DONE
    bench.worker.stop()


def test_an_upscale_is_of_the_whole_canvas_and_needs_one() -> None:
    bench = Bench()
    _until(lambda: "ready" in bench.states())
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
    _until(lambda: "ready" in bench.states())
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
    monkeypatch.setattr(worker_module, "_BATCH_TOLD_S", 0.0)
    bench = Bench()
    bench.generate(1, count=2, looks=True, num_inference_steps=3)
    bench.generate(2, num_inference_steps=3)
    for made in range(1, 4):
        _until(lambda made=made: len(bench.made) == made)
        bench.worker.made_sent(bench.client)
    bench.end_of(2)
    shown = [(state.done, state.step, state.tiles[0].data[0])
             for state in bench.batch_states(1) if state.tiles]  # fmt: skip
    # The next picture begins with none of the last one's.
    assert shown == [(0, 1, 0), (0, 2, 1), (0, 3, 2), (1, 1, 0), (1, 2, 1), (1, 3, 2)]
    assert bench.batch_states(1)[-1].tiles == ()
    assert not any(state.tiles for state in bench.batch_states(2))
    bench.worker.stop()


def test_a_client_that_left_mid_frame_is_held_by_nothing() -> None:
    bench = Bench()
    _until(lambda: "ready" in bench.states())
    bench.engine.may_go_on.clear()
    bench.client.state.apply(
        SetPlane(revision=1, plane=CANVAS, extent=Extent(64, 64), format=PixelFormat.BGRA8)
    )
    params = RenderParams(mode=RenderMode.IMG2IMG, live=True, refine=False)
    assert bench.client.state.apply(SetParams(revision=2, params=params))
    gc.disable()
    try:
        bench.worker.changed(bench.client)
        _until(lambda: bool(bench.engine.requests))
        canvas = bench.engine.requests.pop().canvas
        assert canvas is not None
        left = weakref.ref(canvas)
        del canvas
        assert left() is not None, "it is being rendered"
        bench.worker.remove(bench.client)
        bench.engine.may_go_on.set()
        _until(lambda: left() is None)
    finally:
        gc.enable()
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
