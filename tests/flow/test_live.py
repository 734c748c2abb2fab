"""The plugin's session and a real backend process, joined by a real socket."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nijimi_protocol.codec import encode
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import (
    CANVAS,
    MASK,
    BatchPhase,
    BatchPicture,
    Frame,
    Hello,
    Models,
    SetParams,
    SetPlane,
)
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile
from nijimi_protocol.version import SUBPROTOCOL
from safetensors.torch import save_file
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.backend_process import BackendProcess
from tests.support.live_client import LiveClient
from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow-models")
    write_tiny_model(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def backend(models_dir: Path) -> Iterator[BackendProcess]:
    with BackendProcess("--model", "tiny", models_dir=models_dir) as backend:
        yield backend


@pytest.fixture
def client(backend: BackendProcess) -> Iterator[LiveClient]:
    with LiveClient(backend.port, backend.token) as client:
        client.wait_for_state("ready")
        yield client


def _close_code(closed: ConnectionClosed) -> int:
    assert closed.rcvd is not None
    return closed.rcvd.code


def _begin(client: LiveClient, **params: object) -> None:
    client.open_canvas(Extent(512, 512))
    client.set(RenderParams(**{"prompt": "a house", "num_inference_steps": 1, **params}))  # type: ignore[arg-type]


def test_the_newest_of_many_strokes_is_shown_and_then_refined(client: LiveClient) -> None:
    _begin(client)
    for n in range(40):
        client.paint(Bounds(8 * n, 8 * n, 16, 16), 5 * n)
        time.sleep(0.01)
    newest = client.session.revision
    live = client.wait_for_frame(newest)
    assert live.revision == newest
    assert live.timings_ms["denoise"] > 0
    refined = client.wait_for_frame(newest, final=True)
    assert refined.num_inference_steps == 8
    assert refined.base_frame_id == live.frame_id
    revisions = [event.revision for event in client.seen if isinstance(event, Frame)]
    assert revisions == sorted(revisions), "an older picture followed a newer one"
    assert len(revisions) < 40, "every stroke was rendered, instead of the newest"


def test_a_batch_shows_the_canvas_as_it_was_when_it_was_asked_for(client: LiveClient) -> None:
    params = RenderParams(prompt="a house", seed=5, strength=0.4, num_inference_steps=2)
    alone = _batch_pixels(client, params)
    assert len(set(alone)) == 3, "three seeds gave pictures that are alike"
    # The same again, with the painter and live pictures going on meanwhile.
    client.paint(Bounds(0, 0, 512, 512), 90)
    batch_id = client.generate(params, 3)
    client.set(replace(params, live=True, seed=77))
    for n in range(10):
        client.paint(Bounds(30 * n, 0, 200, 400), 20 * n)
    state, made = client.wait_for_batch(batch_id)
    assert (state.state, state.done) == (BatchPhase.DONE, 3)
    assert [pixels for _, pixels in made] == alone
    assert [picture.seed for picture, _ in made] == [5, 6, 7]
    assert {picture.num_inference_steps for picture, _ in made} == {2}
    client.wait_for_frame(client.session.revision, final=True)


def _batch_pixels(client: LiveClient, params: RenderParams) -> list[bytes]:
    client.open_canvas(Extent(512, 512))
    client.paint(Bounds(0, 0, 512, 512), 90)
    _, made = client.wait_for_batch(client.generate(params, 3))
    return [pixels for _, pixels in made]


def test_a_large_picture_of_a_batch_comes_in_parts_that_the_client_takes(
    backend: BackendProcess,
) -> None:
    limits = Limits(max_message_bytes=65536)
    params = RenderParams(
        prompt="sea", mode=RenderMode.INPAINT, num_inference_steps=1, strength=0.5
    )
    with LiveClient(backend.port, backend.token, limits=limits) as client:
        client.wait_for_state("ready")
        client.open_canvas(Extent(300, 200))
        client.paint(Bounds(0, 0, 300, 50), 90)
        client.socket.send(client.session.set_plane(MASK, Extent(300, 200), PixelFormat.GRAY8))
        whole = pack_tile(Bounds(0, 0, 300, 200), PixelFormat.GRAY8, b"\xff" * 60000, Encoding.ZLIB)
        for data in client.session.update_tiles(MASK, [whole]):
            client.socket.send(data)
        _, made = client.wait_for_batch(client.generate(params, 1))
        parts = [event for event in client.seen if isinstance(event, BatchPicture)]
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert len(parts) == 5
    assert [part.extent for part in parts] == [Extent(300, 200)] * 5
    assert len(made[0][1]) == 300 * 200 * 4


def test_a_client_that_leaves_takes_its_batches_along(backend: BackendProcess) -> None:
    params = RenderParams(prompt="sea", num_inference_steps=50, mode=RenderMode.TXT2IMG)
    with LiveClient(backend.port, backend.token) as client:
        client.wait_for_state("ready")
        for _ in range(5):
            client.generate(params, 16)
        client.receive()
    with LiveClient(backend.port, backend.token) as client:
        client.wait_for_state("ready")
        quick = replace(params, num_inference_steps=1)
        state, made = client.wait_for_batch(client.generate(quick, 1))
    assert (state.state, len(made)) == (BatchPhase.DONE, 1)


def test_a_change_that_alters_no_pixel_is_still_shown_as_newest(client: LiveClient) -> None:
    _begin(client, refine=False)
    client.paint(Bounds(0, 0, 64, 64), 9)
    client.wait_for_frame(client.session.revision)
    client.paint(Bounds(0, 0, 64, 64), 9)
    frame = client.wait_for_frame(client.session.revision)
    assert frame.final
    assert frame.tiles == ()


def test_live_off_renders_nothing_until_it_is_on_again(client: LiveClient) -> None:
    _begin(client, live=False)
    client.paint(Bounds(0, 0, 64, 64), 9)
    with pytest.raises(TimeoutError):
        client.receive(0.7)
    client.set(RenderParams(live=True, num_inference_steps=1))
    assert client.wait_for_frame(client.session.revision).revision == client.session.revision


def test_a_client_that_lost_its_picture_gets_a_whole_one_at_rest(client: LiveClient) -> None:
    _begin(client)
    shown = client.wait_for_frame(client.session.revision, final=True)
    client.socket.send(client.session.ack(0))
    whole = client.wait_for_frame(client.session.revision)
    assert whole.base_frame_id == 0
    assert whole.frame_id > shown.frame_id
    assert whole.revision == shown.revision


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (SetParams(revision=90, params=RenderParams(strength=float("nan"))), "params"),
        (SetParams(revision=90, params=RenderParams(prompt="a" * 10_000)), "prompt_too_long"),
        (
            SetPlane(revision=90, plane=CANVAS, extent=Extent(0, 0), format=PixelFormat.BGRA8),
            "canvas_empty",
        ),
        (
            SetPlane(
                revision=90, plane=CANVAS, extent=Extent(20000, 20000), format=PixelFormat.BGRA8
            ),
            "canvas_too_large",
        ),
        (SetParams(revision=90, params=RenderParams(model="nope")), "model_missing"),
    ],
    ids=["NaN strength", "long prompt", "empty canvas", "huge canvas", "missing model"],
)
def test_bad_input_is_told_and_the_session_goes_on(
    client: LiveClient, message: SetParams | SetPlane, code: str
) -> None:
    _begin(client)
    client.wait_for_frame(2)
    client.socket.send(encode(message))
    report = client.wait_for_error()
    assert report.code == code
    assert report.action
    assert not report.fatal
    client.session.revision = 90
    client.set(RenderParams(num_inference_steps=1, prompt="still alive"))
    assert client.wait_for_frame(91).revision == 91


def test_a_wrong_token_is_told_and_the_connection_ends(backend: BackendProcess) -> None:
    client = LiveClient(backend.port, "wrong")
    report = client.wait_for_error()
    assert report.code == "unauthorized"
    assert report.fatal
    with pytest.raises(ConnectionClosed) as caught:
        client.socket.recv(timeout=5)
    assert _close_code(caught.value) == 4401


def test_a_later_dialect_is_told_to_update(backend: BackendProcess) -> None:
    other = connect(
        f"ws://127.0.0.1:{backend.port}/nijimi",
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
        compression=None,
    )
    other.send(encode(Hello(token=backend.token, client="x", protocol=99, min_protocol=99)))
    data = other.recv(timeout=5)
    assert b"Update plugin and backend" in (data if isinstance(data, bytes) else b"")
    with pytest.raises(ConnectionClosed) as caught:
        other.recv(timeout=5)
    assert _close_code(caught.value) == 4406


@pytest.mark.parametrize("data", [b"", b"NJ\x07", b"nonsense" * 9, "text"])
def test_nonsense_ends_only_its_own_connection(
    backend: BackendProcess, client: LiveClient, data: bytes | str
) -> None:
    bad = LiveClient(backend.port, backend.token)
    bad.wait_for_state("ready")
    bad.socket.send(data)
    assert bad.wait_for_error().code == "malformed"
    with pytest.raises(ConnectionClosed) as caught:
        bad.socket.recv(timeout=5)
    assert _close_code(caught.value) == 4400
    _begin(client)
    assert client.wait_for_frame(2)


def test_a_web_page_and_a_foreign_host_are_refused(backend: BackendProcess) -> None:
    url = f"ws://127.0.0.1:{backend.port}/nijimi"
    with pytest.raises(InvalidStatus) as caught:
        connect(url, origin="http://evil.example", compression=None)  # type: ignore[arg-type]
    assert caught.value.response.status_code == 403
    request = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=5)
    request.request(
        "GET",
        "/nijimi",
        headers={
            "Host": "rebound.example",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version": "13",
        },
    )
    assert request.getresponse().status == 403


def test_the_backend_ends_with_its_standard_input(models_dir: Path) -> None:
    backend = BackendProcess("--model", "tiny", models_dir=models_dir)
    assert backend.process.stdin is not None
    backend.process.stdin.close()
    assert backend.process.wait(10) == 0


def test_a_client_brings_its_whole_state_to_a_new_backend(models_dir: Path) -> None:
    with BackendProcess("--model", "tiny", models_dir=models_dir) as backend:
        first = LiveClient(backend.port, backend.token)
        first.wait_for_state("ready")
        _begin(first)
        backend.process.send_signal(signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            first.wait_for_frame(10_000)
        reached = first.session.revision
    with BackendProcess("--model", "tiny", models_dir=models_dir) as backend:
        again = LiveClient(backend.port, backend.token, first_revision=reached)
        again.wait_for_state("ready")
        _begin(again, seed=5, refine=False)
        again.paint(Bounds(64, 64, 128, 128), 200)
        newest = again.session.revision
        assert newest > reached
        assert again.wait_for_frame(newest).revision == newest
        resumed = bytes(again.session.picture[0])
        again.close()
        # The same state from the beginning: nothing of it was lost on the way.
        fresh = LiveClient(backend.port, backend.token)
        fresh.wait_for_state("ready")
        _begin(fresh, seed=5, refine=False)
        fresh.paint(Bounds(64, 64, 128, 128), 200)
        fresh.wait_for_frame(fresh.session.revision)
        assert bytes(fresh.session.picture[0]) == resumed
        fresh.close()


@pytest.fixture
def loras(models_dir: Path) -> Iterator[Path]:
    """A folder within the models, as long as the test runs."""
    folder = models_dir / "loras"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_a_file_that_is_dropped_in_is_listed_within_seconds(
    client: LiveClient, loras: Path
) -> None:
    (loras / "broken.safetensors").write_bytes(b"not a model at all")
    save_file({"emb_params": torch.zeros(1, 768)}, loras / "calm.safetensors")
    started = time.monotonic()
    while True:
        event = client.receive(timeout_s=10)
        if isinstance(event, Models):
            break
    assert time.monotonic() - started < 8
    assert ("calm", "embedding") in {(entry.name, entry.kind) for entry in event.models}
    assert "broken" not in {entry.name for entry in event.models}
    _begin(client)
    assert client.wait_for_frame(client.session.revision).tiles


def test_a_generated_picture_makes_the_hashes_of_its_files_known(
    client: LiveClient, loras: Path
) -> None:
    key = "lora_unet_mid_block_resnets_0_conv1.lora_up.weight"
    save_file({key: torch.zeros(4, 4)}, loras / "ink.safetensors")
    _begin(client)
    params = RenderParams(prompt="a boat <lora:ink:0.8>", num_inference_steps=1)
    client.generate(params, 1)
    digest = ""
    while not digest:
        event = client.receive(timeout_s=20)
        if isinstance(event, Models):
            digest = next((e.digest for e in event.models if e.name == "ink"), "")
    assert digest == hashlib.sha256(torch.zeros(4, 4).numpy().tobytes()).hexdigest()[:12]
