"""The server in this process: a client that left is held by nothing, whatever ran for it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.server import NijimiServer
from nijimi_backend.session.worker import Worker
from nijimi_protocol.geometry import Extent
from nijimi_protocol.messages import CANVAS, SetParams, Welcome
from nijimi_protocol.params import RenderParams
from nijimi_protocol.pixels import PixelFormat
from nijimi_protocol.session import ClientSession
from nijimi_protocol.version import SUBPROTOCOL
from websockets.asyncio.client import connect

from tests.support.paints_alone import PaintsAlone


@dataclass(frozen=True)
class _Model:
    name: str = "slow"


class _SlowEngine(PaintsAlone):
    """Renders when it may, whether or not anybody still waits for the picture."""

    device = "test"
    model = _Model()

    def __init__(self) -> None:
        self.started, self.may_end = threading.Event(), threading.Event()
        self.made: weakref.ref[object] | None = None

    def render(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Picture:
        self.started.set()
        assert self.may_end.wait(10)
        pixels = np.zeros((64, 64, 4), dtype=np.uint8)
        self.made = weakref.ref(pixels)
        return Picture(pixels=pixels, area=request.extent.bounds, seed=0,
                       num_inference_steps=1, model_ms=1.0)  # fmt: skip


async def _until(predicate: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not predicate():
            await asyncio.sleep(0.005)


async def _leave_mid_frame(engine: _SlowEngine, *, rudely: bool) -> None:
    worker = Worker(lambda _name, _progress: engine)
    worker.start()
    server = NijimiServer(worker, token="t", models=tuple)
    await server.start()
    async with connect(
        f"ws://127.0.0.1:{server.port}/nijimi",
        subprotocols=[SUBPROTOCOL],  # pyright: ignore[reportArgumentType]
        max_size=None,
    ) as socket:  # fmt: skip
        session = ClientSession(token="t", client="test")
        await socket.send(session.hello())
        while True:
            data = await socket.recv()
            assert isinstance(data, bytes)
            if isinstance(session.receive(data), Welcome):
                break
        await socket.send(session.set_plane(CANVAS, Extent(64, 64), PixelFormat.BGRA8))
        params = RenderParams(live=True, refine=False)
        await socket.send(session.set_params(SetParams(revision=0, params=params)))
        await _until(engine.started.is_set)
        if rudely:
            socket.transport.abort()
    await _until(lambda: not server._connections)  # pyright: ignore[reportPrivateUsage]
    engine.may_end.set()
    await _until(lambda: engine.made is not None)
    await _until(lambda: engine.made is not None and engine.made() is None)
    await server.close()
    worker.stop()


@pytest.mark.parametrize("rudely", [False, True])
def test_the_picture_of_a_client_that_left_is_held_by_nothing(rudely: bool) -> None:
    gc.disable()
    try:
        asyncio.run(_leave_mid_frame(_SlowEngine(), rudely=rudely))
    finally:
        gc.enable()
