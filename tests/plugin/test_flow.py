"""The flow between a stand-in canvas and a real session pair: the newest state wins, and nothing
of ours stays where the painter did not want it."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from nijimi.canvas.room import ChangeTakenBack, ChosenNode, SelectionMask
from nijimi.live.sender import MAX_PENDING_BYTES
from nijimi.model.settings import AREA_LAYER, AREA_WHOLE, SHOW_LAYER, SHOW_NOTHING, SHOW_OVERLAY
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import (
    MASK,
    DropPlane,
    ErrorReport,
    UpdateTiles,
)
from nijimi_protocol.params import RenderMode

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


def test_a_preview_layer_is_written_at_rest_only_and_once(application: Any) -> None:
    world = World(show_on_canvas=SHOW_LAYER)
    world.canvas.at_rest = False
    world.frame()
    spin(application, 150)
    assert world.canvas.preview == {}
    world.canvas.at_rest = True
    spin(application, 150)
    assert world.canvas.preview == {"A": "shown"}
    world.canvas.preview.clear()
    spin(application, 150)
    assert world.canvas.preview == {}, "the same picture was written twice"


@pytest.mark.parametrize("how", ["live off", "another document", "overlay"])
def test_a_preview_layer_is_removed_as_soon_as_krita_lets_us(
    application: Any, wait: Wait, how: str
) -> None:
    world = World(show_on_canvas=SHOW_LAYER)
    world.frame()
    wait(lambda: world.canvas.preview == {"A": "shown"})
    world.canvas.at_rest = False
    if how == "live off":
        world.settings.set("live", False)
    elif how == "overlay":
        world.settings.set("show_on_canvas", SHOW_OVERLAY)
    else:
        world.go_to("B")
    spin(application, 150)
    assert world.canvas.preview == {"A": "shown"}
    world.canvas.at_rest = True
    wait(lambda: world.canvas.preview == {})


def test_a_closed_document_is_left_alone(application: Any, wait: Wait) -> None:
    world = World(show_on_canvas=SHOW_LAYER)
    world.frame()
    wait(lambda: world.canvas.preview == {"A": "shown"})
    world.canvas.open.remove("A")
    world.go_to("B")
    spin(application, 150)
    assert world.canvas.preview == {"A": "shown"}, "a closed document was touched"


def test_apply_waits_until_krita_is_at_rest(world: World, wait: Wait) -> None:
    world.frame()
    world.canvas.at_rest = False
    world.flow.apply()
    assert world.canvas.applied == []
    world.canvas.at_rest = True
    wait(lambda: world.canvas.applied == [("A", SIZE.bounds)])


def test_apply_works_while_the_backend_is_gone_and_before_its_next_frame(
    world: World, wait: Wait
) -> None:
    world.frame()
    world.link.stop()
    world.flow.apply()
    wait(lambda: len(world.canvas.applied) == 1)
    world.link.start()
    world.flow.apply()
    wait(lambda: len(world.canvas.applied) == 2)
    assert not world.flow.shows_newest


def test_a_picture_is_never_applied_to_another_document(application: Any, world: World) -> None:
    world.frame()
    world.settings.set("live", False)
    # With live off nobody tells of the switch.
    world.canvas.front = "B"
    world.flow.apply()
    spin(application, 100)
    assert world.canvas.applied == []
    assert "another document" in world.state.line()
    world.canvas.front = "A"
    world.flow.apply()
    assert world.canvas.applied == [("A", SIZE.bounds)]
    assert world.state.problem == ""


def test_the_picture_of_another_document_is_not_shown_with_live_off(
    application: Any, world: World
) -> None:
    world.frame()
    world.settings.set("live", False)
    assert world.state.has_picture
    shown: list[Any] = []
    world.flow.picture_changed.connect(shown.append)
    world.canvas.front = "B"
    spin(application, 120)
    assert shown == [None]
    assert not world.state.has_picture
    world.canvas.front = "A"
    spin(application, 120)
    assert shown[-1].document_id == "A"
    assert world.state.has_picture


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


SELECTED = SelectionMask(Bounds(10, 20, 30, 10), bytes([200]) * 300)


def test_with_a_selection_only_that_is_repainted(world: World) -> None:
    world.frame()
    assert world.params()[-1].mode is RenderMode.IMG2IMG
    world.canvas.selection = SELECTED
    world.canvas.watcher.changed.emit()
    assert world.params()[-1].mode is RenderMode.INPAINT
    sent = [event for event in world.link.heard if isinstance(event, UpdateTiles)][-1]
    assert sent.plane == MASK
    assert sent.tiles[0].bounds == SELECTED.bounds
    world.frame()
    assert world.canvas.shown
    world.flow.apply()
    assert world.canvas.applied_selection == SELECTED
    before = len(world.link.heard)
    world.canvas.watcher.changed.emit()
    assert len(world.link.heard) == before, "an unchanged selection was sent again"


def test_losing_the_selection_pauses_until_the_painter_decides(world: World) -> None:
    world.canvas.selection = SELECTED
    world.canvas.watcher.changed.emit()
    world.frame()
    world.canvas.selection = None
    world.canvas.watcher.changed.emit()
    assert isinstance(world.link.heard[-2], DropPlane)
    assert world.params()[-1].mode is RenderMode.INPAINT, "the whole canvas was asked for"
    assert "Nothing is selected" in world.state.line()
    assert not world.canvas.shown
    world.settings.set("area", AREA_WHOLE)
    assert world.state.problem == ""
    assert world.params()[-1].mode is RenderMode.IMG2IMG
    world.frame()
    assert world.canvas.shown


def test_a_new_selection_goes_on_after_one_was_lost(world: World) -> None:
    world.canvas.selection = SELECTED
    world.canvas.watcher.changed.emit()
    world.canvas.selection = None
    world.canvas.watcher.changed.emit()
    world.canvas.selection = SELECTED
    world.canvas.watcher.changed.emit()
    assert world.state.problem == ""
    assert world.params()[-1].mode is RenderMode.INPAINT


def test_a_selection_is_not_looked_at_while_the_pen_is_down(world: World) -> None:
    world.canvas.watcher.is_pen_down = True
    world.canvas.selection = SELECTED
    world.canvas.watcher.changed.emit()
    assert not any(getattr(event, "plane", "") == MASK for event in world.link.heard)
    world.canvas.watcher.is_pen_down = False
    world.canvas.watcher.changed.emit()
    assert any(getattr(event, "plane", "") == MASK for event in world.link.heard)


def test_a_reconnected_backend_gets_the_selection_before_it_may_render(world: World) -> None:
    world.canvas.selection = SELECTED
    world.canvas.watcher.changed.emit()
    world.link.stop()
    world.link.heard.clear()
    world.link.start()
    kinds = [type(event).__name__ for event in world.link.heard]
    first_params = kinds.index("SetParams")
    planes = [getattr(event, "plane", "") for event in world.link.heard[:first_params]]
    assert MASK in planes
    assert world.params()[0].mode is RenderMode.INPAINT


def test_the_next_document_starts_without_the_selection_of_the_one_before(world: World) -> None:
    world.canvas.selection = SELECTED
    world.canvas.watcher.changed.emit()
    world.canvas.selection = None
    world.go_to("B")
    assert world.state.problem == ""
    assert world.params()[-1].mode is RenderMode.IMG2IMG
    world.frame()
    assert world.canvas.shown


def test_a_frame_of_the_canvas_before_its_resize_keeps_that_size(world: World) -> None:
    session = world.link.session
    assert session is not None
    old = session.revision
    world.canvas.extents["A"] = Extent(128, 64)
    world.draw(Bounds(0, 0, 8, 8))
    world.frame(revision=old)
    assert world.flow._presenter.picture is not None
    assert world.flow._presenter.picture.canvas == SIZE
    world.flow.apply()
    assert world.canvas.applied == []
    assert "another size" in world.state.line()
    world.frame()
    world.flow.apply()
    assert world.canvas.applied == [("A", SIZE.bounds)]
    assert world.state.problem == ""


COVERED = SelectionMask(Bounds(8, 8, 16, 16), b"\xff" * 256)


def test_a_chosen_layer_is_the_mask_while_the_painter_goes_on_elsewhere(world: World) -> None:
    world.canvas.node_masks["{1}"] = COVERED
    world.settings.set("area", AREA_LAYER)
    world.canvas.active = ChosenNode("{2}", "another")
    world.draw(Bounds(0, 0, 4, 4))
    assert world.params()[-1].mode is RenderMode.INPAINT
    planes = [event for event in world.link.heard if isinstance(event, UpdateTiles)]
    masks = [event.tiles[0].bounds for event in planes if event.plane == MASK]
    assert masks == [COVERED.bounds]


def test_a_layer_that_covers_nothing_pauses_and_is_named(world: World) -> None:
    world.settings.set("area", AREA_LAYER)
    assert "'paint' covers nothing" in world.state.problem
    assert world.params()[-1].mode is RenderMode.INPAINT, "never the whole canvas instead"
    world.canvas.node_masks["{1}"] = COVERED
    world.draw(Bounds(0, 0, 4, 4))
    assert not world.state.problem
    world.canvas.node_masks.clear()
    world.draw(Bounds(0, 0, 4, 4))
    assert "'paint' covers nothing" in world.state.problem
    world.settings.set("area", AREA_WHOLE)
    assert not world.state.problem
    assert world.params()[-1].mode is RenderMode.IMG2IMG


def test_each_document_has_a_mask_layer_of_its_own(world: World) -> None:
    world.canvas.node_masks |= {"{1}": COVERED}
    world.settings.set("area", AREA_LAYER)
    world.canvas.active = ChosenNode("{9}", "of B")
    world.go_to("B")
    assert "'of B' covers nothing" in world.state.problem
    world.go_to("A")
    assert not world.state.problem


def test_a_chosen_layer_is_the_context_and_is_followed(world: World) -> None:
    world.canvas.nodes["{1}"] = Bounds(0, 0, 20, 20)
    world.canvas.selection = SELECTED
    world.settings.set("inpaint_context_layer", True)
    assert world.params()[-1].inpaint.context == Bounds(0, 0, 20, 20)
    count = len(world.params())
    world.draw(Bounds(0, 0, 1, 1))
    world.draw(Bounds(0, 0, 1, 1))
    world.canvas.nodes["{1}"] = Bounds(0, 0, 40, 30)
    world.draw(Bounds(0, 0, 1, 1))
    assert world.params()[-1].inpaint.context == Bounds(0, 0, 40, 30)
    assert world.params()[-1].mode is RenderMode.INPAINT
    assert len(world.params()) <= count + 2, "an unchanged context was sent again"
    world.settings.set("inpaint_context_layer", False)
    assert world.params()[-1].inpaint.context is None


def test_a_document_whose_colours_mean_nothing_says_so(world: World) -> None:
    world.canvas.colour_problem = ("It is CMYK without a profile.", "Give it one.")
    before = world.canvas.grabs
    world.draw(Bounds(0, 0, 4, 4))
    assert "CMYK" in world.state.problem
    assert world.canvas.grabs == before
    world.canvas.colour_problem = None
    world.draw(Bounds(0, 0, 4, 4))
    assert not world.state.problem


def test_a_layer_that_krita_refuses_is_told_and_not_tried_for_ever(
    world: World, wait: Wait
) -> None:
    world.frame()
    world.canvas.refusal = ChangeTakenBack("Krita refused: a layer.", "Try again.")
    world.flow.apply()
    assert world.state.problem == "Krita refused: a layer."
    world.canvas.refusal = None
    world.flow.apply()
    wait(lambda: bool(world.canvas.applied))
    assert len(world.canvas.applied) == 1
    assert not world.state.problem


def test_a_preview_that_a_crash_left_behind_is_removed(application: Any) -> None:
    world = World()
    world.settings.set("live", False)
    world.canvas.preview["B"] = "shown"
    world.canvas.at_rest = False
    world.canvas.front = "B"
    spin(application, 200)
    assert world.canvas.preview, "Krita is busy"
    world.canvas.at_rest = True
    spin(application, 200)
    assert not world.canvas.preview
