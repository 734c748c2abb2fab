"""Both ends in any order of moves that a painter and a backend can make, messages on their way
included: they never disagree, and never refuse each other."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from nijimi_protocol.errors import LocalProtocolError, RejectedChange
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import (
    CANVAS,
    MASK,
    BatchPhase,
    BatchPicture,
    BatchState,
    ControlLayer,
    DropPlane,
    Frame,
    Generate,
    Message,
    Progress,
    SetControls,
    SetParams,
    SetPlane,
    Status,
    UpdateTiles,
)
from nijimi_protocol.params import RenderParams
from nijimi_protocol.pixels import Encoding, PixelFormat, Tile, pack_tile, paste, unpack_tile
from nijimi_protocol.session import ClientSession, ServerSession
from nijimi_protocol.upscale import UpscaleParams

from .strategies import controls, upscales

LIMITS = Limits(max_message_bytes=65536, max_pixels=64 * 64, max_prompt_chars=50, max_planes=3)
SIDES = st.integers(1, 66)
PLANES = st.sampled_from([CANVAS, MASK, "control:c0", "control:c1"])


def _format(plane: str) -> PixelFormat:
    return PixelFormat.GRAY8 if plane == MASK else PixelFormat.BGRA8


class BothEnds(RuleBasedStateMachine):
    """A painter's end, a backend's end, and the bytes between them."""

    @initialize(first=st.integers(0, 1000))
    def connect(self, first: int) -> None:
        self.client = ClientSession(token="t", client="machine", first_revision=first)
        self.server = ServerSession(token="t", device="d", models=(), limits=LIMITS)
        self.server.receive(self.client.hello())
        self.client.receive(self.server.welcome())
        self.to_server: deque[bytes] = deque()
        self.to_client: deque[bytes] = deque()
        self.painted: dict[str, tuple[Extent, bytearray]] = {}
        self.mirror: dict[str, tuple[Extent, bytearray]] = {}
        self.params = self.known_params = RenderParams()
        self.frame_id = 0
        self.shown = bytearray()
        self.asked: list[int] = []
        self.open: dict[int, int] = {}
        self.made: deque[bytes] = deque()

    # The painter ---------------------------------------------------------------------------

    @rule(plane=PLANES, width=SIDES, height=SIDES)
    def begin_plane(self, plane: str, width: int, height: int) -> None:
        extent = Extent(width, height)
        try:
            data = self.client.set_plane(plane, extent, _format(plane))
        except RejectedChange:
            assert extent.pixels > LIMITS.max_pixels
            return
        self.to_server.append(data)
        size = extent.pixels * _format(plane).bytes_per_pixel
        self.painted[plane] = (extent, bytearray(size))

    @rule(plane=PLANES, data=st.data(), value=st.integers(0, 255))
    def paint(self, plane: str, data: st.DataObject, value: int) -> None:
        tile = Tile(
            bounds=Bounds(0, 0, 1, 1), format=_format(plane), encoding=Encoding.RAW, data=b"\0" * 4
        )
        if plane not in self.painted:
            with pytest.raises(LocalProtocolError):
                self.client.update_tiles(plane, [tile])
            return
        extent, pixels = self.painted[plane]
        x, y = (
            data.draw(st.integers(0, extent.width - 1)),
            data.draw(st.integers(0, extent.height - 1)),
        )
        area = Bounds(
            x, y, data.draw(st.integers(1, extent.width - x)),
            data.draw(st.integers(1, extent.height - y)),
        )  # fmt: skip
        raw = bytes([value]) * (area.extent.pixels * _format(plane).bytes_per_pixel)
        encoding = data.draw(st.sampled_from([Encoding.RAW, Encoding.ZLIB]))
        packed = pack_tile(area, _format(plane), raw, encoding)
        self.to_server += self.client.update_tiles(plane, [packed])
        paste(pixels, extent, area, raw, _format(plane))

    @rule(plane=PLANES)
    def drop_plane(self, plane: str) -> None:
        if plane in self.painted:
            self.to_server.append(self.client.drop_plane(plane))
            del self.painted[plane]

    @rule(prompt=st.text(max_size=60), strength=st.floats(0, 1))
    def set_params(self, prompt: str, strength: float) -> None:
        params = RenderParams(prompt=prompt, strength=round(strength, 3))
        try:
            data = self.client.set_params(SetParams(revision=0, params=params))
        except RejectedChange:
            assert len(prompt) > LIMITS.max_prompt_chars
            return
        self.to_server.append(data)
        self.params = params

    @rule(layers=st.lists(controls, max_size=2))
    def set_controls(self, layers: list[ControlLayer]) -> None:
        message = SetControls(revision=0, controls=tuple(layers))
        self.to_server.append(self.client.set_controls(message))

    @rule()
    def cancel(self) -> None:
        self.to_server.append(self.client.cancel())

    @rule(count=st.integers(1, 3), upscale=st.none() | upscales)
    def generate(self, count: int, upscale: UpscaleParams | None) -> None:
        try:
            batch_id, data = self.client.generate(self.params, count, upscale)
        except RejectedChange:
            # It would be too large; nothing else of it can be wrong.
            assert upscale is not None
            assert upscale.factor > 1.0
            return
        self.to_server.append(data)
        self.asked.append(batch_id)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def change_batches(self, data: st.DataObject) -> None:
        some = data.draw(st.sampled_from(self.asked))
        self.to_server.append(self.client.cancel_batch(some))
        self.to_server.append(self.client.order_batches((some,)))

    # What travels --------------------------------------------------------------------------

    @precondition(lambda self: self.to_server)
    @rule()
    def arrive_at_the_server(self) -> None:
        try:
            event = self.server.receive(self.to_server.popleft())
        except RejectedChange as refused:
            # The only things that one end cannot know of the other beforehand.
            if refused.code not in ("too_many_planes", "no_plane"):
                raise
            return
        self._mirror(event)

    def _mirror(self, event: Message) -> None:
        if isinstance(event, SetPlane):
            size = event.extent.pixels * event.format.bytes_per_pixel
            self.mirror[event.plane] = (event.extent, bytearray(size))
        elif isinstance(event, UpdateTiles):
            extent, pixels = self.mirror[event.plane]
            for tile in event.tiles:
                paste(pixels, extent, tile.bounds, unpack_tile(tile), tile.format)
        elif isinstance(event, SetParams):
            self.known_params = event.params
        elif isinstance(event, DropPlane):
            # One that was refused is not there.
            self.mirror.pop(event.plane, None)
        elif isinstance(event, Generate):
            assert event.params == self.known_params
            self.open[event.batch_id] = 0

    @precondition(lambda self: self.to_client)
    @rule()
    def arrive_at_the_painter(self) -> None:
        event = self.client.receive(self.to_client.popleft())
        if isinstance(event, Frame):
            assert bytes(self.client.picture[0]) == bytes(self.shown)
            assert event.revision <= self.client.revision
            self.to_server.append(self.client.ack(event.frame_id))

        elif isinstance(event, BatchPicture) and not event.more:
            assert bytes(self.client.take_made()) == self.made.popleft()

    # The backend ---------------------------------------------------------------------------

    @rule(value=st.integers(0, 255), is_whole=st.booleans(), side=st.integers(1, 8))
    def send_frame(self, value: int, is_whole: bool, side: int) -> None:
        extent = self.client.picture[1]
        base = 0 if is_whole or extent.pixels == 0 else self.server.acked_frame_id
        if base == 0:
            extent = Extent(side, side)
        area = extent.bounds if base == 0 else Bounds(0, 0, 1, 1)
        raw = bytes([value]) * (area.extent.pixels * 4)
        frame = Frame(
            frame_id=self.frame_id + 1,
            base_frame_id=base,
            revision=self.server.revision,
            extent=extent,
            area=Bounds(0, 0, 64, 64),
            tiles=(pack_tile(area, PixelFormat.BGRA8, raw, Encoding.RAW),),
        )
        if not self.server.ready_for_frame:
            with pytest.raises(LocalProtocolError):
                self.server.send_frame(frame)
            return
        self.to_client.append(self.server.send_frame(frame))
        self.frame_id += 1
        if base == 0:
            self.shown = bytearray(raw)
        else:
            paste(self.shown, extent, area, raw, PixelFormat.BGRA8)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), side=st.integers(1, 20), rows=st.integers(1, 20))
    def make_picture(self, data: st.DataObject, side: int, rows: int) -> None:
        batch_id = data.draw(st.sampled_from(sorted(self.open)))
        extent = Extent(side, side)
        raw = data.draw(st.binary(min_size=side * 4, max_size=side * 4)) * side
        for y in range(0, side, rows):
            band = Bounds(0, y, side, min(rows, side - y))
            pixels = raw[y * side * 4 : band.bottom * side * 4]
            part = BatchPicture(
                batch_id=batch_id, index=0, extent=extent, area=extent.bounds, seed=1,
                tiles=(pack_tile(band, PixelFormat.BGRA8, pixels, Encoding.ZLIB),),
                more=band.bottom < side,
            )  # fmt: skip
            self.to_client.append(self.server.send(part))
        self.made.append(raw)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), state=st.sampled_from(BatchPhase))
    def tell_of_batch(self, data: st.DataObject, state: BatchPhase) -> None:
        batch_id = data.draw(st.sampled_from(sorted(self.open)))
        tiles = (pack_tile(Bounds(0, 0, 2, 2), PixelFormat.BGRA8, bytes(16), Encoding.RAW),)
        told = BatchState(batch_id=batch_id, state=state, tiles=() if state.is_over else tiles)
        self.to_client.append(self.server.send(told))
        if state.is_over:
            del self.open[batch_id]

    @rule(done=st.integers(0, 9))
    def tell(self, done: int) -> None:
        self.to_client.append(self.server.send(Progress(label="loading", done=done, total=9)))
        self.to_client.append(self.server.send(Status(state="ready", device="d", model="m")))

    # What always holds ---------------------------------------------------------------------

    @invariant()
    def at_most_one_frame_is_on_its_way(self) -> None:
        if hasattr(self, "to_client"):
            assert sum(1 for data in self.to_client if b"base_frame_id" in data[:200]) <= 1

    @invariant()
    def once_all_has_arrived_both_ends_agree(self) -> None:
        if not hasattr(self, "to_server") or self.to_server:
            return
        assert self.server.revision <= self.client.revision
        assert self.known_params == self.params
        for plane, (extent, pixels) in self.mirror.items():
            if plane in self.painted and self.painted[plane][0] == extent:
                assert bytes(pixels) == bytes(self.painted[plane][1])


TestBothEnds = BothEnds.TestCase
TestBothEnds.settings = settings(max_examples=60, stateful_step_count=60)
