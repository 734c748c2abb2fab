"""The worker's thread: a model that cannot be loaded is told, left alone, and tried again."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import gc
import time
import weakref

import pytest
from nijimi_backend.session import refusals, worker
from nijimi_backend.session.refusals import RETRY_S, Refusals
from nijimi_protocol.geometry import Extent
from nijimi_protocol.messages import (
    CANVAS,
    ErrorReport,
    SetParams,
    SetPlane,
)
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.pixels import PixelFormat

from tests.support.worker_bench import Bench, until


@pytest.fixture
def quick_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "RETRY_S", 0.2)


def test_two_broken_models_are_each_loaded_once_and_each_told() -> None:
    bench = Bench("bad", "worse")
    until(lambda: "ready" in bench.states())
    for name in ("bad", "worse", "bad", "worse"):
        told = len(bench.errors())
        bench.want(name)
        until(lambda told=told: len(bench.errors()) > told)
    assert bench.opened == ["good", "bad", "worse"]
    assert bench.errors() == ["bad is damaged.", "worse is damaged."] * 2
    bench.want("good")
    until(lambda: len(bench.finished) == 1)
    bench.worker.stop()


@pytest.mark.usefixtures("quick_retry")
def test_a_mended_model_is_loaded_at_a_later_change() -> None:
    bench = Bench("bad")
    bench.want("bad")
    until(lambda: len(bench.errors()) == 1)
    bench.broken.clear()
    time.sleep(0.25)
    bench.want("bad")
    until(lambda: len(bench.finished) == 1)
    assert bench.opened == ["good", "bad", "bad"]
    bench.worker.stop()


@pytest.mark.usefixtures("quick_retry")
def test_without_any_model_the_backend_waits_and_tries_the_mended_one() -> None:
    bench = Bench("good")
    until(lambda: "failed" in bench.states())
    bench.broken.clear()
    time.sleep(0.25)
    assert bench.opened == ["good"], "it tried again although nobody asked"
    bench.want("")
    until(lambda: len(bench.finished) == 1)
    bench.worker.stop()


def test_a_worker_that_waits_for_work_ends_at_once() -> None:
    for _ in range(20):
        bench = Bench()
        until(lambda bench=bench: "ready" in bench.states())
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


def test_a_client_that_left_mid_frame_is_held_by_nothing() -> None:
    bench = Bench()
    until(lambda: "ready" in bench.states())
    bench.engine.may_go_on.clear()
    bench.client.state.apply(
        SetPlane(revision=1, plane=CANVAS, extent=Extent(64, 64), format=PixelFormat.BGRA8)
    )
    params = RenderParams(mode=RenderMode.IMG2IMG, live=True, refine=False)
    assert bench.client.state.apply(SetParams(revision=2, params=params))
    gc.disable()
    try:
        bench.worker.changed(bench.client)
        until(lambda: bool(bench.engine.requests))
        canvas = bench.engine.requests.pop().canvas
        assert canvas is not None
        left = weakref.ref(canvas)
        del canvas
        assert left() is not None, "it is being rendered"
        bench.worker.remove(bench.client)
        bench.engine.may_go_on.set()
        until(lambda: left() is None)
    finally:
        gc.enable()
    bench.worker.stop()


def test_memory_goes_back_once_when_nobody_paints_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr(worker, "give_memory_back", lambda: given.append(time.monotonic()))
    monkeypatch.setattr(worker, "MEMORY_REST_S", 0.2)
    bench = Bench()
    for made in (1, 2):
        bench.want("good")
        until(lambda made=made: len(bench.finished) == made)
        finished_s = time.monotonic()
        until(lambda made=made: len(given) == made)
        assert given[-1] - finished_s > 0.1
        time.sleep(0.5)
        assert len(given) == made
    bench.worker.stop()
