"""A worker with an engine that does as it is told, and a client that remembers what it hears."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.errors import ModelCorrupt, RenderCancelled
from nijimi_backend.session.frames import Finished, Made
from nijimi_backend.session.jobs import RenderClient, Told
from nijimi_backend.session.worker import Worker
from nijimi_protocol.messages import (
    BatchState,
    ErrorReport,
    Generate,
    SetParams,
    Status,
)
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams

from tests.support.paints_alone import PaintsAlone


@dataclass(frozen=True)
class Model:
    name: str


class Engine(PaintsAlone):
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
        self.tensors = 0
        """So many looks at a file does loading take, each when ``may_read_on`` lets it."""
        self.may_read_on = threading.Semaphore(0)
        self.worker = Worker(self._open, default)
        self.made: list[Made] = []
        self.client = RenderClient(
            self.finished.append, self.told.append, deliver_made=self.made.append
        )
        self._revision = 0
        self.worker.add(self.client)
        self.worker.start()

    def _open(self, name: str, progress: Callable[[str, int, int], None]) -> Engine:
        self.opened.append(name)
        for n in range(self.tensors):
            assert self.may_read_on.acquire(timeout=10)
            progress("UNet", n // 2, self.tensors)
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
        until(lambda: any(state.state.is_over for state in self.batch_states(batch_id)))
        return self.batch_states(batch_id)[-1]

    def errors(self) -> list[str]:
        return [event.sentence for event in self.told if isinstance(event, ErrorReport)]

    def states(self) -> list[str]:
        return [event.state for event in self.told if isinstance(event, Status)]


def until(predicate: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not predicate():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
