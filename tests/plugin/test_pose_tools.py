"""Somebody of a pose layer, for Krita's own tool: the layer, the tool, the joints, in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nijimi.canvas.pose_shapes import preset_person
from nijimi.live.pose_tools import PoseTools

from .flow_world import SIZE, World, spin

Wait = Callable[..., None]


def _tools(world: World) -> tuple[PoseTools, list[str]]:
    tools, told = PoseTools(world.canvas.room(), world.controls), list[str]()
    tools.refused.connect(lambda what, _do: told.append(what))
    return tools, told


def test_the_tool_is_taken_before_joints_are_selected(world: World, wait: Wait) -> None:
    world.flow.controls.add_person("standing")
    tools, told = _tools(world)
    tools.select()
    wait(lambda: len(world.canvas.shape_calls) == 2)
    assert world.canvas.shape_calls == ["tool on {pose}", "select in {pose}"]
    assert told == []


def test_a_mirror_follows_the_selection_and_a_second_wish_waits(
    world: World, wait: Wait, application: Any
) -> None:
    world.flow.controls.add_person("standing")
    tools, _ = _tools(world)
    tools.mirror("c0")
    tools.mirror("c0")
    wait(lambda: "mirror" in world.canvas.shape_calls)
    spin(application, 300)
    assert world.canvas.shape_calls == ["tool on {pose}", "select in {pose}", "mirror"]
    tools.mirror("c0")
    wait(lambda: world.canvas.shape_calls.count("mirror") == 2)


def test_where_nobody_is_there_it_is_told(world: World, wait: Wait) -> None:
    tools, told = _tools(world)
    tools.select()
    assert told == ["There is nobody in this pose."]
    assert world.canvas.shape_calls == []
    world.flow.controls.add_person("standing")
    world.canvas.people["{pose}"] = ()
    tools.mirror()
    wait(lambda: len(told) == 2)
    assert "mirror" not in world.canvas.shape_calls


def test_a_document_that_is_closed_meanwhile_is_left_alone(world: World, application: Any) -> None:
    world.flow.controls.add_person("standing")
    world.canvas.people["{pose}"] = (preset_person("standing", SIZE),)
    tools, told = _tools(world)
    tools.mirror()
    world.canvas.open.remove("A")
    spin(application, 400)
    assert world.canvas.shape_calls == ["tool on {pose}"]
    assert told == []
