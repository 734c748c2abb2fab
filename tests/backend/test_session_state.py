"""Mirror, mailbox and frames: state arrives whole, and differences reassemble exactly."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nijimi_backend.engine.request import Picture
from nijimi_backend.session.canvas_state import CanvasState
from nijimi_backend.session.frames import Finished, FrameMaker, changed_areas
from nijimi_backend.session.mailbox import Mailbox
from nijimi_protocol.errors import MalformedMessage
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import CANVAS, MASK, ModelEntry, SetParams, SetPlane, UpdateTiles
from nijimi_protocol.params import RenderParams
from nijimi_protocol.pixels import Encoding, PixelFormat, Tile, pack_tile
from nijimi_protocol.session import ClientSession, ServerSession
from PIL import Image

BGRA = PixelFormat.BGRA8


def _state(width: int = 100, height: int = 80) -> CanvasState:
    state = CanvasState()
    state.apply(SetPlane(revision=1, plane=CANVAS, extent=Extent(width, height), format=BGRA))
    return state


def _paint(revision: int, value: int, *, more: bool = False) -> UpdateTiles:
    area = Bounds(10, 20, 30, 40)
    tile = pack_tile(area, BGRA, bytes([value]) * (area.extent.pixels * 4), Encoding.ZLIB)
    return UpdateTiles(revision=revision, plane=CANVAS, tiles=(tile,), more=more)


def test_a_snapshot_is_a_copy_that_later_changes_leave_alone() -> None:
    state = _state()
    state.apply(_paint(2, 7))
    snapshot = state.snapshot()
    state.apply(_paint(3, 9))
    assert snapshot.canvas is not None
    assert (snapshot.canvas[20:60, 10:40] == 7).all()
    assert snapshot.canvas.sum() == 7 * 30 * 40 * 4
    assert snapshot.revision == 2
    assert state.snapshot().revision == 3


def test_the_version_changes_only_with_the_pixels() -> None:
    state = _state()
    state.apply(_paint(2, 7))
    first = state.snapshot()
    state.apply(_paint(3, 7))
    state.apply(SetParams(revision=4, params=RenderParams(seed=3)))
    second = state.snapshot()
    assert first.canvas_version == second.canvas_version
    assert first.canvas is second.canvas
    assert first.key != second.key


def test_two_clients_never_share_a_version() -> None:
    first, second = _state(), _state()
    first.apply(_paint(2, 7))
    second.apply(_paint(2, 9))
    assert first.snapshot().canvas_version != second.snapshot().canvas_version


def test_another_plane_may_stand_for_the_canvas_of_a_batch() -> None:
    state = _state()
    state.apply(_paint(2, 7))
    state.apply(SetPlane(revision=3, plane="animation", extent=Extent(50, 40), format=BGRA))
    tile = pack_tile(Bounds(0, 0, 50, 40), BGRA, b"\x05" * 8000, Encoding.RAW)
    state.apply(UpdateTiles(revision=4, plane="animation", tiles=(tile,)))
    params = RenderParams()
    kept, own = state.keep("one", params, plane="animation"), state.keep("other", params)
    assert kept.canvas is not None
    assert (kept.extent, kept.canvas.max(), kept.canvas.min()) == (Extent(50, 40), 5, 5)
    assert own.canvas is not None
    assert own.extent == Extent(100, 80)
    assert own.canvas.max() == 7
    assert kept.canvas_version != own.canvas_version
    # One that is not there gives nothing to begin with, and never the canvas in its place.
    gone = state.keep("third", params, plane="nothing")
    assert gone.canvas is None
    assert gone.request(full_quality=False) is None


def test_a_change_of_the_mask_changes_the_key() -> None:
    state = _state()
    before = state.snapshot().key
    extent = Extent(100, 80)
    state.apply(SetPlane(revision=2, plane=MASK, extent=extent, format=PixelFormat.GRAY8))
    assert state.snapshot().key != before


def test_a_change_that_goes_on_is_not_complete() -> None:
    state = _state()
    assert not state.apply(_paint(2, 7, more=True))
    assert state.apply(_paint(3, 8))


def _jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 100, 50)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_a_jpeg_tile_is_unpacked_and_one_of_another_size_refused() -> None:
    state = _state()
    area = Bounds(0, 0, 16, 16)
    tile = Tile(bounds=area, format=BGRA, encoding=Encoding.JPEG, data=_jpeg(16, 16))
    state.apply(UpdateTiles(revision=2, plane=CANVAS, tiles=(tile,)))
    canvas = state.snapshot().canvas
    assert canvas is not None
    assert np.abs(canvas[4, 4].astype(int) - [50, 100, 200, 255]).max() < 6
    huge = bytearray(_jpeg(16, 16))
    at = huge.index(b"\xff\xc0") + 5
    huge[at : at + 4] = b"\xff\xff\xff\xff"
    for data in (_jpeg(8, 8), b"no jpeg", bytes(huge)):
        bad = Tile(bounds=area, format=BGRA, encoding=Encoding.JPEG, data=data)
        with pytest.raises(MalformedMessage):
            state.apply(UpdateTiles(revision=3, plane=CANVAS, tiles=(bad,)))


def test_a_mailbox_keeps_the_newest_only() -> None:
    box: Mailbox[int] = Mailbox()
    assert box.take() is None
    box.put(1)
    box.put(2)
    box.put_if_empty(3)
    assert box.take() == 2
    assert box.take() is None
    assert box.replaced == 1


Pixels = npt.NDArray[np.uint8]


def _picture(pixels: Pixels, revision: int = 1) -> Finished:
    height, width = pixels.shape[:2]
    picture = Picture(
        pixels=pixels,
        area=Bounds(0, 0, width, height),
        seed=1,
        num_inference_steps=2,
        model_ms=1.0,
    )
    return Finished(picture=picture, revision=revision, final=False, timings_ms={"queue": 1.0})


@given(st.integers(1, 150), st.integers(1, 150), st.data())
@settings(max_examples=60)
def test_changed_areas_cover_every_changed_pixel(
    width: int, height: int, data: st.DataObject
) -> None:
    before = np.zeros((height, width, 4), dtype=np.uint8)
    after = before.copy()
    for _ in range(data.draw(st.integers(0, 4))):
        after[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1)), 1] = 9
    patched = before.copy()
    for area in changed_areas(before, after):
        rows, columns = slice(area.y, area.bottom), slice(area.x, area.right)
        assert (before[rows, columns] != after[rows, columns]).any()
        patched[rows, columns] = after[rows, columns]
    assert np.array_equal(patched, after)


@pytest.mark.parametrize("encodings", [(Encoding.RAW,), (Encoding.ZLIB,)])
def test_frames_reassemble_at_the_client(encodings: tuple[Encoding, ...]) -> None:
    models = (ModelEntry(name="a", title="A", family="sd1", native_px=64),)
    client = ClientSession(token="t", client="test", encodings=encodings)
    server = ServerSession(token="t", device="cpu", models=models)
    server.receive(client.hello())
    client.receive(server.welcome())
    server.receive(client.set_params(SetParams(revision=0, params=RenderParams())))
    maker, rng = FrameMaker(), np.random.default_rng(1)
    pixels = rng.integers(0, 255, (130, 200, 4), dtype=np.uint8)
    for n in range(6):
        if n == 4:
            pixels = rng.integers(0, 255, (64, 64, 4), dtype=np.uint8)
        pixels = pixels.copy()
        pixels[5 * n : 5 * n + 3, 7 * n] = n
        frame = maker.make(_picture(pixels), server.encodings)
        client.receive(server.send_frame(frame))
        ack = 0 if n == 2 else frame.frame_id
        server.receive(client.ack(ack))
        maker.acknowledged(ack)
        assert (frame.base_frame_id == 0) == (n in (0, 3, 4))
        assert bytes(client.picture[0]) == pixels.tobytes()


def test_an_unchanged_picture_costs_no_tile_but_carries_its_revision() -> None:
    maker = FrameMaker()
    pixels = np.zeros((64, 64, 4), dtype=np.uint8)
    first = maker.make(_picture(pixels), (Encoding.RAW,))
    maker.acknowledged(first.frame_id)
    second = maker.make(_picture(pixels.copy(), revision=2), (Encoding.RAW,))
    assert second.tiles == ()
    assert second.revision == 2
