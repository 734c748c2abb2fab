"""Generating: batches of the canvas as it is, with live on and off, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from nijimi.canvas.room import SelectionMask
from nijimi.model.batches import BatchEntry, BatchQueue
from nijimi.model.settings import Settings
from nijimi.qt import QtGui, QtWidgets
from nijimi.ui.generate_row import GenerateRow
from nijimi_protocol.geometry import Bounds
from nijimi_protocol.messages import (
    BatchPhase,
    BatchState,
    CancelBatch,
    OrderBatches,
    SetParams,
    SetPlane,
    UpdateTiles,
)
from nijimi_protocol.params import RenderMode
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile
from nijimi_protocol.upscale import UpscaleParams

from .batch_world import ask_for_batch, asked_batches, make_picture, tell
from .flow_world import SIZE, World, spin


def test_a_batch_is_asked_for_once_the_canvas_is_there(
    world: World, wait: Callable[..., None]
) -> None:
    world.settings.set("prompt", "a house")
    world.settings.set("batch_count", 3)
    world.settings.set("final_steps", 12)
    world.canvas.bands = [Bounds(0, y, 64, 16) for y in (0, 16, 32)]
    world.draw(SIZE.bounds)
    ask_for_batch(world, wait)
    asked = asked_batches(world)[0]
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
    batch_id = ask_for_batch(world, wait)
    assert world.link.tiles_sent() == [Bounds(0, 0, 8, 8)]
    world.draw(Bounds(8, 8, 8, 8))
    assert world.link.tiles_sent() == [Bounds(0, 0, 8, 8)], "live is off, and it went on"
    assert all(not params.live for params in world.params())
    make_picture(world, batch_id, 0)
    assert [entry.params.seed for entry in world.flow.generator.results.entries] == [1]


def test_with_live_off_and_no_backend_one_is_started(
    application: Any, wait: Callable[..., None]
) -> None:
    world = World()
    world.settings.set("live", False)
    world.link.stop()
    assert not world.link.is_open
    ask_for_batch(world, wait)
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
    wait(lambda: bool(asked_batches(world)), 3)
    asked = asked_batches(world)[0]
    assert asked.upscale == UpscaleParams(factor=3.0, model="four", strength=0.25)
    assert (asked.count, asked.params.mode) == (1, RenderMode.IMG2IMG)
    assert world.flow.generator.queue.entries[0].title.startswith("Upscale: ")
    make_picture(world, asked.batch_id, 0)
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
    assert not asked_batches(world)
    assert not world.flow.generator.queue.is_preparing


def test_a_backend_that_cannot_enlarge_is_told(world: World, wait: Callable[..., None]) -> None:
    session = world.link.session
    assert session is not None
    assert session.welcome is not None
    session.welcome = replace(session.welcome, capabilities=("generate",))
    world.flow.generate(UpscaleParams())
    wait(lambda: world.state.problem == "This backend cannot do that yet.", 3)
    ask_for_batch(world, wait)


def test_results_have_their_seeds_and_their_place(world: World, wait: Callable[..., None]) -> None:
    world.settings.set("seed", 2**32 - 1)
    world.settings.set("seed_locked", False)
    batch_id = ask_for_batch(world, wait)
    assert world.settings.get("seed") != 2**32 - 1, "the next batch would give the same pictures"
    tell(world, batch_id, BatchPhase.RUNNING, done=0)
    for index in (0, 1):
        make_picture(world, batch_id, index, index)
    tell(world, batch_id, BatchPhase.DONE, done=2)
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
    batch_id = ask_for_batch(world, wait)
    make_picture(world, batch_id, 0)
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
    batch_id = ask_for_batch(world, wait)
    assert asked_batches(world)[-1].params.mode is RenderMode.INPAINT
    world.canvas.selection = None
    world.draw()
    make_picture(world, batch_id, 0)
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
    assert asked_batches(world) == []
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
    assert asked_batches(world) == []
    assert not world.flow.generator.queue.is_preparing


def test_cancelling_and_ordering_reach_the_backend(world: World, wait: Callable[..., None]) -> None:
    ids = [ask_for_batch(world, wait) for _ in range(3)]
    tell(world, ids[0], BatchPhase.RUNNING)
    queue = world.flow.generator.queue
    assert queue.running is not None
    assert [entry.id for entry in queue.waiting] == ids[1:]
    world.flow.generator.first(ids[2])
    assert world.sent(OrderBatches)[-1].batch_ids == (ids[2], ids[1])
    assert [entry.id for entry in queue.waiting] == [ids[2], ids[1]]
    world.flow.generator.cancel()
    assert {event.batch_id for event in world.sent(CancelBatch)} == set(ids)
    for batch_id in ids:
        tell(world, batch_id, BatchPhase.CANCELLED)
    assert queue.entries == ()


def test_a_batch_that_failed_says_why(world: World, wait: Callable[..., None]) -> None:
    batch_id = ask_for_batch(world, wait)
    tell(world, batch_id, BatchPhase.FAILED, sentence="It does not fit.", action="Make it small.")
    assert world.state.line() == "It does not fit. Make it small."


def test_a_backend_that_ends_takes_its_batches_and_leaves_the_pictures(
    world: World, wait: Callable[..., None]
) -> None:
    batch_id = ask_for_batch(world, wait)
    make_picture(world, batch_id, 0)
    world.link.stop()
    world.link.state_changed.emit("reconnecting")
    assert world.flow.generator.queue.entries == ()
    assert len(world.flow.generator.results.entries) == 1
    assert "ended while it was generating" in world.state.problem


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
