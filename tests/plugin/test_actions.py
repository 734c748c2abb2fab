"""Actions: what the shortcut editor lists is what the docker does."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nijimi.contents import Contents
from nijimi.model.actions import ACTIONS, SETTING_ACTIONS
from nijimi.model.settings import SHOW_NOTHING, SHOW_OVERLAY, Settings

from .flow_world import World

ACTION_FILE = Path(__file__).resolve().parents[2] / "krita_plugin" / "nijimi.action"


def test_the_file_for_krita_lists_the_same_actions() -> None:
    root = ElementTree.parse(ACTION_FILE).getroot()  # noqa: S314 - our own file
    listed = [
        (action.get("name"), action.findtext("text"), action.findtext("toolTip"))
        for action in root.iter("Action")
    ]
    assert listed == list(ACTIONS)
    assert len(listed) >= 15
    assert len({name for name, _, _ in listed}) == len(listed)


@pytest.mark.parametrize(
    ("name", "setting", "start", "times", "result"),
    [
        ("nijimi_stronger", "strength", 0.93, 3, 1.0),
        ("nijimi_weaker", "strength", 0.12, 1, 0.07),
        ("nijimi_weaker", "strength", 0.02, 2, 0.0),
        ("nijimi_more_steps", "num_inference_steps", 49, 3, 50),
        ("nijimi_fewer_steps", "num_inference_steps", 2, 3, 1),
        ("nijimi_more_visible", "overlay_opacity", 0.75, 1, 0.85),
        ("nijimi_less_visible", "overlay_opacity", 0.1, 3, 0.05),
        ("nijimi_refine", "refine", True, 1, False),
        ("nijimi_lock_seed", "seed_locked", True, 2, True),
        ("nijimi_peek", "show_on_canvas", SHOW_OVERLAY, 1, SHOW_NOTHING),
        ("nijimi_peek", "show_on_canvas", SHOW_OVERLAY, 2, SHOW_OVERLAY),
        ("nijimi_area_whole", "area", "selection", 1, "whole"),
    ],
)
def test_an_action_changes_its_value_within_bounds(
    name: str, setting: str, start: Any, times: int, result: Any
) -> None:
    settings = Settings()
    settings.set(setting, start)
    for _ in range(times):
        SETTING_ACTIONS[name](settings)
    assert settings.get(setting) == result
    assert type(settings.get(setting)) is type(start)


def test_every_action_does_something(make_contents: Callable[[], Contents]) -> None:
    contents = make_contents()
    states: list[str] = []
    contents.connection.state_changed.connect(states.append)
    for action in ACTIONS:
        if action.name != "nijimi_live":
            contents.act(action.name)
    assert [row.kind for row in contents.controls.rows] == ["pose"]
    assert "failed" in states, "retry starts it, and nothing is installed"


def test_apply_by_shortcut_is_as_by_its_button(world: World) -> None:
    world.frame()
    world.flow.apply()
    assert world.canvas.applied
