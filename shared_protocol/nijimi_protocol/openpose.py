"""The text of an OpenPose file enters and people leave, and the other way round.

Read are what OpenPose writes (``--write_json``), with COCO body-18 or BODY_25, and what ControlNet
editors write: a list of such objects, with or without ``canvas_width`` and ``canvas_height``, in
pixels or as parts of the canvas (0 to 1).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from .errors import RejectedChange
from .geometry import Extent
from .pose import Joint, Person

__all__ = ["openpose_people", "openpose_text"]

_MAX_CHARS = 8 * 1024 * 1024

_BODY_25 = (*range(8), *range(9, 19))
"""Where body-18's joints are in BODY_25, which has a middle hip and feet besides."""

_PARTS = (
    ("left_hand", "hand_left_keypoints_2d", 21),
    ("right_hand", "hand_right_keypoints_2d", 21),
    ("face", "face_keypoints_2d", 70),
)

_ACTION = "Export it again as OpenPose JSON; the pose stays as it is."


def openpose_people(text: str, canvas: Extent) -> tuple[Person, ...]:
    """Everybody in the file, scaled to ``canvas``. Raises ``RejectedChange`` with what is wrong."""
    if len(text) > _MAX_CHARS:
        raise RejectedChange("pose_file", "The pose file is far too large.", _ACTION)
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise RejectedChange("pose_file", "The pose file is no JSON.", _ACTION) from None
    if isinstance(value, list):
        # Editors write one object for each picture of a series.
        value = value[0] if value else {}
    if not isinstance(value, Mapping) or not isinstance(value.get("people"), list):  # pyright: ignore[reportUnknownMemberType]
        raise RejectedChange("pose_file", "The pose file names no people.", _ACTION)
    found = cast("Mapping[str, Any]", value)
    people = [_person(each) for each in found["people"]]
    scale_x, scale_y = _scale(found, people, canvas)
    return tuple(
        Person(
            **{
                part: tuple(Joint(j.x * scale_x, j.y * scale_y, j.confidence) for j in joints)
                for part, joints in vars(person).items()
            }
        )
        for person in people
    )


def openpose_text(people: Sequence[Person], canvas: Extent) -> str:
    """The same as OpenPose writes it, with the canvas's size as editors add it."""
    return json.dumps(
        {
            "version": 1.3,
            "canvas_width": canvas.width,
            "canvas_height": canvas.height,
            "people": [
                {
                    "person_id": [-1],
                    "pose_keypoints_2d": _flat(person.body),
                    **{key: _flat(getattr(person, part)) for part, key, _ in _PARTS},
                }
                for person in people
            ],
        }
    )


def _person(value: object) -> Person:
    if not isinstance(value, Mapping):
        raise RejectedChange("pose_file", "A person of the pose file is no object.", _ACTION)
    fields = cast("Mapping[str, Any]", value)
    body = _joints(fields.get("pose_keypoints_2d"), "pose_keypoints_2d", (18, 25))
    if len(body) == 25:
        body = tuple(body[n] for n in _BODY_25)
    parts = {part: _joints(fields.get(key), key, (count,)) for part, key, count in _PARTS}
    return Person(body=body or (Joint(0.0, 0.0, 0.0),) * 18, **parts)


def _joints(value: object, name: str, counts: tuple[int, ...]) -> tuple[Joint, ...]:
    """A flat list x, y, confidence, ...; nothing for what is absent."""
    if value is None or value == []:
        return ()
    wanted = " or ".join(str(3 * count) for count in counts)
    if not isinstance(value, list) or len(cast("list[object]", value)) not in [
        3 * count for count in counts
    ]:
        raise RejectedChange(
            "pose_file", f"The pose file's {name} must have {wanted} numbers.", _ACTION
        )
    numbers: list[float] = []
    for number in cast("list[object]", value):
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not is_number or not abs(cast("float", number)) <= 1e6:
            raise RejectedChange(
                "pose_file", f"The pose file's {name} holds something that is no place.", _ACTION
            )
        numbers.append(float(cast("float", number)))
    return tuple(Joint(*numbers[n : n + 3]) for n in range(0, len(numbers), 3))


def _scale(
    value: Mapping[str, Any], people: Sequence[Person], canvas: Extent
) -> tuple[float, float]:
    """From the file's units to canvas pixels."""
    seen = [
        joint
        for person in people
        for joints in vars(person).values()
        for joint in joints
        if joint.confidence > 0
    ]
    if seen and max(max(abs(joint.x), abs(joint.y)) for joint in seen) <= 1.0:
        return float(canvas.width), float(canvas.height)
    width, height = _side(value.get("canvas_width")), _side(value.get("canvas_height"))
    return canvas.width / (width or canvas.width), canvas.height / (height or canvas.height)


def _side(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 < value <= 1e6 else None


def _flat(joints: Sequence[Joint]) -> list[float]:
    return [round(value, 3) for joint in joints for value in joint]
