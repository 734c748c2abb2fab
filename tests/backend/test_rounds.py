"""Clients whose pictures may be made together: each gets its turn, alone where it must be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np
import pytest
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.errors import ModelMissing, RenderCancelled
from nijimi_backend.session.frames import Finished
from nijimi_backend.session.jobs import CompanyLike, RenderClient, Told
from nijimi_backend.session.rounds import MOST_TOGETHER
from nijimi_backend.session.worker import Worker
from nijimi_protocol.messages import ErrorReport, SetParams
from nijimi_protocol.params import RenderMode, RenderParams

from tests.support.worker_bench import Model, until

ALONE = "by itself"
STEPS = 4


def _picture(request: FrameRequest) -> Picture:
    return Picture(
        pixels=np.zeros((8, 8, 4), dtype=np.uint8),
        area=request.extent.bounds,
        seed=request.params.seed,
        num_inference_steps=STEPS,
        model_ms=1.0,
    )


@dataclass
class _Row:
    request: FrameRequest
    should_stop: Callable[[], bool]
    done: int = 0


@dataclass
class _Company:
    """One step of all takes as long as one step of one."""

    log: list[int]
    fault: Callable[[FrameRequest], Exception | None]
    rows: dict[Hashable, _Row] = field(default_factory=dict[Hashable, _Row])

    def add(
        self,
        who: Hashable,
        request: FrameRequest,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> None:
        self.rows[who] = _Row(request, should_stop)

    def advance(self) -> list[tuple[Hashable, Picture | Exception | None]]:
        time.sleep(0.002)
        self.log.append(len(self.rows))
        ended: list[tuple[Hashable, Picture | Exception | None]] = []
        for who, row in list(self.rows.items()):
            row.done += 1
            fault = self.fault(row.request)
            if row.should_stop():
                ended.append((who, RenderCancelled()))
            elif fault is not None:
                ended.append((who, None if isinstance(fault, MemoryError) else fault))
            elif row.done == STEPS:
                ended.append((who, _picture(row.request)))
            else:
                continue
            del self.rows[who]
        return ended


class _Engine:
    device = "test"
    model = Model("good")

    def __init__(self) -> None:
        self.together: list[int] = []
        self.alone: list[str] = []
        self.fault: Callable[[FrameRequest], Exception | None] = lambda request: None

    def render(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Picture:
        self.alone.append(request.params.prompt)
        time.sleep(0.002 * STEPS)
        return _picture(request)

    def joins(self, request: FrameRequest) -> Hashable | None:
        return None if request.params.prompt == ALONE else "plain"

    def company(self) -> CompanyLike:
        return _Company(self.together, self.fault)


class _Painter:
    """A client that changes its words as soon as it has seen a picture of them."""

    def __init__(self, worker: Worker, prompt: str) -> None:
        self.worker, self.prompt = worker, prompt
        self.finished: list[Finished] = []
        self.told: list[Told] = []
        self.revision = 0
        self.paints = True
        self.client = RenderClient(self._seen, self.told.append)
        worker.add(self.client)

    def change(self) -> None:
        self.revision += 1
        params = RenderParams(
            mode=RenderMode.TXT2IMG, live=True, seed=self.revision, refine=False, prompt=self.prompt
        )
        assert self.client.state.apply(SetParams(revision=self.revision, params=params))
        self.worker.changed(self.client)

    def _seen(self, finished: Finished) -> None:
        self.finished.append(finished)
        if self.paints:
            # As a message from a socket, not within the worker's own call.
            threading.Thread(target=self.change, daemon=True).start()

    @property
    def errors(self) -> list[str]:
        return [each.sentence for each in self.told if isinstance(each, ErrorReport)]


@pytest.fixture
def engine() -> _Engine:
    return _Engine()


@pytest.fixture
def worker(engine: _Engine) -> Worker:
    worker = Worker(lambda _name, _progress: engine, "good")
    worker.start()
    until(lambda: worker.status.state == "ready")
    return worker


def _paint(painters: list[_Painter], seconds: float) -> list[int]:
    """How many pictures each got."""
    for painter in painters:
        painter.change()
    time.sleep(seconds)
    for painter in painters:
        painter.paints = False
    return [len(painter.finished) for painter in painters]


def test_eight_clients_share_every_step_fairly(worker: Worker, engine: _Engine) -> None:
    painters = [_Painter(worker, f"client {n}") for n in range(MOST_TOGETHER)]
    counts = _paint(painters, 2.0)
    worker.stop()
    assert min(counts) >= 20
    mean = sum(counts) / len(counts)
    assert max(abs(count - mean) for count in counts) <= max(0.1 * mean, 1.0), counts
    assert not engine.alone
    assert max(engine.together) == MOST_TOGETHER
    steps = sum(counts) * STEPS
    assert len(engine.together) < steps / 3, "as if each had been alone"


def test_more_than_fit_take_turns(worker: Worker, engine: _Engine) -> None:
    painters = [_Painter(worker, f"client {n}") for n in range(MOST_TOGETHER + 4)]
    counts = _paint(painters, 2.0)
    worker.stop()
    assert max(engine.together) == MOST_TOGETHER
    mean = sum(counts) / len(counts)
    assert max(abs(count - mean) for count in counts) <= max(0.15 * mean, 1.5), counts


def test_who_must_be_served_alone_is_not_overtaken_for_ever(
    worker: Worker, engine: _Engine
) -> None:
    painters = [_Painter(worker, f"client {n}") for n in range(4)]
    special = _Painter(worker, ALONE)
    counts = _paint([*painters, special], 2.0)
    worker.stop()
    assert set(engine.alone) == {ALONE}
    # One picture of its own for each round of the others, which are alike among themselves.
    assert counts[-1] >= 0.5 * min(counts[:-1]), counts
    mean = sum(counts[:-1]) / 4
    assert max(abs(count - mean) for count in counts[:-1]) <= max(0.15 * mean, 1.5), counts


def test_a_picture_without_room_is_made_alone_and_a_fault_is_told_to_its_client(
    worker: Worker, engine: _Engine
) -> None:
    def fault(request: FrameRequest) -> Exception | None:
        return {
            "large": MemoryError(),
            "lost": ModelMissing("There is no such file.", "Choose another one."),
        }.get(request.params.prompt)

    engine.fault = fault
    painters = [_Painter(worker, prompt) for prompt in ("large", "lost", "plain")]
    for painter in painters:
        painter.paints = False
        painter.change()
    large, lost, plain = painters
    until(lambda: bool(large.finished and lost.errors and plain.finished))
    worker.stop()
    assert set(engine.alone) == {"large"}
    assert lost.errors == ["There is no such file."]
    assert not lost.finished
    assert not large.errors
    assert not plain.errors


def test_who_leaves_on_the_way_ends_nobody_elses_picture(worker: Worker, engine: _Engine) -> None:
    stays, leaves = _Painter(worker, "stays"), _Painter(worker, "leaves")
    counts = _paint([stays, leaves], 0.1)
    worker.remove(leaves.client)
    stays.paints = True
    stays.change()
    until(lambda: len(stays.finished) > counts[0] + 3)
    worker.stop()
    assert not stays.errors
