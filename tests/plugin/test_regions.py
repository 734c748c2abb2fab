"""Regions in the docker and on their way: words, coverage, and what is limited to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from nijimi.model.controls import Controls
from nijimi.qt import QtGui, QtWidgets
from nijimi.ui.control_rows import ControlRows
from nijimi.ui.prompt_editor import PromptEditor
from nijimi_protocol.messages import SetControls, UpdateTiles
from nijimi_protocol.pixels import PixelFormat

from .flow_world import World, spin

Wait = Callable[..., None]


def _rows_widget(controls: Controls) -> Any:
    """Shown by the test where it needs to be: what is hidden is not laid out."""
    return ControlRows(controls, lambda _name: QtGui.QIcon(), ("standing",), lambda: ((), (), ()))


def _editor(widget: Any, row_id: str) -> Any:
    return widget.findChild(PromptEditor, f"nijimi_control_{row_id}_prompt")


def test_only_what_a_region_covers_is_sent(world: World) -> None:
    alpha = bytes(range(256))
    world.canvas.layers["{1}"] = lambda bounds: b"".join(
        bytes((n % 7, 8, 9, alpha[n % 256])) for n in range(bounds.extent.pixels)
    )
    world.flow.controls.add_active_layer("region")
    sent = world.sent(SetControls)[-1].controls[0]
    assert (sent.kind, sent.plane) == ("region", "control:c0")
    tiles = [tile for event in world.sent(UpdateTiles) if event.plane == "control:c0"
             for tile in event.tiles]  # fmt: skip
    assert {tile.format for tile in tiles} == {PixelFormat.GRAY8}
    whole = next(tile for tile in tiles if tile.bounds[:2] == (0, 0))
    assert whole.data[:4] == bytes(range(4))


def test_other_colours_of_the_same_shape_send_nothing(world: World) -> None:
    colour = [b"\x01\x02\x03\xff"]
    world.canvas.layers["{1}"] = lambda bounds: colour[0] * bounds.extent.pixels
    world.flow.controls.add_active_layer("region")
    before = len(world.sent(UpdateTiles))
    colour[0] = b"\x30\x20\x10\xff"
    world.canvas.watcher.changed.emit()
    of_region = [each for each in world.sent(UpdateTiles)[before:] if each.plane == "control:c0"]
    assert of_region == []


def test_a_region_stays_a_part_of_the_picture(world: World) -> None:
    world.flow.controls.add_active_layer("region")
    assert world.canvas.left_out == frozenset()
    world.flow.controls.add_active_layer("scribble")
    assert world.canvas.left_out == {"{1}"}


def test_words_are_sent_a_moment_after_they_were_typed(world: World, wait: Wait) -> None:
    world.canvas.layers["{1}"] = lambda bounds: b"\x07" * (bounds.extent.pixels * 4)
    widget = _rows_widget(world.controls)
    world.flow.controls.add_active_layer("region")
    editor = _editor(widget, "c0")
    editor.setPlainText("a red boat")
    wait(lambda: world.sent(SetControls)[-1].controls[0].prompt == "a red boat")
    assert world.controls.rows[0].prompt == "a red boat"


def test_words_that_are_being_typed_are_not_overwritten_by_older_ones(
    world: World, wait: Wait
) -> None:
    widget = _rows_widget(world.controls)
    world.flow.controls.add_active_layer("region")
    editor = _editor(widget, "c0")
    editor.setPlainText("a red")
    wait(lambda: world.controls.rows[0].prompt == "a red")
    editor.setPlainText("a red boat")
    world.controls.update("c0", scale=0.5)
    assert editor.toPlainText() == "a red boat"
    wait(lambda: world.controls.rows[0].prompt == "a red boat")


def test_words_typed_a_moment_before_do_not_follow_into_another_document(
    world: World, application: Any
) -> None:
    widget = _rows_widget(world.controls)
    world.controls.add("region", "{1}", "boat")
    editor = _editor(widget, "c0")
    editor.setPlainText("of the first")
    other = Controls()
    other.add("region", "{2}", "tree")
    world.controls.set_rows(other.rows)
    assert editor.toPlainText() == ""
    spin(application, 300)
    assert world.controls.rows[0].prompt == ""


def test_only_regions_have_words_and_only_hints_a_place(world: World) -> None:
    widget = _rows_widget(world.controls)
    widget.show()
    for kind in ("scribble", "reference", "region"):
        world.controls.add(kind, f"{{{kind}}}", f"my {kind}")
    shown = [not _editor(widget, f"c{n}").isHidden() for n in range(3)]
    assert shown == [False, False, True]
    menus: list[Any] = [
        menu for menu in widget.findChildren(QtWidgets.QMenu) if menu.title() == "Where it counts"
    ]
    visible = [menu.menuAction().isVisible() for menu in menus]
    assert visible == [True, False, False]
    menu = menus[0]
    menu.aboutToShow.emit()
    assert [action.text() for action in menu.actions()] == ["Everywhere", "my region"]
    menu.actions()[1].trigger()
    assert world.controls.rows[0].region == "c2"
    menu.aboutToShow.emit()
    assert [action.isChecked() for action in menu.actions()] == [False, True]
    world.controls.remove("c2")
    assert world.controls.rows[0].region == ""


def test_what_has_no_region_is_written_as_older_versions_read_it() -> None:
    controls = Controls()
    controls.add("scribble", "{1}", "lines")
    value = json.loads(controls.text())
    assert value["version"] == 1
    assert "prompt" not in value["rows"][0]
    controls.add("region", "{2}", "boat")
    controls.update("c1", prompt="a red boat")
    controls.update("c0", region="c1")
    assert json.loads(controls.text())["version"] == 2
    assert Controls.rows_of(controls.text()) == controls.rows


@pytest.mark.parametrize("values", [{"prompt": 3}, {"prompt": "x" * 4001}, {"region": "r" * 33}])
def test_a_row_of_a_file_with_wrong_words_is_left_out(values: dict[str, Any]) -> None:
    controls = Controls()
    controls.add("region", "{1}", "boat")
    text = json.loads(controls.text())
    text["rows"][0].update(values)
    assert Controls.rows_of(json.dumps(text)) == ()


def test_a_layer_may_be_a_region_and_a_hint(world: World) -> None:
    world.canvas.layers["{1}"] = lambda bounds: b"\x07" * (bounds.extent.pixels * 4)
    world.flow.controls.add_active_layer("region")
    world.flow.controls.add_active_layer("scribble")
    assert [layer.plane for layer in world.sent(SetControls)[-1].controls] == [
        "control:c0", "control:c1",
    ]  # fmt: skip
