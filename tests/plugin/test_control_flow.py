"""Control layers between a stand-in canvas and a real session pair: what changed is mirrored, and
what is missing is said."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nijimi.canvas.pose_shapes import preset_person
from nijimi.canvas.room import ChosenNode
from nijimi.live.thumbnails import Thumbnails
from nijimi.model.controls import Controls
from nijimi.qt import QtGui, QtWidgets
from nijimi.ui.control_rows import ControlRows
from nijimi_protocol.geometry import Bounds
from nijimi_protocol.messages import (
    SetControls,
    SetPose,
    UpdateTiles,
)
from nijimi_protocol.openpose import openpose_text
from nijimi_protocol.pose import Joint, Person

from .flow_world import SIZE, World, spin

Wait = Callable[..., None]


def test_a_pose_is_sent_when_it_changes_and_only_then(world: World) -> None:
    world.flow.controls.add_person("standing")
    assert [row.kind for row in world.controls.rows] == ["pose"]
    (first,) = world.sent(SetPose)
    (person,) = world.canvas.people["{pose}"]
    assert first.people[0].body[4] == pytest.approx(person.body[4], abs=0.01)
    assert world.sent(SetControls)[-1].controls[0].kind == "pose"
    world.canvas.watcher.changed.emit()
    assert len(world.sent(SetPose)) == 1
    moved = replace(first.people[0], body=(Joint(3.0, 4.0), *first.people[0].body[1:]))
    world.canvas.people["{pose}"] = (moved,)
    world.canvas.watcher.is_pen_down = True
    world.canvas.watcher.changed.emit()
    assert world.sent(SetPose)[-1].people == (moved,)
    assert not world.flow.shows_newest
    world.frame()
    assert world.flow.shows_newest


def test_a_thumbnail_is_told_when_the_layer_changed_and_only_then(
    world: World, application: Any
) -> None:
    thumbnails = Thumbnails(world.canvas.room(), world.controls)
    told: list[tuple[str, Any]] = []
    thumbnails.shown.connect(lambda row_id, image: told.append((row_id, image)))
    image = QtGui.QImage(4, 4, QtGui.QImage.Format.Format_RGB32)
    world.canvas.thumbnails["{1}"] = image
    world.flow.controls.add_active_layer("scribble")
    spin(application, 20)
    assert [row_id for row_id, _ in told] == ["c0"]
    thumbnails.look()
    assert len(told) == 1
    image.fill(0)
    world.canvas.watcher.is_pen_down = True
    thumbnails.look()
    assert len(told) == 1
    world.canvas.watcher.is_pen_down = False
    thumbnails.look()
    assert len(told) == 2
    del world.canvas.thumbnails["{1}"]
    thumbnails.look()
    assert told[-1] == ("c0", None)
    thumbnails.end()


def test_rows_move_up_and_down_and_stay_at_the_ends(world: World) -> None:
    for n in range(3):
        world.controls.add("scribble", f"{{{n}}}", f"layer {n}")
    widget = ControlRows(
        world.controls, lambda _name: QtGui.QIcon(), ("standing",), lambda: ((), (), ())
    )

    def shown() -> list[str]:
        boxes = sorted(widget.findChildren(QtWidgets.QCheckBox), key=lambda box: box.parent().y())
        return [box.text() for box in boxes]

    widget.show()
    assert shown() == ["Scribble: layer 0", "Scribble: layer 1", "Scribble: layer 2"]
    world.controls.move("c2", -1)
    widget.layout().activate()
    assert shown() == ["Scribble: layer 0", "Scribble: layer 2", "Scribble: layer 1"]
    world.controls.move("c0", -1)
    world.controls.move("c1", 1)
    assert [row.id for row in world.controls.rows] == ["c0", "c2", "c1"]


def test_a_second_person_joins_the_first(world: World) -> None:
    world.flow.controls.add_person("standing")
    world.flow.controls.add_person("standing")
    assert len(world.controls.rows) == 1
    assert len(world.sent(SetPose)[-1].people) == 2


def test_a_painted_control_is_a_plane_that_is_complete_before_it_is_named(world: World) -> None:
    world.canvas.layers["{1}"] = lambda bounds: b"\x07" * (bounds.extent.pixels * 4)
    world.flow.controls.add_active_layer("scribble")
    kinds = [type(event) for event in world.link.heard]
    assert world.sent(SetControls)[-1].controls[0].plane == "control:c0"
    assert kinds.index(SetControls) == len(kinds) - 1
    tiles = [event for event in world.sent(UpdateTiles) if event.plane == "control:c0"]
    assert tiles
    world.canvas.watcher.changed.emit()
    again = [event for event in world.sent(UpdateTiles) if event.plane == "control:c0"]
    assert len(again) == len(tiles), "unchanged pixels were sent again"


def test_a_control_layer_is_no_part_of_the_picture(world: World) -> None:
    world.flow.controls.add_active_layer("scribble")
    assert world.canvas.left_out == {"{1}"}
    world.controls.update("c0", enabled=False)
    assert world.canvas.left_out == {"{1}"}, "switched off it is still no part of the picture"
    world.controls.remove("c0")
    assert world.canvas.left_out == frozenset()


def test_settings_of_a_control_are_sent_and_off_keeps_them(world: World) -> None:
    world.flow.controls.add_person("standing")
    world.controls.update("c0", scale=0.5, end=0.5)
    layer = world.sent(SetControls)[-1].controls[0]
    assert (layer.control_scale, layer.end) == (0.5, 0.5)
    world.controls.update("c0", enabled=False)
    assert world.sent(SetControls)[-1].controls == ()
    world.controls.update("c0", enabled=True)
    assert world.sent(SetControls)[-1].controls[0] == layer


def test_a_control_whose_layer_is_gone_says_so_and_comes_back(world: World) -> None:
    world.flow.controls.add_person("standing")
    kept = world.canvas.people.pop("{pose}")
    world.canvas.watcher.changed.emit()
    assert "'Pose' is gone" in world.state.problem
    assert world.sent(SetControls)[-1].controls == ()
    world.draw(Bounds(0, 0, 2, 2))
    assert world.link.tiles_sent()[-1] == Bounds(0, 0, 2, 2), "the rest goes on"
    world.canvas.people["{pose}"] = kept
    world.canvas.watcher.changed.emit()
    assert not world.state.problem
    assert world.sent(SetControls)[-1].controls


def test_more_people_than_the_backend_takes_are_cut_and_told(world: World) -> None:
    world.flow.controls.add_person("standing")
    world.canvas.people["{pose}"] *= 40
    world.canvas.watcher.changed.emit()
    assert "40 people" in world.state.problem
    assert len(world.sent(SetPose)[-1].people) == 20
    world.canvas.people["{pose}"] = ()
    world.canvas.watcher.changed.emit()
    assert not world.state.problem
    assert world.sent(SetPose)[-1].people == ()


def test_controls_are_the_document_s_and_kept_in_its_file(world: World, wait: Wait) -> None:
    world.flow.controls.add_person("standing")
    world.controls.update("c0", scale=1.5)
    wait(lambda: "1.5" in world.canvas.notes.get("A", ""))
    world.go_to("B")
    assert world.controls.rows == ()
    assert world.sent(SetControls)[-1].controls == ()
    world.go_to("A")
    assert [row.scale for row in world.controls.rows] == [1.5]
    assert world.sent(SetControls)[-1].controls[0].control_scale == 1.5


def test_a_new_backend_gets_the_controls_again(world: World) -> None:
    world.flow.controls.add_person("standing")
    world.link.stop()
    world.link.heard.clear()
    world.link.start()
    assert world.sent(SetPose)
    assert world.sent(SetControls)[-1].controls[0].kind == "pose"


@pytest.mark.parametrize(
    ("text", "words"),
    [("no json", "no JSON"), ('{"people": []}', "nobody"), (None, "cannot be read")],
)
def test_a_broken_pose_file_says_what_is_wrong(
    world: World, tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "pose.json"
    if text is not None:
        path.write_text(text)
    world.flow.controls.add_file(str(path))
    assert words in world.state.problem
    assert world.controls.rows == ()


def test_a_pose_file_becomes_a_pose_layer(world: World, tmp_path: Path) -> None:
    path = tmp_path / "pose.json"
    people = (preset_person("standing", SIZE),) * 2
    path.write_text(openpose_text(people, SIZE))
    world.flow.controls.add_file(str(path))
    assert len(world.sent(SetPose)[-1].people) == 2
    assert not world.state.problem


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", '{"version": 2, "rows": [{}]}', '{"version": 1, "rows": [3, {}]}',
     '{"version": 1, "rows": {"a": 1}}', '{"version": 1}', "[" * 5000],
)  # fmt: skip
def test_a_file_of_another_version_gives_no_controls(text: str) -> None:
    assert Controls.rows_of(text) == ()


def test_with_live_off_rows_follow_the_document_and_limbs_their_joints(
    world: World, wait: Wait
) -> None:
    world.flow.controls.add_person("standing")
    world.settings.set("live", False)
    world.canvas.active = ChosenNode("{pose}", "Pose")
    before = world.canvas.reads_of_people
    wait(lambda: world.canvas.reads_of_people > before + 1)
    world.canvas.front = "B"
    wait(lambda: world.controls.rows == ())
    world.canvas.front = "A"
    wait(lambda: len(world.controls.rows) == 1)
    world.canvas.front = None
    wait(lambda: world.controls.rows == ())


def test_a_person_may_be_added_with_live_off_after_a_document_was_closed(world: World) -> None:
    world.flow.controls.add_person("standing")
    world.settings.set("live", False)
    world.canvas.open.remove("A")
    world.canvas.front = "B"
    world.flow.controls.add_person("standing")
    assert [row.kind for row in world.controls.rows] == ["pose"]
    world.settings.set("live", True)
    assert world.sent(SetPose)[-1].people


def test_a_pose_is_saved_as_an_openpose_file_and_read_again(world: World, tmp_path: Path) -> None:
    world.flow.controls.add_person("standing")
    path = tmp_path / "pose.json"
    world.flow.controls.save_pose("c0", str(path))
    (before,) = world.canvas.people["{pose}"]
    world.flow.controls.add_file(str(path))
    after = world.canvas.people["{pose}"][1]
    for one, two in zip(before.body, after.body, strict=True):
        assert one == pytest.approx(two, abs=0.01)
    world.flow.controls.save_pose("c0", str(tmp_path / "no folder" / "pose.json"))
    assert "cannot be written" in world.state.problem
    world.canvas.people["{pose}"] = ()
    world.flow.controls.save_pose("c0", str(path))
    assert "nobody" in world.state.problem


@pytest.mark.parametrize("live", [True, False])
def test_nobody_looks_at_a_pose_while_krita_takes_its_shapes_in(
    world: World, application: Any, live: bool
) -> None:
    world.settings.set("live", live)
    world.flow.controls.add_person("standing")
    add = world.canvas.add_people
    looks: list[int] = []

    def slowly(document: str, people: tuple[Person, ...], node: str | None) -> ChosenNode:
        before = world.canvas.reads_of_people
        world.canvas.watcher.changed.emit()
        spin(application, 120)
        looks.append(world.canvas.reads_of_people - before)
        return add(document, people, node)

    object.__setattr__(world.flow.controls._room, "add_people", slowly)
    world.flow.controls.add_person("standing")
    assert looks == [0]
    spin(application, 120)
    assert len(world.canvas.people["{pose}"]) == 2
    assert world.canvas.reads_of_people > 0
