"""The worker's thread: a model that cannot be loaded is told, left alone, and tried again."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.errors import ModelCorrupt
from nijimi_backend.session import refusals
from nijimi_backend.session.frames import Finished
from nijimi_backend.session.refusals import RETRY_S, Refusals
from nijimi_backend.session.worker import RenderClient, Worker
from nijimi_protocol.messages import ErrorReport, Progress, SetParams, Status
from nijimi_protocol.params import RenderMode, RenderParams


@dataclass(frozen=True)
class Model:
    name: str


class Engine:
    device = "test"

    def __init__(self, name: str) -> None:
        self.model = Model(name)

    def render(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Picture:
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
        self.told: list[Status | Progress | ErrorReport] = []
        self.worker = Worker(self._open, default)
        self.client = RenderClient(self.finished.append, self.told.append)
        self._revision = 0
        self.worker.add(self.client)
        self.worker.start()

    def _open(self, name: str, _progress: Callable[[str, int, int], None]) -> Engine:
        self.opened.append(name)
        if name in self.broken:
            raise ModelCorrupt(f"{name} is damaged.", "Copy it again.")
        return Engine(name)

    def want(self, model: str) -> None:
        self._revision += 1
        params = RenderParams(
            model=model, mode=RenderMode.TXT2IMG, live=True, seed=self._revision, refine=False
        )
        assert self.client.state.apply(SetParams(revision=self._revision, params=params))
        self.worker.changed(self.client)

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
