"""Animations: frame after frame is sent beside the canvas, and a layer comes of them or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from nijimi.canvas.layer_pixels import laid_over
from nijimi.canvas.room import ChangeTakenBack, FrameSpan, SelectionMask
from nijimi.qt import QtGui, QtWidgets
from nijimi.ui.animation_dialog import AnimationDialog
from nijimi_protocol.geometry import Bounds
from nijimi_protocol.messages import (
    CANVAS,
    BatchPhase,
    CancelBatch,
    DropPlane,
    Generate,
    UpdateTiles,
)
from nijimi_protocol.params import RenderMode

from .batch_world import make_picture, tell
from .flow_world import SIZE, World, spin

Wait = Callable[..., None]


def _drawing(value: int) -> bytes:
    return bytes([value, value, value, 255]) * SIZE.pixels


def _asked(world: World) -> list[Generate]:
    return [each for each in world.sent(Generate) if each.plane]


def _make(world: World, value: int) -> None:
    """The picture of the frame that was asked for last."""
    batch_id = _asked(world)[-1].batch_id
    make_picture(world, batch_id, 0, value)
    tell(world, batch_id, BatchPhase.DONE, done=1)


def _start(world: World, wait: Wait, values: tuple[int, ...], temporal: float = 0.0) -> None:
    world.canvas.frames = {n + 3: _drawing(value) for n, value in enumerate(values)}
    before = len(_asked(world))
    world.flow.animator.start(3, 2 + len(values), temporal)
    wait(lambda: len(_asked(world)) > before)


def _mirrored(world: World) -> bytes:
    """The first pixel that the backend was sent last for the animation."""
    tiles = [tile for event in world.sent(UpdateTiles) if event.plane == "animation"
             for tile in event.tiles]  # fmt: skip
    return bytes(tiles[-1].data[:4])


def _colours(files: list[bytes]) -> list[int]:
    return [QtGui.QImage.fromData(data).pixelColor(5, 5).red() for data in files]


def test_every_frame_becomes_one_of_a_new_layer(world: World, wait: Wait) -> None:
    _start(world, wait, (10, 20, 30))
    for n, value in enumerate((100, 110, 120)):
        wait(lambda n=n: len(_asked(world)) == n + 1)
        assert _mirrored(world)[0] == 10 * (n + 1)
        _make(world, value)
    wait(lambda: bool(world.canvas.animations))
    ((files, first, name),) = world.canvas.animations
    assert (_colours(files), first) == ([100, 110, 120], 3)
    assert name.startswith("Nijimi: ")
    asked = _asked(world)
    assert len({each.params.seed for each in asked}) == 1, "the seed is fixed"
    assert {(each.count, each.plane) for each in asked} == {(1, "animation")}
    assert [event.plane for event in world.sent(DropPlane)] == ["animation"]
    assert world.canvas.open_readers == 0
    assert world.flow.generator.queue.entries == ()
    assert world.flow.generator.results.entries == ()
    assert not world.flow.animator.is_running


def test_the_live_canvas_is_not_touched(world: World, wait: Wait) -> None:
    world.draw(SIZE.bounds)
    world.frame()
    before = [event for event in world.sent(UpdateTiles) if event.plane == CANVAS]
    _start(world, wait, (10,))
    _make(world, 100)
    wait(lambda: bool(world.canvas.animations))
    assert [event for event in world.sent(UpdateTiles) if event.plane == CANVAS] == before


def test_a_part_of_the_picture_before_lies_over_the_next_drawing(world: World, wait: Wait) -> None:
    _start(world, wait, (0, 0), temporal=0.5)
    assert _mirrored(world)[0] == 0
    _make(world, 200)
    wait(lambda: len(_asked(world)) == 2)
    assert _mirrored(world)[0] == pytest.approx(100, abs=1)


def test_a_drawing_that_is_held_is_rendered_once(world: World, wait: Wait) -> None:
    _start(world, wait, (10, 10, 10, 40))
    _make(world, 100)
    wait(lambda: len(_asked(world)) == 2)
    _make(world, 140)
    wait(lambda: bool(world.canvas.animations))
    assert _colours(world.canvas.animations[0][0]) == [100, 100, 100, 140]


def test_its_progress_is_shown_and_cancelling_leaves_nothing(world: World, wait: Wait) -> None:
    _start(world, wait, (10, 20, 30, 40))
    _make(world, 100)
    wait(lambda: len(_asked(world)) == 2)
    number = _asked(world)[-1].batch_id
    tell(world, number, BatchPhase.RUNNING, step=2, steps=4)
    running = world.flow.generator.queue.running
    assert running is not None
    assert (running.done, running.count, running.part) == (1, 4, pytest.approx(0.375))
    world.flow.generator.cancel()
    assert world.sent(CancelBatch) == [], "the entry is not one of the backend's batches"
    world.flow.animator.cancel()
    assert [each.batch_id for each in world.sent(CancelBatch)] == [number]
    assert world.canvas.animations == []
    assert world.canvas.open_readers == 0
    assert world.flow.generator.queue.entries == ()


def test_it_waits_while_another_document_is_in_front(
    world: World, wait: Wait, application: Any
) -> None:
    _start(world, wait, (10, 20))
    world.go_to("B")
    _make(world, 100)
    spin(application, 150)
    assert len(_asked(world)) == 1
    world.go_to("A")
    world.frame()
    wait(lambda: len(_asked(world)) == 2)


def test_only_a_selection_is_rendered_where_there_is_one(world: World, wait: Wait) -> None:
    world.canvas.selection = SelectionMask(Bounds(0, 0, 8, 8), b"\xff" * 64)
    world.canvas.watcher.changed.emit()
    _start(world, wait, (10,))
    assert _asked(world)[0].params.mode is RenderMode.INPAINT
    _make(world, 100)
    wait(lambda: bool(world.canvas.animations))
    frame = QtGui.QImage.fromData(world.canvas.animations[0][0][0])
    assert frame.pixelColor(3, 3).alpha() == 255
    assert frame.pixelColor(20, 20).alpha() == 0


def test_what_goes_wrong_on_the_way_is_told_and_leaves_nothing(world: World, wait: Wait) -> None:
    _start(world, wait, (10, 20))
    tell(
        world,
        _asked(world)[-1].batch_id,
        BatchPhase.FAILED,
        sentence="The model is gone.",
        action="Choose another.",
    )
    assert "The model is gone." in world.state.problem
    assert not world.flow.animator.is_running
    _start(world, wait, (10,))
    world.link.stop()
    world.link.state_changed.emit("reconnecting")
    assert "ended while it was generating" in world.state.problem
    assert world.canvas.open_readers == 0
    world.link.start()
    world.link.state_changed.emit("open")
    world.canvas.refusal = ChangeTakenBack("Krita refused.", "Try again.")
    _start(world, wait, (10,))
    _make(world, 100)
    wait(lambda: "Krita refused." in world.state.problem)
    assert world.canvas.open_readers == 0


def test_an_older_backend_is_not_asked(world: World, wait: Wait) -> None:
    session = world.link.session
    assert session is not None
    assert session.welcome is not None
    session.welcome = replace(session.welcome, capabilities=("generate",))
    world.canvas.frames = {3: _drawing(10)}
    world.flow.animator.start(3, 3, 0.0)
    wait(lambda: "cannot do that yet" in world.state.problem)
    assert _asked(world) == []


def test_what_is_not_animated_is_told(world: World) -> None:
    assert world.flow.animator.span() is None
    assert "is animated" in world.state.problem
    world.canvas.span = FrameSpan(4, 9, 0, 100)
    assert world.flow.animator.span() == FrameSpan(4, 9, 0, 100)


def test_a_closed_document_ends_it(world: World, wait: Wait) -> None:
    _start(world, wait, (10, 20))
    world.canvas.open.remove("A")
    wait(lambda: not world.flow.animator.is_running)
    assert world.canvas.open_readers == 0


def test_the_dialog_begins_with_what_is_drawn(application: Any) -> None:
    dialog = AnimationDialog((4, 9), (0, 100))
    asked: list[tuple[int, int, float]] = []
    dialog.render_clicked.connect(lambda *values: asked.append(values))
    first, last = (
        dialog.findChild(QtWidgets.QSpinBox, f"nijimi_animation_{name}")
        for name in ("first", "last")
    )
    told = dialog.findChild(QtWidgets.QLabel, "nijimi_animation_told")
    assert told.text().startswith("6 frames")
    button = dialog.findChild(QtWidgets.QPushButton, "nijimi_animation_render")
    first.setValue(20)
    assert not button.isEnabled()
    last.setValue(21)
    button.click()
    assert asked == [(20, 21, 0.3)]


def test_a_part_is_laid_over_a_canvas_by_its_own_transparency() -> None:
    canvas = bytes((0, 0, 0, 255)) * SIZE.pixels
    half = bytes((255, 255, 255, 128)) * 16
    mixed = laid_over(canvas, SIZE, half, Bounds(2, 3, 4, 4), 0.5)
    at = 4 * (3 * SIZE.width + 2)
    assert mixed[at] == pytest.approx(64, abs=2)
    assert mixed[at - 4] == 0
