"""Batches in a session: asked for, told of, and assembled from parts; what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nijimi_protocol.codec import encode
from nijimi_protocol.errors import (
    LocalProtocolError,
    OutOfOrder,
    RejectedChange,
    RemoteProtocolError,
)
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import CANVAS, BatchPhase, BatchPicture, BatchState, Generate
from nijimi_protocol.params import RenderParams
from nijimi_protocol.pixels import PixelFormat
from nijimi_protocol.session import SessionState
from nijimi_protocol.upscale import UpscaleParams

from .pairs import make_pair, plain_tile


def _bands(batch_id: int, index: int = 0) -> list[BatchPicture]:
    """A picture of 8 x 8 in two parts."""
    extent = Extent(8, 8)
    return [
        BatchPicture(
            batch_id=batch_id, index=index, extent=extent, area=extent.bounds, seed=1,
            tiles=(plain_tile(Bounds(0, y, 8, 4), 1 + y),), more=y == 0,
        )
        for y in (0, 4)
    ]  # fmt: skip


def test_a_picture_of_a_batch_is_assembled_from_its_parts_once() -> None:
    client, server = make_pair()
    batch_id, data = client.generate(RenderParams(prompt="sea", seed=7), 2)
    asked = server.receive(data)
    assert asked == Generate(batch_id=batch_id, count=2, params=RenderParams(prompt="sea", seed=7))
    first, second = _bands(batch_id)
    client.receive(server.send(first))
    with pytest.raises(LocalProtocolError):
        client.take_made()
    client.receive(server.send(second))
    assert client.take_made() == bytes([1] * 128 + [5] * 128)
    with pytest.raises(LocalProtocolError):
        client.take_made()


@pytest.mark.parametrize(
    "parts",
    [
        _bands(2)[:1],
        _bands(1, index=2)[:1],
        [replace(_bands(1)[0], more=False)],
        [_bands(1)[0], _bands(1)[0]],
        [_bands(1)[0], replace(_bands(1)[1], more=True)],
        [replace(_bands(1)[0], extent=Extent(0, 8))],
        [replace(_bands(1)[0], extent=Extent(2**30, 2**30))],
        [replace(_bands(1)[0], extent=Extent(4, 4))],
    ],
    ids=["never asked", "too many", "too few tiles", "twice", "ends twice", "no size", "too large",
         "beside it"],
)  # fmt: skip
def test_a_picture_of_a_batch_that_cannot_be_is_refused(parts: list[BatchPicture]) -> None:
    client, _ = make_pair()
    client.generate(RenderParams(), 2)
    for part in parts[:-1]:
        client.receive(encode(part))
    with pytest.raises(RemoteProtocolError):
        client.receive(encode(parts[-1]))
    assert client.state is SessionState.CLOSED


def test_nothing_comes_of_a_batch_that_is_over() -> None:
    client, server = make_pair()
    batch_id, _ = client.generate(RenderParams(), 1)
    client.receive(server.send(BatchState(batch_id=batch_id, state=BatchPhase.CANCELLED)))
    with pytest.raises(OutOfOrder):
        client.receive(server.send(_bands(batch_id)[0]))


@pytest.mark.parametrize("count", [0, 17])
def test_a_batch_of_no_or_too_many_pictures_is_not_asked_for(count: int) -> None:
    client, _ = make_pair()
    with pytest.raises(LocalProtocolError):
        client.generate(RenderParams(), count)


def test_how_much_larger_a_picture_is_to_become_travels_along() -> None:
    client, server = make_pair()
    wish = UpscaleParams(factor=2.5, model="four", strength=0.25)
    _, data = client.generate(RenderParams(), 1, wish)
    asked = server.receive(data)
    assert isinstance(asked, Generate)
    assert asked.upscale == wish
    assert wish.extent(Extent(101, 50)) == Extent(252, 125)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (UpscaleParams(factor=0.9), "factor of the upscale is 0.9; it must be from 1 to 4"),
        (UpscaleParams(factor=float("nan")), "factor of the upscale is nan"),
        (UpscaleParams(strength=1.5), "strength of the upscale is 1.5"),
        (UpscaleParams(model="x" * 300), "name is too long"),
        (UpscaleParams(factor=4.0), "would have 20000 x 4000 px; at most 16384 px"),
    ],
)
def test_an_upscale_that_cannot_be_is_refused_before_it_is_asked_for(
    wish: UpscaleParams, words: str
) -> None:
    client, _ = make_pair()
    client.set_plane(CANVAS, Extent(5000, 1000), PixelFormat.BGRA8)
    with pytest.raises(RejectedChange, match=words):
        client.generate(RenderParams(), 1, wish)


def test_the_numbers_of_batches_rise() -> None:
    client, server = make_pair()
    _, data = client.generate(RenderParams(), 1)
    server.receive(data)
    with pytest.raises(OutOfOrder):
        server.receive(data)
