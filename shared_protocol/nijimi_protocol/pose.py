"""Joints of people in canvas pixels enter and leave as numbers; the server draws the skeleton.

Joint order is OpenPose's COCO body-18, hands have 21 and faces 70 points (OpenPose's output
format, "Pose Output Format (COCO)").
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .errors import MalformedMessage

__all__ = [
    "BODY_JOINTS",
    "JOINT_COLOURS",
    "LIMBS",
    "Joint",
    "Person",
    "person_from_json",
    "person_to_json",
]

BODY_JOINTS = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)

LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12),
    (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""Pairs of body-18 joints, in the order in which ControlNet's annotator draws them. Limb n has the
colour of joint n."""

JOINT_COLOURS = tuple(
    tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue / 360, 1.0, 1.0))
    for hue in range(0, 360, 20)
)
"""RGB of each joint: the colour circle in steps of 20 degrees."""

_PARTS = {"body": 18, "left_hand": 21, "right_hand": 21, "face": 70}


class Joint(NamedTuple):
    """A point in canvas pixels; ``confidence`` in [0, 1], 0 means not drawn."""

    x: float
    y: float
    confidence: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Person:
    """One figure. A part that is not given is an empty tuple."""

    body: tuple[Joint, ...]
    left_hand: tuple[Joint, ...] = ()
    right_hand: tuple[Joint, ...] = ()
    face: tuple[Joint, ...] = ()


def person_to_json(person: Person) -> dict[str, list[float]]:
    """Flat lists x, y, confidence, ... to a hundredth of a pixel, as OpenPose writes them."""
    parts: dict[str, list[float]] = {}
    for name in _PARTS:
        joints: tuple[Joint, ...] = getattr(person, name)
        if joints:
            parts[name] = [round(value, 2) for joint in joints for value in joint]
    return parts


def person_from_json(value: object) -> Person:
    """Read what ``person_to_json`` wrote; anything else is a ``MalformedMessage``."""
    if not isinstance(value, Mapping) or "body" not in value:
        raise MalformedMessage("A person of a pose has no body.")
    parts: dict[str, tuple[Joint, ...]] = {}
    for name, count in _PARTS.items():
        numbers: object = value.get(name, [])  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(numbers, list) or len(numbers) not in (0, 3 * count):  # pyright: ignore[reportUnknownArgumentType]
            raise MalformedMessage(f"A pose's {name} must have {count} joints.")
        parts[name] = _joints(numbers)  # pyright: ignore[reportUnknownArgumentType]
    if not parts["body"]:
        raise MalformedMessage("A person of a pose has no body.")
    return Person(**parts)


def _joints(numbers: list[object]) -> tuple[Joint, ...]:
    values: list[float] = []
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise MalformedMessage("A pose's joint is not a number.")
        # Compared first: isfinite would overflow on an integer beyond the floats.
        if not abs(number) <= 1e6:
            raise MalformedMessage("A pose's joint lies outside of any canvas.")
        values.append(float(number))
    return tuple(Joint(*values[n : n + 3]) for n in range(0, len(values), 3))
