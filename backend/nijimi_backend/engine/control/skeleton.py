"""People's joints enter; the coloured skeleton that pose ControlNets were trained on leaves.

Order, colours, widths and blending are those of the annotator of ControlNet 1.1 (its
``draw_bodypose``, ``draw_handpose`` and ``draw_facepose``): limbs as filled ellipses at six tenths
of their colour, joints as full discs over them, on black, sized for a short side of 512 px.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.pose import JOINT_COLOURS, LIMBS, Joint, Person

from ..request import Pixels

__all__ = ["BODY_CUT", "FACE_CUT", "HAND_CUT", "draw_people"]

_FINGERS = tuple(
    (0 if part == 0 else base + part, base + part + 1)
    for base in range(0, 20, 4)
    for part in range(4)
)
"""Pairs of a hand's 21 joints: five fingers of four limbs, each from the wrist."""

BODY_CUT, HAND_CUT, FACE_CUT = 0.05, 0.2, 0.4
"""Joints below this confidence are not drawn: OpenPose's own render thresholds."""

_DIM = 0.6


class _Frame(NamedTuple):
    """From canvas pixels to hint pixels, and the pen for a short side of 512 px scaled to it."""

    crop: Bounds
    extent: Extent

    @property
    def unit(self) -> float:
        return min(self.extent) / 512

    def place(self, joint: Joint, cut: float) -> tuple[float, float] | None:
        """Where a joint lies in the hint; None if it is unsure or far beyond the edge."""
        if joint.confidence < cut or joint.confidence <= 0.0:
            return None
        x = (joint.x - self.crop.x) * self.extent.width / self.crop.width
        y = (joint.y - self.crop.y) * self.extent.height / self.crop.height
        near = abs(x) <= 4 * self.extent.width and abs(y) <= 4 * self.extent.height
        return (x, y) if near else None

    def px(self, at_512: float) -> int:
        return max(1, round(at_512 * self.unit))


def draw_people(people: Sequence[Person], crop: Bounds, extent: Extent) -> Pixels:
    """The part ``crop`` of the canvas as RGB, h x w x 3 of ``extent``; joints are canvas pixels."""
    hint = np.zeros((extent.height, extent.width, 3), dtype=np.uint8)
    frame = _Frame(crop, extent)
    for person in people:
        _draw_body(hint, person.body, frame)
    for person in people:
        for hand in (person.left_hand, person.right_hand):
            _draw_hand(hint, hand, frame)
        for joint in person.face:
            if place := frame.place(joint, FACE_CUT):
                cv2.circle(hint, _whole(place), frame.px(3), (255, 255, 255), -1)
    return hint


def _draw_body(hint: Pixels, body: Sequence[Joint], frame: _Frame) -> None:
    places = [frame.place(joint, BODY_CUT) for joint in body]
    width = frame.px(4)
    for n, (one, other) in enumerate(LIMBS):
        start, end = places[one], places[other]
        if start is None or end is None:
            continue
        across, down = end[0] - start[0], end[1] - start[1]
        polygon = cv2.ellipse2Poly(
            (int((start[0] + end[0]) / 2), int((start[1] + end[1]) / 2)),
            (int(math.hypot(across, down) / 2), width),
            int(math.degrees(math.atan2(down, across))),
            0, 360, 1,
        )  # fmt: skip
        cv2.fillConvexPoly(hint, np.array(polygon), [int(part * _DIM) for part in JOINT_COLOURS[n]])
    for place, colour in zip(places, JOINT_COLOURS, strict=True):
        if place is not None:
            cv2.circle(hint, _whole(place), width, colour, -1)


def _draw_hand(hint: Pixels, hand: Sequence[Joint], frame: _Frame) -> None:
    places = [frame.place(joint, HAND_CUT) for joint in hand]
    if not places:
        return
    for n, (one, other) in enumerate(_FINGERS):
        start, end = places[one], places[other]
        if start is not None and end is not None:
            colour = [255 * part for part in colorsys.hsv_to_rgb(n / len(_FINGERS), 1.0, 1.0)]
            cv2.line(hint, _whole(start), _whole(end), colour, frame.px(2))
    for place in places:
        if place is not None:
            cv2.circle(hint, _whole(place), frame.px(4), (0, 0, 255), -1)


def _whole(place: tuple[float, float]) -> tuple[int, int]:
    return int(place[0]), int(place[1])
