"""Generating: batches of the canvas as it is, with live on and off, and what comes of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nijimi.canvas.room import SelectionMask
from nijimi.live import keeper
from nijimi.model import packed_results
from nijimi.model import results as results_module
from nijimi.model.batches import BatchEntry, BatchQueue
from nijimi.model.packed_results import pack_result, unpack_result
from nijimi.model.picture import Picture
from nijimi.model.picture_settings import read_text
from nijimi.model.results import Result, Results
from nijimi.model.settings import Settings
from nijimi.qt import QtGui, QtWidgets
from nijimi.ui.generate_row import GenerateRow
from nijimi.ui.results_strip import save_png
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import (
    BatchPhase,
    BatchPicture,
    BatchState,
    CancelBatch,
    Generate,
    OrderBatches,
    SetParams,
    SetPlane,
    UpdateTiles,
)
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.picture_info import params_from_info
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile
from nijimi_protocol.upscale import UpscaleParams

from .flow_world import SIZE, World, spin


def _asked(world: World) -> list[Generate]:
    return world.sent(Generate)


def _tell(world: World, batch_id: int, state: BatchPhase, **values: Any) -> None:
    session, server = world.link.session, world.link.server
    assert session is not None
    assert server is not None
    data = server.send(BatchState(batch_id=batch_id, state=state, **values))
    world.link.received.emit(session.receive(data))


def _make(world: World, batch_id: int, index: int, value: int = 0) -> None:
    session, server = world.link.session, world.link.server
    assert session is not None
    assert server is not None
    pixels = bytes([value, value, value, 255]) * SIZE.pixels
    part = BatchPicture(
        batch_id=batch_id, index=index, extent=SIZE, area=SIZE.bounds, seed=0, sampler="lcm",
        tiles=(pack_tile(SIZE.bounds, PixelFormat.BGRA8, pixels, Encoding.RAW),),
    )  # fmt: skip
    world.link.received.emit(session.receive(server.send(part)))


def _generate(world: World, wait: Callable[..., None]) -> int:
    before = len(_asked(world))
    world.flow.generate()
    wait(lambda: len(_asked(world)) > before, 3)
    return _asked(world)[-1].batch_id


def test_a_batch_is_asked_for_once_the_canvas_is_there(
    world: World, wait: Callable[..., None]
) -> None:
    world.settings.set("prompt", "a house")
    world.settings.set("batch_count", 3)
    world.settings.set("final_steps", 12)
    world.canvas.bands = [Bounds(0, y, 64, 16) for y in (0, 16, 32)]
    world.draw(SIZE.bounds)
    _generate(world, wait)
    asked = _asked(world)[0]
    assert (asked.count, asked.params.num_inference_steps) == (3, 12)
    assert asked.params.prompt == "a house"
    assert asked.params.mode is RenderMode.IMG2IMG
    tiles = [n for n, event in enumerate(world.link.heard) if isinstance(event, UpdateTiles)]
    assert max(tiles) < world.link.heard.index(asked), "the canvas came after the wish"
    assert world.settings.get("prompt_history") == ["a house"]


def test_with_live_off_the_canvas_is_sent_for_a_batch_and_only_for_it(
    world: World, wait: Callable[..., None]
) -> None:
    world.settings.set("live", False)
    world.link.heard.clear()
    world.draw(Bounds(0, 0, 8, 8))
    assert world.link.tiles_sent() == []
    batch_id = _generate(world, wait)
    assert world.link.tiles_sent() == [Bounds(0, 0, 8, 8)]
    world.draw(Bounds(8, 8, 8, 8))
    assert world.link.tiles_sent() == [Bounds(0, 0, 8, 8)], "live is off, and it went on"
    assert all(not params.live for params in world.params())
    _make(world, batch_id, 0)
    assert [entry.params.seed for entry in world.flow.generator.results.entries] == [1]


def test_with_live_off_and_no_backend_one_is_started(
    application: Any, wait: Callable[..., None]
) -> None:
    world = World()
    world.settings.set("live", False)
    world.link.stop()
    assert not world.link.is_open
    _generate(world, wait)
    assert world.sent(SetPlane)
    assert [params.live for params in world.sent(SetParams)[-1:] for params in [params.params]] == [
        False
    ]


def test_an_upscale_is_one_picture_of_the_whole_canvas(
    world: World, wait: Callable[..., None]
) -> None:
    world.canvas.selection = SelectionMask(Bounds(8, 8, 16, 16), b"\xff" * 256)
    world.draw(SIZE.bounds)
    for name, value in (("factor", 3.0), ("percent", 25), ("model", "four")):
        world.settings.set(f"upscale_{name}", value)
    world.settings.set("batch_count", 4)
    world.flow.generate(world.settings.upscale_params())
    wait(lambda: bool(_asked(world)), 3)
    asked = _asked(world)[0]
    assert asked.upscale == UpscaleParams(factor=3.0, model="four", strength=0.25)
    assert (asked.count, asked.params.mode) == (1, RenderMode.IMG2IMG)
    assert world.flow.generator.queue.entries[0].title.startswith("Upscale: ")
    _make(world, asked.batch_id, 0)
    assert world.flow.generator.results.entries[0].picture.selected is None


def test_what_would_be_too_large_is_told_and_nothing_is_asked_for(
    world: World, wait: Callable[..., None]
) -> None:
    world.draw(SIZE.bounds)
    session = world.link.session
    assert session is not None
    session.limits = replace(session.limits, max_side_px=100)
    world.flow.generate(UpscaleParams(factor=4.0))
    wait(lambda: "at most 100 px" in world.state.problem, 3)
    assert not _asked(world)
    assert not world.flow.generator.queue.is_preparing


def test_a_backend_that_cannot_enlarge_is_told(world: World, wait: Callable[..., None]) -> None:
    session = world.link.session
    assert session is not None
    assert session.welcome is not None
    session.welcome = replace(session.welcome, capabilities=("generate",))
    world.flow.generate(UpscaleParams())
    wait(lambda: world.state.problem == "This backend cannot do that yet.", 3)
    _generate(world, wait)


def test_results_have_their_seeds_and_their_place(world: World, wait: Callable[..., None]) -> None:
    world.settings.set("seed", 2**32 - 1)
    world.settings.set("seed_locked", False)
    batch_id = _generate(world, wait)
    assert world.settings.get("seed") != 2**32 - 1, "the next batch would give the same pictures"
    _tell(world, batch_id, BatchPhase.RUNNING, done=0)
    for index in (0, 1):
        _make(world, batch_id, index, index)
    _tell(world, batch_id, BatchPhase.DONE, done=2)
    results = world.flow.generator.results
    assert [entry.params.seed for entry in results.entries] == [2**32 - 1, 0]
    assert [entry.picture.pixels[0] for entry in results.entries] == [0, 1]
    assert {entry.picture.document_id for entry in results.entries} == {"A"}
    assert world.flow.generator.queue.entries == ()
    world.go_to("B")
    assert results.entries == ()
    world.go_to("A")
    assert len(results.entries) == 2


def test_a_chosen_result_is_seen_and_applied_with_live_off(
    world: World, wait: Callable[..., None]
) -> None:
    world.settings.set("live", False)
    batch_id = _generate(world, wait)
    _make(world, batch_id, 0)
    shown: list[Any] = []
    world.flow.picture_changed.connect(shown.append)
    result = world.flow.generator.results.entries[0]
    world.flow.generator.results.choose(result.id)
    assert world.canvas.shown
    assert shown == [result.picture]
    assert world.state.has_picture
    world.flow.apply_result(result.id)
    assert world.canvas.applied == [("A", SIZE.bounds)]
    world.flow.generator.results.choose(None)
    assert not world.canvas.shown


def test_a_batch_of_a_selection_is_cut_by_it(world: World, wait: Callable[..., None]) -> None:
    world.canvas.selection = SelectionMask(Bounds(8, 8, 16, 16), b"\xff" * 256)
    world.draw()
    batch_id = _generate(world, wait)
    assert _asked(world)[-1].params.mode is RenderMode.INPAINT
    world.canvas.selection = None
    world.draw()
    _make(world, batch_id, 0)
    world.flow.apply_result(world.flow.generator.results.entries[0].id)
    assert world.canvas.applied_selection == SelectionMask(Bounds(8, 8, 16, 16), b"\xff" * 256)


def test_what_cannot_be_generated_is_told(world: World, application: Any) -> None:
    world.go_to(None)
    world.flow.generate()
    assert "no document" in world.state.problem
    world.go_to("A")
    world.canvas.selection = SelectionMask(Bounds(8, 8, 16, 16), b"\xff" * 256)
    world.draw()
    world.canvas.selection = None
    world.draw()
    world.flow.generate()
    spin(application, 120)
    assert "Nothing is selected" in world.state.problem
    assert _asked(world) == []
    assert not world.flow.generator.queue.is_preparing


def test_a_wish_is_given_up_when_another_document_comes_in_front(
    world: World, application: Any
) -> None:
    world.canvas.is_readable = False
    world.draw(SIZE.bounds)
    world.flow.generate()
    spin(application, 80)
    assert world.flow.generator.queue.is_preparing
    world.canvas.is_readable = True
    world.go_to("B")
    spin(application, 120)
    assert _asked(world) == []
    assert not world.flow.generator.queue.is_preparing


def test_cancelling_and_ordering_reach_the_backend(world: World, wait: Callable[..., None]) -> None:
    ids = [_generate(world, wait) for _ in range(3)]
    _tell(world, ids[0], BatchPhase.RUNNING)
    queue = world.flow.generator.queue
    assert queue.running is not None
    assert [entry.id for entry in queue.waiting] == ids[1:]
    world.flow.generator.first(ids[2])
    assert world.sent(OrderBatches)[-1].batch_ids == (ids[2], ids[1])
    assert [entry.id for entry in queue.waiting] == [ids[2], ids[1]]
    world.flow.generator.cancel()
    assert {event.batch_id for event in world.sent(CancelBatch)} == set(ids)
    for batch_id in ids:
        _tell(world, batch_id, BatchPhase.CANCELLED)
    assert queue.entries == ()


def test_a_batch_that_failed_says_why(world: World, wait: Callable[..., None]) -> None:
    batch_id = _generate(world, wait)
    _tell(world, batch_id, BatchPhase.FAILED, sentence="It does not fit.", action="Make it small.")
    assert world.state.line() == "It does not fit. Make it small."


def test_a_backend_that_ends_takes_its_batches_and_leaves_the_pictures(
    world: World, wait: Callable[..., None]
) -> None:
    batch_id = _generate(world, wait)
    _make(world, batch_id, 0)
    world.link.stop()
    world.link.state_changed.emit("reconnecting")
    assert world.flow.generator.queue.entries == ()
    assert len(world.flow.generator.results.entries) == 1
    assert "ended while it was generating" in world.state.problem


def _result(results: Results, document: str = "A", size: Extent = SIZE) -> Result:
    picture = Picture(
        pixels=bytes([9, 60, 200, 255]) * size.pixels, extent=size, area=size.bounds, canvas=size,
        document_id=document, revision=1, is_final=True,
    )  # fmt: skip
    params = RenderParams(prompt="sea, night", seed=11, num_inference_steps=8)
    number = results.new_id()
    return Result(
        id=number, name=f"{number:03}", picture=picture, params=params, sampler="lcm",
    )  # fmt: skip


def test_results_are_bounded_in_number_and_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results()
    results.set_document("A")
    monkeypatch.setattr(results_module, "MOST_RESULTS", 5)
    for _ in range(8):
        results.add(_result(results))
    assert [entry.id for entry in results.entries] == [4, 5, 6, 7, 8]
    monkeypatch.setattr(results_module, "MOST_BYTES", 3 * SIZE.pixels * 4)
    results.choose(4)
    results.add(_result(results, "B"))
    assert [entry.id for entry in results.entries] == [7, 8]
    assert results.chosen is None, "what is gone is still chosen"
    results.remove(7)
    results.clear()
    assert results.entries == ()
    results.set_document("B")
    assert len(results.entries) == 1


def test_results_are_kept_in_the_file_and_come_back(
    world: World, wait: Callable[..., None], application: Any
) -> None:
    world.settings.set("prompt", "a house")
    batch_id = _generate(world, wait)
    _make(world, batch_id, 0, 40)
    _make(world, batch_id, 1, 90)
    wait(lambda: len(world.canvas.kept.get("A", {})) == 2, 3)
    world.flow.generator.results.remove(world.flow.generator.results.entries[0].id)
    assert len(world.canvas.kept["A"]) == 1
    again = World()
    again.canvas.kept = {"B": world.canvas.kept["A"]}
    again.go_to("B")
    results = again.flow.generator.results
    wait(lambda: len(results.entries) == 1, 3)
    found, before = results.entries[0], world.flow.generator.results.entries[0]
    assert (found.params, found.sampler) == (before.params, before.sampler)
    assert found.picture.pixels == before.picture.pixels
    assert (found.picture.area, found.picture.canvas) == (before.picture.area, SIZE)
    spin(application, 50)
    assert len(results.entries) == 1, "they were read twice"


def test_a_file_keeps_a_bounded_number_of_pictures_and_the_newest(
    application: Any, wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "MOST_KEPT", 3)
    world = World()
    results = world.flow.generator.results
    for _ in range(5):
        results.add(_result(results))
    wait(lambda: sorted(world.canvas.kept.get("A", {})) == ["003", "004", "005"], 3)
    assert len(results.entries) == 5, "what does not fit into the file is still here"
    results.clear()
    wait(lambda: world.canvas.kept["A"] == {}, 3)


def test_a_picture_of_a_selection_comes_back_with_its_transparency(application: Any) -> None:
    results = Results()
    whole = _result(results)
    pixels = bytes([9, 60, 200, 0] * (SIZE.pixels // 2) + [9, 60, 200, 255] * (SIZE.pixels // 2))
    selected = replace(whole.picture, pixels=pixels, selected=SIZE.bounds, selection=pixels[3::4])
    result = replace(whole, picture=selected)
    found = unpack_result(pack_result(result), result.id, result.name, "A")
    assert found is not None
    assert found.picture.selection == selected.selection
    assert found.picture.selected == SIZE.bounds
    assert found.picture.pixels[3::4] == pixels[3::4]


def test_a_file_of_a_stranger_cannot_fill_the_memory(
    application: Any, wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pack_result(_result(Results()))
    # The size that the header claims (PNG, 11.2.2) is 400 megapixels; its checksum is right.
    header = b"IHDR" + (20_000).to_bytes(4, "big") * 2 + one[24:29]
    bomb = one[:12] + header + zlib.crc32(header).to_bytes(4, "big") + one[33:]
    assert unpack_result(bomb, 1, "001", "A") is None
    monkeypatch.setattr(keeper, "MOST_BYTES", 5 * SIZE.pixels * 4)
    world = World()
    world.canvas.kept = {"B": {f"{n:03}": one for n in range(40)} | {"bomb": bomb}}
    world.go_to("B")
    results = world.flow.generator.results
    wait(lambda: len(results.entries) == 5, 3)
    spin(application, 100)
    assert [entry.name for entry in results.entries] == [f"{n:03}" for n in range(35, 40)]
    assert len(world.canvas.kept["B"]) == 41, "what is not shown is still the painter's"


@pytest.mark.parametrize("data", [b"", b"no picture", b"newer"])
def test_what_is_no_kept_picture_is_passed_over(application: Any, data: bytes) -> None:
    if data == b"newer":
        packed_results.FORMAT, before = 99, packed_results.FORMAT
        try:
            data = pack_result(_result(Results()))
        finally:
            packed_results.FORMAT = before
    assert unpack_result(data, 1, "001", "A") is None


def test_a_saved_result_carries_what_it_was_made_from(application: Any, tmp_path: Path) -> None:
    result = _result(Results())
    assert save_png(result, str(tmp_path / "one"))
    text = read_text(str(tmp_path / "one.png"))
    found = params_from_info(text, RenderParams())
    assert (found.prompt, found.seed, found.num_inference_steps) == ("sea, night", 11, 8)
    assert not save_png(result, str(tmp_path / "nowhere" / "one.png"))


def test_how_far_a_batch_is_is_said_in_words() -> None:
    queue = BatchQueue()
    queue.add(BatchEntry(id=1, title="sea", count=4))
    queue.note(BatchState(batch_id=1, state=BatchPhase.RUNNING, done=1, step=4, steps=8))
    entry = queue.entries[0]
    assert entry.part == pytest.approx(0.375)
    assert entry.line() == "Picture 2 of 4"
    queue.note(BatchState(batch_id=1, state=BatchPhase.RUNNING, done=3, left_s=75.4))
    assert queue.entries[0].line() == "Picture 4 of 4, 1:15 left"
    queue.note(BatchState(batch_id=1, state=BatchPhase.DONE, done=4))
    assert queue.entries == ()


def test_what_is_being_made_is_seen_until_it_is_made(application: Any) -> None:
    queue = BatchQueue()
    row = GenerateRow(Settings(), queue, lambda _name: QtGui.QIcon())
    row.show()
    look = row.findChild(QtWidgets.QLabel, "nijimi_look")
    queue.add(BatchEntry(id=1, title="sea", count=2))
    queue.note(BatchState(batch_id=1, state=BatchPhase.RUNNING, step=0, steps=8))
    assert not look.isVisible()
    area = Bounds(0, 0, 32, 16)
    tile = pack_tile(area, PixelFormat.BGRA8, bytes([0, 0, 255, 255]) * 512, Encoding.RAW)
    queue.note(BatchState(batch_id=1, state=BatchPhase.RUNNING, step=1, steps=8, tiles=(tile,)))
    assert look.isVisible()
    shown = look.pixmap().toImage()
    assert (shown.width(), shown.height()) == (64, 32)
    assert shown.pixelColor(32, 16).name() == "#ff0000"
    queue.note(BatchState(batch_id=1, state=BatchPhase.RUNNING, done=1, step=0, steps=8))
    assert not look.isVisible()
