"""Selections, mask layers and context layers: what is repainted, and what pauses."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

from nijimi.canvas.room import ChosenNode, SelectionMask
from nijimi.model.settings import AREA_LAYER, AREA_WHOLE
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import (
    MASK,
    DropPlane,
    UpdateTiles,
)
from nijimi_protocol.params import RenderMode

from .flow_world import SIZE, World

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
