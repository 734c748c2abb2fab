"""Preview layers and Apply on a stand-in canvas: at rest, once, and only where they belong."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nijimi.canvas.room import ChangeTakenBack, ChosenNode
from nijimi.model.picture import APPLY_REPLACING
from nijimi.model.settings import AREA_LAYER, SHOW_LAYER, SHOW_OVERLAY

from .flow_world import SIZE, World, spin

Wait = Callable[..., None]


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


def test_a_picture_takes_the_place_of_the_newest_that_is_left(world: World) -> None:
    world.frame()
    world.flow.apply(APPLY_REPLACING)
    assert world.canvas.replaced == [], "there was none: it became a layer"
    assert len(world.canvas.applied) == 1
    world.flow.apply(APPLY_REPLACING)
    world.flow.apply(APPLY_REPLACING)
    assert world.canvas.replaced == ["layer 1", "layer 1, again"]
    # The painter took it back, and the one before is there again.
    world.canvas.removed = {"layer 1, again, again"}
    world.flow.apply(APPLY_REPLACING)
    assert world.canvas.replaced[-1] == "layer 1, again"
    assert len(world.canvas.applied) == 1


def test_what_refers_to_a_replaced_layer_goes_over_to_the_new_one(world: World) -> None:
    world.controls.add("scribble", "old", "lines")
    world.controls.add("depth", "other", "far")
    world.settings.set("area", AREA_LAYER)
    chosen = world.flow._chosen
    chosen._masks["A"] = ChosenNode("old", "lines")
    for gone, there in (("old", "new"), ("new", "old")):
        for listener in world.canvas.listeners:
            listener(gone, there)
        assert [row.node_id for row in world.controls.rows] == [there, "other"]
        assert chosen._masks["A"] == ChosenNode(there, "lines")


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
