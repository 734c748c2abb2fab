"""What a backend says of a flow's batches, and what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nijimi_protocol.messages import (
    BatchPhase,
    BatchPicture,
    BatchState,
    Generate,
)
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile

from .flow_world import SIZE, World

__all__ = ["ask_for_batch", "asked_batches", "hear", "make_picture", "tell"]


def asked_batches(world: World) -> list[Generate]:
    return world.sent(Generate)


def hear(world: World, message: BatchState | BatchPicture) -> None:
    """What the backend says reaches the flow."""
    session, server = world.link.session, world.link.server
    assert session is not None
    assert server is not None
    world.link.received.emit(session.receive(server.send(message)))


def tell(world: World, batch_id: int, state: BatchPhase, **values: Any) -> None:
    hear(world, BatchState(batch_id=batch_id, state=state, **values))


def make_picture(world: World, batch_id: int, index: int, value: int = 0) -> None:
    pixels = bytes([value, value, value, 255]) * SIZE.pixels
    part = BatchPicture(
        batch_id=batch_id, index=index, extent=SIZE, area=SIZE.bounds, seed=0, sampler="lcm",
        tiles=(pack_tile(SIZE.bounds, PixelFormat.BGRA8, pixels, Encoding.RAW),),
    )  # fmt: skip
    hear(world, part)


def ask_for_batch(world: World, wait: Callable[..., None]) -> int:
    before = len(asked_batches(world))
    world.flow.generate()
    wait(lambda: len(asked_batches(world)) > before, 3)
    return asked_batches(world)[-1].batch_id
