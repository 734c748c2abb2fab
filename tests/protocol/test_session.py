"""Sessions: order, token, revisions, sizes and acknowledgements are held at both ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nijimi_protocol.codec import decode, encode
from nijimi_protocol.errors import (
    LocalProtocolError,
    MalformedMessage,
    OutOfOrder,
    RejectedChange,
    RemoteProtocolError,
    Unauthorized,
    VersionMismatch,
)
from nijimi_protocol.geometry import Bounds, Extent, tile_grid
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import (
    CANVAS,
    Ack,
    ControlLayer,
    DropPlane,
    ErrorReport,
    Frame,
    Hello,
    Message,
    SetControls,
    SetParams,
    SetPlane,
    SetPose,
    Status,
    UpdateTiles,
)
from nijimi_protocol.params import RenderParams
from nijimi_protocol.pixels import Encoding, PixelFormat, copy_out, paste
from nijimi_protocol.session import ClientSession, SessionState

from .pairs import BGRA, MODELS, make_pair, make_server, plain_tile
from .strategies import messages


def _whole(frame_id: int, revision: int, extent: Extent, value: int) -> Frame:
    return Frame(
        frame_id=frame_id,
        base_frame_id=0,
        revision=revision,
        extent=extent,
        area=extent.bounds,
        tiles=(plain_tile(extent.bounds, value),),
    )


def test_a_handshake_opens_both_ends_and_tells_models_and_limits() -> None:
    client, server = make_pair(Limits(max_prompt_chars=17))
    assert client.state is server.state is SessionState.OPEN
    assert client.welcome is not None
    assert client.welcome.models == MODELS
    assert client.limits.max_prompt_chars == 17
    assert client.encodings == (Encoding.RAW, Encoding.ZLIB)


@pytest.mark.parametrize("token", ["", "wrong", "rıght", "right "])
def test_a_wrong_token_is_refused_and_the_session_closed(token: str) -> None:
    server = make_server()
    with pytest.raises(Unauthorized) as caught:
        server.receive(ClientSession(token=token, client="test").hello())
    assert server.state is SessionState.CLOSED
    report = decode(server.refusal(caught.value), Limits())
    assert isinstance(report, ErrorReport)
    assert report.fatal
    assert report.code == "unauthorized"
    assert report.action
    with pytest.raises(LocalProtocolError):
        server.welcome()


def test_a_client_of_a_later_dialect_only_is_told_to_update() -> None:
    hello = Hello(token="right", client="future", protocol=9, min_protocol=9)
    with pytest.raises(VersionMismatch, match="Update"):
        make_server().receive(encode(hello))


def test_a_first_message_other_than_hello_is_out_of_order() -> None:
    with pytest.raises(OutOfOrder):
        make_server().receive(encode(Ack(frame_id=0)))
    with pytest.raises(OutOfOrder):
        make_server().receive(encode(SetParams(revision=1, params=RenderParams(model="x" * 300))))


def test_revisions_rise_with_every_change_and_reach_the_server() -> None:
    client, server = make_pair()
    server.receive(client.set_plane(CANVAS, Extent(100, 80), BGRA))
    server.receive(client.set_params(SetParams(revision=0, params=RenderParams())))
    server.receive(client.set_controls(SetControls(revision=0, controls=())))
    server.receive(client.set_pose(SetPose(revision=0, id="p", people=())))
    for data in client.update_tiles(CANVAS, [plain_tile(Bounds(0, 0, 64, 64))]):
        server.receive(data)
    server.receive(client.drop_plane(CANVAS))
    assert server.revision == client.revision == 6


def test_a_revision_that_does_not_rise_is_out_of_order() -> None:
    client, server = make_pair()
    data = client.set_params(SetParams(revision=0, params=RenderParams()))
    server.receive(data)
    with pytest.raises(OutOfOrder):
        server.receive(data)
    assert server.state is SessionState.CLOSED


def test_a_refused_change_leaves_the_session_open() -> None:
    client, server = make_pair()
    server.receive(client.set_params(SetParams(revision=0, params=RenderParams())))
    bad = SetParams(revision=5, params=RenderParams(strength=float("nan")))
    with pytest.raises(RejectedChange, match="strength"):
        server.receive(encode(bad))
    assert server.state is SessionState.OPEN
    server.receive(encode(replace(bad, revision=6, params=RenderParams())))
    assert server.revision == 6


@pytest.mark.parametrize("extent", [Extent(0, 0), Extent(20000, 20000)])
def test_an_impossible_canvas_is_refused_at_both_ends(extent: Extent) -> None:
    client, server = make_pair()
    with pytest.raises(RejectedChange):
        client.set_plane(CANVAS, extent, BGRA)
    assert client.revision == 0
    with pytest.raises(RejectedChange):
        server.receive(encode(SetPlane(revision=1, plane=CANVAS, extent=extent, format=BGRA)))
    assert server.state is SessionState.OPEN


def test_tiles_outside_of_their_plane_are_malformed() -> None:
    client, server = make_pair()
    server.receive(client.set_plane(CANVAS, Extent(100, 80), BGRA))
    outside = UpdateTiles(revision=2, plane=CANVAS, tiles=(plain_tile(Bounds(90, 0, 11, 4)),))
    with pytest.raises(MalformedMessage):
        server.receive(encode(outside))
    with pytest.raises(LocalProtocolError):
        client.update_tiles(CANVAS, [plain_tile(Bounds(90, 0, 11, 4))])


def test_tiles_of_a_plane_that_the_server_refused_do_not_end_the_session() -> None:
    _, server = make_pair()
    stray = UpdateTiles(revision=1, plane=CANVAS, tiles=(plain_tile(Bounds(0, 0, 4, 4)),))
    with pytest.raises(RejectedChange):
        server.receive(encode(stray))
    assert server.state is SessionState.OPEN


def test_more_planes_than_agreed_are_refused() -> None:
    client, server = make_pair(Limits(max_planes=2))
    server.receive(client.set_plane(CANVAS, Extent(8, 8), BGRA))
    server.receive(client.set_plane("control:a", Extent(8, 8), BGRA))
    with pytest.raises(RejectedChange, match="control layers"):
        server.receive(client.set_plane("control:b", Extent(8, 8), BGRA))


def test_a_large_change_is_split_and_only_its_last_part_ends_it() -> None:
    client, server = make_pair(Limits(max_message_bytes=100_000))
    extent = Extent(512, 512)
    server.receive(client.set_plane(CANVAS, extent, BGRA))
    parts = client.update_tiles(CANVAS, [plain_tile(area) for area in tile_grid(extent)])
    events = [server.receive(part) for part in parts]
    updates = [event for event in events if isinstance(event, UpdateTiles)]
    assert len(updates) == len(parts) > 2
    assert [update.more for update in updates] == [True] * (len(parts) - 1) + [False]
    assert sum(len(update.tiles) for update in updates) == 64
    assert max(len(part) for part in parts) <= 100_000


def test_a_frame_is_assembled_from_a_whole_and_its_changes() -> None:
    client, server = make_pair()
    server.receive(client.set_params(SetParams(revision=0, params=RenderParams())))
    extent = Extent(128, 64)
    client.receive(server.send_frame(_whole(1, 1, extent, 7)))
    server.receive(client.ack(1))
    change = replace(
        _whole(2, 1, extent, 0), base_frame_id=1, tiles=(plain_tile(Bounds(64, 0, 64, 64), 9),)
    )
    client.receive(server.send_frame(change))
    picture, size = client.picture
    assert size == extent
    assert copy_out(picture, extent, Bounds(0, 0, 64, 64), BGRA) == bytes([7]) * (64 * 64 * 4)
    assert copy_out(picture, extent, Bounds(64, 0, 64, 64), BGRA) == bytes([9]) * (64 * 64 * 4)


def test_a_picture_that_is_kept_stays_as_it_was() -> None:
    client, server = make_pair()
    server.receive(client.set_params(SetParams(revision=0, params=RenderParams())))
    extent, part = Extent(128, 64), Bounds(64, 0, 64, 64)
    whole = _whole(1, 1, extent, 7)
    frames = [
        whole,
        replace(whole, frame_id=2, base_frame_id=1, tiles=(plain_tile(part, 9),)),
        replace(whole, frame_id=3, base_frame_id=2, tiles=(plain_tile(part, 11),)),
        # Every pixel differs: a difference that is the whole.
        replace(whole, frame_id=4, base_frame_id=3, tiles=(plain_tile(extent.bounds, 13),)),
        replace(whole, frame_id=5, base_frame_id=4, tiles=(plain_tile(part, 15),)),
    ]
    kept: list[tuple[bytes, bytes]] = []
    expected = bytearray(extent.pixels * 4)
    for frame in frames:
        client.receive(server.send_frame(frame))
        server.receive(client.ack(frame.frame_id))
        for tile in frame.tiles:
            paste(expected, extent, tile.bounds, tile.data, BGRA)
        kept.append((client.picture[0], bytes(expected)))
    assert all(isinstance(picture, bytes) and picture == then for picture, then in kept)


def test_the_next_frame_waits_for_the_acknowledgement() -> None:
    client, server = make_pair()
    server.receive(client.set_params(SetParams(revision=0, params=RenderParams())))
    frame = _whole(1, 1, Extent(8, 8), 1)
    assert server.ready_for_frame
    server.send_frame(frame)
    assert not server.ready_for_frame
    with pytest.raises(LocalProtocolError):
        server.send_frame(replace(frame, frame_id=2))
    server.receive(client.ack(1))
    assert server.ready_for_frame
    assert server.acked_frame_id == 1


def test_asking_for_a_whole_frame_forgets_the_base() -> None:
    client, server = make_pair()
    server.receive(client.set_params(SetParams(revision=0, params=RenderParams())))
    frame = _whole(1, 1, Extent(8, 8), 1)
    server.send_frame(frame)
    server.receive(client.ack(0))
    with pytest.raises(LocalProtocolError):
        server.send_frame(replace(frame, frame_id=2, base_frame_id=1))
    server.send_frame(replace(frame, frame_id=2))


def test_an_acknowledgement_of_a_frame_never_sent_is_out_of_order() -> None:
    client, server = make_pair()
    with pytest.raises(OutOfOrder):
        server.receive(client.ack(3))


@pytest.mark.parametrize(
    "frame",
    [
        replace(_whole(1, 1, Extent(8, 8), 1), revision=99),
        replace(_whole(1, 1, Extent(8, 8), 1), base_frame_id=4),
        replace(_whole(1, 1, Extent(8, 8), 1), tiles=()),
        replace(_whole(1, 1, Extent(8, 8), 1), extent=Extent(0, 8)),
        replace(_whole(1, 1, Extent(8, 8), 1), extent=Extent(2**30, 2**30)),
        replace(_whole(1, 1, Extent(8, 8), 1), extent=Extent(4, 4)),
    ],
)
def test_a_frame_that_cannot_be_is_refused_by_the_client(frame: Frame) -> None:
    client, _ = make_pair()
    client.set_params(SetParams(revision=0, params=RenderParams()))
    with pytest.raises(RemoteProtocolError):
        client.receive(encode(frame))
    assert client.state is SessionState.CLOSED


def test_letting_go_of_a_plane_that_was_refused_ends_nothing() -> None:
    client, server = make_pair(limits=Limits(max_planes=1))
    server.receive(client.set_plane(CANVAS, Extent(8, 8), PixelFormat.BGRA8))
    with pytest.raises(RejectedChange, match="More than 1 layers"):
        server.receive(client.set_plane("control:1", Extent(8, 8), PixelFormat.BGRA8))
    assert isinstance(server.receive(client.drop_plane("control:1")), DropPlane)
    server.receive(client.set_params(SetParams(revision=0, params=RenderParams())))
    assert server.state is SessionState.OPEN
    assert server.revision == client.revision


def test_a_client_reads_an_error_before_the_handshake_is_done() -> None:
    client, server = ClientSession(token="wrong", client="test"), make_server()
    with pytest.raises(Unauthorized) as caught:
        server.receive(client.hello())
    report = client.receive(server.refusal(caught.value))
    assert isinstance(report, ErrorReport)
    assert client.state is SessionState.CLOSED


def test_a_resumed_client_goes_on_counting_where_it_was() -> None:
    client = ClientSession(token="right", client="test", first_revision=41)
    server = make_server()
    server.receive(client.hello())
    client.receive(server.welcome())
    event = server.receive(client.set_plane(CANVAS, Extent(4, 4), BGRA))
    assert isinstance(event, SetPlane)
    assert event.revision == 42


def test_a_status_reaches_an_open_client_only() -> None:
    client, server = make_pair()
    status = Status(state="ready", device="cpu", model="mini")
    assert client.receive(server.send(status)) == status
    fresh = ClientSession(token="right", client="test")
    with pytest.raises(OutOfOrder):
        fresh.receive(encode(status))


def test_control_layers_travel_whole() -> None:
    client, server = make_pair()
    layer = ControlLayer(id="a", kind="pose", control_scale=0.5, start=0.1, end=0.9, enabled=False)
    event = server.receive(client.set_controls(SetControls(revision=0, controls=(layer,))))
    assert isinstance(event, SetControls)
    assert event.controls == (layer,)


@given(st.lists(st.one_of(messages.map(encode), st.binary(max_size=64)), max_size=12))
@settings(max_examples=300)
def test_any_stream_of_bytes_gives_events_or_typed_errors_at_both_ends(stream: list[bytes]) -> None:
    client, server = make_pair()
    for end in (client, server):
        for data in stream:
            before = end.revision
            try:
                event: Message = end.receive(data)
            except RemoteProtocolError as error:
                if error.fatal:
                    assert end.state is SessionState.CLOSED
                    break
                assert end.state is SessionState.OPEN
            else:
                assert event is not None
            assert end.revision >= before
