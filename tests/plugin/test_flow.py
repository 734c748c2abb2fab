"""The flow between a stand-in canvas and a real session pair: the newest state wins, and nothing
of ours stays where the painter did not want it."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from nijimi.live.sender import MAX_PENDING_BYTES
from nijimi.model.settings import SHOW_LAYER, SHOW_NOTHING, SHOW_OVERLAY
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import (
    DropPlane,
    ErrorReport,
    UpdateTiles,
)

from .flow_world import SIZE, World, spin

Wait = Callable[..., None]


def test_many_changes_while_the_socket_is_full_become_one_update(world: World, wait: Wait) -> None:
    world.frame()
    before = len(world.link.tiles_sent())
    world.link.pending_bytes = MAX_PENDING_BYTES + 1
    for x in range(10):
        world.draw(Bounds(x, 0, 1, 1))
    assert len(world.link.tiles_sent()) == before
    assert not world.flow.shows_newest
    world.link.pending_bytes = 0
    wait(lambda: len(world.link.tiles_sent()) > before)
    updates = [event for event in world.link.heard if isinstance(event, UpdateTiles)]
    assert [tile.bounds.x for tile in updates[-1].tiles] == list(range(10))
    assert not world.flow.shows_newest
    world.frame()
    assert world.flow.shows_newest


def test_a_change_beyond_the_budget_follows_in_further_turns(world: World, wait: Wait) -> None:
    world.frame()
    bands = [Bounds(0, y, 64, 8) for y in range(0, 64, 8)]
    world.canvas.bands = list(bands)
    world.canvas.watcher.changed.emit()
    assert not world.flow.shows_newest
    wait(lambda: not world.canvas.bands)
    assert world.link.tiles_sent()[-8:] == bands


def test_waiting_to_be_sent_counts_as_our_time(application: Any, world: World, wait: Wait) -> None:
    """Neither back pressure, nor bands, nor a busy Krita makes a change younger."""
    world.frame()
    metrics = world.flow.metrics

    def waited_ms() -> float:
        return metrics.report()["stroke_to_frame_ms"]["max"]

    metrics.reset()
    world.link.pending_bytes = MAX_PENDING_BYTES + 1
    world.draw(Bounds(0, 0, 1, 1))
    spin(application, 80)
    world.link.pending_bytes = 0
    wait(lambda: not world.flow._sender.is_waiting)
    world.frame()
    assert waited_ms() >= 80

    metrics.reset()
    world.canvas.bands = [Bounds(0, y, 64, 8) for y in range(0, 64, 8)]
    started = time.perf_counter()
    world.canvas.watcher.changed.emit()
    wait(lambda: not world.flow._sender.is_waiting)
    world.frame()
    assert waited_ms() >= 0.9 * (time.perf_counter() - started) * 1000

    metrics.reset()
    world.canvas.is_readable = False
    world.draw(Bounds(0, 0, 1, 1))
    spin(application, 80)
    world.canvas.is_readable = True
    wait(lambda: not world.flow._sender.is_waiting)
    world.frame()
    assert waited_ms() >= 80


@pytest.mark.parametrize("is_down", [True, False])
def test_the_capture_learns_where_the_pen_was(world: World, is_down: bool) -> None:
    watcher = world.canvas.watcher
    watcher.trail, watcher.is_pen_down = [(3, 4), (10**6, 0)], is_down
    watcher.changed.emit()
    assert world.canvas.trail == [(3, 4)]


def test_a_changed_setting_is_no_stroke(world: World) -> None:
    world.frame()
    world.flow.metrics.reset()
    world.settings.set("prompt", "a boat")
    world.frame()
    report = world.flow.metrics.report()
    assert report["frames"] == 1
    assert report["stroke_to_frame_ms"]["max"] == 0.0


def test_a_picture_of_the_document_before_is_dropped(world: World) -> None:
    session = world.link.session
    assert session is not None
    old = session.revision
    world.go_to("B")
    assert any(isinstance(event, DropPlane) for event in world.link.heard)
    world.frame(revision=old)
    assert not world.canvas.shown
    assert not world.state.has_picture
    world.frame()
    assert world.canvas.shown
    assert world.state.has_picture


def test_without_a_document_the_painter_is_told_to_open_one(world: World) -> None:
    world.state.update(state="ready")
    world.go_to(None)
    assert world.state.line() == "Open a document and paint."
    world.go_to("B")
    assert world.state.state == "ready"


def test_a_huge_canvas_is_refused_in_a_sentence_before_it_is_read(world: World) -> None:
    world.frame()
    world.canvas.extents["B"] = Extent(20000, 20000)
    grabs = world.canvas.grabs
    world.go_to("B")
    for _ in range(3):
        world.canvas.watcher.changed.emit()
    assert world.canvas.grabs == grabs
    assert "20000" in world.state.line()
    assert world.state.hint
    world.go_to("A")
    assert world.state.problem == ""
    world.frame()
    assert world.canvas.shown


def test_a_canvas_made_smaller_is_accepted_again(world: World) -> None:
    world.canvas.extents["B"] = Extent(20000, 20000)
    world.go_to("B")
    assert world.state.problem
    world.canvas.extents["B"] = SIZE
    world.draw(SIZE.bounds)
    assert world.state.problem == ""


def test_live_off_frees_the_canvas_whatever_is_changed_then(application: Any, world: World) -> None:
    world.frame()
    assert world.canvas.shown
    world.settings.set("live", False)
    for how in (SHOW_LAYER, SHOW_NOTHING, SHOW_OVERLAY):
        world.settings.set("show_on_canvas", how)
        world.settings.set("overlay_opacity", world.settings.get("overlay_opacity") - 0.1)
        spin(application, 80)
        assert not world.canvas.shown, how
        assert world.canvas.preview == {}, how
    world.frame()
    assert not world.canvas.shown


def test_live_off_reaches_the_backend_in_spite_of_a_bad_prompt(world: World) -> None:
    world.settings.set("prompt", "a boat")
    world.settings.set("prompt", "x" * 10_000)
    assert "prompt" in world.state.line()
    assert world.params()[-1].prompt == "a boat"
    world.settings.set("live", False)
    assert world.params()[-1].live is False
    assert world.params()[-1].prompt == "a boat"
    assert world.state.problem == ""
    world.settings.set("live", True)
    assert "prompt" in world.state.line()
    world.settings.set("prompt", "a ship")
    assert world.params()[-1].live is True
    assert world.state.problem == ""


def test_what_the_backend_complained_of_is_forgotten_with_its_next_frame(world: World) -> None:
    server, session = world.link.server, world.link.session
    assert server is not None
    assert session is not None
    told = ErrorReport(code="no_model", sentence="It is gone.", action="Put it back.")
    world.link.received.emit(session.receive(server.send(told)))
    assert world.state.line() == "It is gone. Put it back."
    world.frame()
    assert world.state.problem == ""


@pytest.mark.parametrize("has_revision", [True, False])
def test_a_frame_that_was_on_its_way_hides_no_complaint(world: World, has_revision: bool) -> None:
    server, session = world.link.server, world.link.session
    assert server is not None
    assert session is not None
    before = session.revision
    world.settings.set("prompt", "a boat")
    assert session.revision > before
    told = ErrorReport(
        code="no_model", sentence="It is gone.", action="Put it back.",
        revision=session.revision if has_revision else 0,
    )  # fmt: skip
    world.link.received.emit(session.receive(server.send(told)))
    world.frame(before)
    assert world.state.line() == "It is gone. Put it back."
    world.frame()
    assert world.state.problem == ""


def test_a_document_whose_colours_mean_nothing_says_so(world: World) -> None:
    world.canvas.colour_problem = ("It is CMYK without a profile.", "Give it one.")
    before = world.canvas.grabs
    world.draw(Bounds(0, 0, 4, 4))
    assert "CMYK" in world.state.problem
    assert world.canvas.grabs == before
    world.canvas.colour_problem = None
    world.draw(Bounds(0, 0, 4, 4))
    assert not world.state.problem
