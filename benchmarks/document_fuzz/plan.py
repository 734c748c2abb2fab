"""A seed and a length enter; the operations of a painter, and of Nijimi's, leave.

Chance is spent here and nowhere else, so that two runs of Krita, one without Nijimi, do the same.
Names of actions are Krita's own, as its shortcut editor lists them.
"""

from __future__ import annotations

import random
from typing import Any

__all__ = ["make_plan"]

_LEAVES_HISTORY = ("live", "kill_backend", "setting", "generate", "cancel_batches",
                   "look_at_result")  # fmt: skip
"""What forgets nothing that was undone."""

SIDE_PX = 256

_LAYER_ACTIONS = {
    "add_new_paint_layer": 4, "add_new_group_layer": 2, "add_new_transparency_mask": 2,
    "mirrorNodeX": 3, "mirrorNodeY": 2, "fill_selection_foreground_color": 4, "clear": 3,
    # Krita takes seconds over each of these.
    "duplicatelayer": 0.5, "remove_layer": 0.5, "create_quick_group": 0.5,
}  # fmt: skip

_SELECT_ACTIONS = ("select_all", "deselect", "invert_selection")

_WEIGHTS = {
    "stroke": 30, "apply_in_stroke": 3, "layer": 16, "select": 6, "rectangle": 4, "undo": 12,
    "redo": 6, "switch": 4, "property": 4, "remove": 3, "resize": 1, "live": 4, "apply": 6,
    "kill_backend": 0.5, "setting": 3, "generate": 4, "cancel_batches": 1, "look_at_result": 2,
    "apply_result": 3,
}  # fmt: skip


def make_plan(seed: int, operations: int, *, preview_layer: bool = False) -> list[dict[str, Any]]:
    """Operations as JSON: ``do`` and its values. The same seed gives the same ones.

    With ``preview_layer`` pictures are shown in a layer of the document instead of an overlay. That
    layer's coming and going are undo steps of Krita's, so there undo and redo are left out.
    """
    chance = random.Random(seed)
    names, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    # It begins live: what happens before is what Krita does alone.
    plan: list[dict[str, Any]] = [{"do": "live", "on": True}]
    if preview_layer:
        plan.append({"do": "setting", "show_on_canvas": "layer"})
    undone = 0
    while len(plan) < operations:
        name = chance.choices(names, weights)[0]
        if (name == "redo" and not undone) or (preview_layer and name in ("undo", "redo")):
            continue
        if name == "undo":
            undone += 1
        elif name == "redo":
            undone -= 1
        elif name not in _LEAVES_HISTORY:
            # Another document's undo counts from its own end; anything new forgets what was undone.
            undone = 0
        plan.append({"do": name, **_values(name, chance)})
    return plan


def _values(name: str, chance: random.Random) -> dict[str, Any]:
    target = chance.randrange(1000)
    if name in ("stroke", "apply_in_stroke"):
        x, y = chance.uniform(20, SIDE_PX - 20), chance.uniform(20, SIDE_PX - 20)
        points: list[tuple[int, int]] = []
        for _ in range(chance.randint(10, 16)):
            points.append((round(x), round(y)))
            x = min(SIDE_PX - 4.0, max(4.0, x + chance.uniform(-25, 25)))
            y = min(SIDE_PX - 4.0, max(4.0, y + chance.uniform(-25, 25)))
        colour = [chance.randrange(256) for _ in range(3)]
        return {"points": points, "target": target, "colour": colour}
    if name == "layer":
        names = list(_LAYER_ACTIONS)
        action = chance.choices(names, list(_LAYER_ACTIONS.values()))[0]
        return {"action": action, "target": target}
    if name == "select":
        return {"action": chance.choice(_SELECT_ACTIONS)}
    if name == "rectangle":
        x, y = chance.randrange(SIDE_PX - 40), chance.randrange(SIDE_PX - 40)
        return {"x": x, "y": y, "width": chance.randint(20, 120), "height": chance.randint(20, 120)}
    if name in ("remove", "look_at_result", "apply_result"):
        return {"target": target}
    if name == "apply":
        return {"how": chance.choices(("new", "masked", "replacing"), (4, 3, 3))[0]}
    if name == "generate":
        return {"count": chance.randint(1, 4), "steps": chance.randint(1, 6)}
    if name == "property":
        return {
            "target": target,
            "opacity": chance.randrange(40, 256),
            "hide": chance.random() < 0.2,
        }
    if name == "resize":
        return {"width": chance.choice((256, 272, 240)), "height": chance.choice((256, 248))}
    if name == "live":
        return {"on": chance.random() < 0.7}
    if name == "setting":
        return dict(
            [
                chance.choice(
                    (
                        ("strength", round(chance.uniform(0.1, 1.0), 2)),
                        ("seed", chance.randrange(10_000)),
                        ("area", chance.choice(("selection", "whole", "layer"))),
                        ("overlay_opacity", round(chance.uniform(0.2, 1.0), 2)),
                        ("prompt", chance.choice(("a red house", "sea", "{hill|tree}"))),
                        ("style", chance.choice(("", "ink", "pixel"))),
                    )
                )
            ]
        )
    return {}
