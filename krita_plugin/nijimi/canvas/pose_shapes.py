"""People enter, a pose layer's SVG leaves; shapes' names and places enter, people leave.

A joint is a disc named ``P00_J04``, as other pose plugins name theirs; a limb is ours and named
``P00_limb03``, so that nobody else's bones are ever touched. Points of hands and face are smaller
discs: ``P00_L20``, ``P00_R20``, ``P00_F69``. Imports no Krita.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from nijimi_protocol.geometry import Extent
from nijimi_protocol.pose import JOINT_COLOURS, LIMBS, Joint, Person

__all__ = [
    "LIMB_HEIGHT_PX",
    "LIMB_LENGTH_PX",
    "NEAR_PX",
    "PRESETS",
    "Figure",
    "NamedShape",
    "Shift",
    "figures_of",
    "figures_svg",
    "hung",
    "joint_radius",
    "limb_angle",
    "people_of",
    "preset_person",
]

LIMB_LENGTH_PX, LIMB_HEIGHT_PX = 100, 10
"""Of a limb as it is drawn; its shape is then turned and stretched between its joints."""

_NAME = re.compile(r"P(\d{1,3})_(J|L|R|F|limb)(\d{1,2})$")

_COUNTS = {"J": 18, "L": 21, "R": 21, "F": 70, "limb": len(LIMBS)}
_FINE = {"L": "left_hand", "R": "right_hand", "F": "face"}
_ANCHORS = {"L": (7, 0), "R": (4, 0), "F": (0, 30)}
"""The joint on which each hangs, and by which of its points: a hand's first is the wrist, a
face's thirty-first the tip of the nose (OpenPose's output format)."""

_BODY_SIDES = ((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17))
_FACE_SIDES = (
    *((n, 16 - n) for n in range(8)), *((n, 43 - n) for n in range(17, 22)),
    (31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    (48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67), (68, 69),
)  # fmt: skip
_OTHER_SIDE = {
    kind: {n: other for pair in pairs for n, other in (pair, pair[::-1])}
    for kind, pairs in (("J", _BODY_SIDES), ("F", _FACE_SIDES))
}
"""Left for right: of COCO's joints and of the 70 points of a face (OpenPose's output format)."""

NEAR_PX = 0.05
"""What is this near to its place is left alone."""

_FINE_PART = 0.4
"""Of a joint's radius: fingers lie close together."""

_FINE_COLOURS = {"L": "#4060ff", "R": "#40a0ff", "F": "#e0e0e0"}

_STANDING = (
    (0, -86), (0, -68), (-14, -68), (-18, -44), (-19, -22), (14, -68), (18, -44), (19, -22),
    (-9, -26), (-10, 12), (-10, 48), (9, -26), (10, 12), (10, 48), (-3, -89), (3, -89),
    (-7, -87), (7, -87),
)  # fmt: skip
"""Facing us: the person's right is on our left. Units are hundredths of half the canvas."""


def _with(base: Sequence[tuple[float, float]], **moved: tuple[float, float]) -> Any:
    return tuple(moved.get(f"j{n}", place) for n, place in enumerate(base))


PRESETS: dict[str, tuple[tuple[float, float] | None, ...]] = {
    "standing": _STANDING,
    "waving": _with(_STANDING, j6=(34, -78), j7=(36, -104)),
    "sitting": _with(
        _STANDING, j9=(-30, -18), j10=(-30, 20), j12=(30, -18), j13=(30, 20),
        j3=(-20, -46), j4=(-22, -24), j6=(20, -46), j7=(22, -24),
    ),
    "running": _with(
        _STANDING, j3=(-34, -56), j4=(-22, -36), j6=(28, -52), j7=(42, -70),
        j9=(-24, 4), j10=(-50, 16), j12=(26, -2), j13=(22, 34), j0=(5, -87), j1=(2, -68),
    ),
    "from behind": (
        None, (0, -68), (14, -68), (18, -44), (19, -22), (-14, -68), (-18, -44), (-19, -22),
        (9, -26), (10, 12), (10, 48), (-9, -26), (-10, 12), (-10, 48), None, None,
        (7, -87), (-7, -87),
    ),
}  # fmt: skip
"""Body-18 joints of each figure, None where nothing is seen of it."""


class NamedShape(NamedTuple):
    """A shape of a vector layer: its name, the middle of its box in canvas pixels, and itself.

    ``is_mirrored``: Krita drew it the other way round.
    """

    name: str
    x: float
    y: float
    is_visible: bool
    shape: Any
    is_mirrored: bool = False


class Figure(NamedTuple):
    """One person's shapes: by the letter or word of their names, then by number."""

    parts: dict[str, dict[int, NamedShape]]

    @property
    def joints(self) -> dict[int, NamedShape]:
        return self.parts["J"]

    @property
    def limbs(self) -> dict[int, NamedShape]:
        return self.parts["limb"]

    @property
    def everything(self) -> list[NamedShape]:
        """All that makes the person; limbs follow by themselves."""
        return [shape for kind in ("J", *_FINE) for shape in self.parts[kind].values()]

    @property
    def is_mirrored(self) -> bool:
        """Whether the painter mirrored all of it: a single joint has no sides."""
        joints = self.joints.values()
        return 2 * sum(joint.is_mirrored for joint in joints) > len(joints)

    @property
    def person(self) -> Person:
        """Whoever is mirrored raises the other hand, and has another left."""
        other = {"L": "R", "R": "L"} if self.is_mirrored else {}
        fine = {
            name: self._points(other.get(kind, kind))
            for kind, name in _FINE.items()
            if self.parts[other.get(kind, kind)]
        }
        return Person(body=self._points("J"), **fine)

    def _points(self, kind: str) -> tuple[Joint, ...]:
        sides = _OTHER_SIDE[kind] if self.is_mirrored and kind in _OTHER_SIDE else {}
        places = [self.parts[kind].get(sides.get(n, n)) for n in range(_COUNTS[kind])]
        return tuple(
            Joint(place.x, place.y) if place and place.is_visible else Joint(0.0, 0.0, 0.0)
            for place in places
        )


def joint_radius(canvas: Extent) -> float:
    """Of a joint's disc, in canvas pixels: large enough to be caught with a pen."""
    return max(3.0, min(canvas) / 80)


def preset_person(name: str, canvas: Extent) -> Person:
    """One of ``PRESETS`` in the middle of the canvas."""
    unit = min(canvas) / 200
    x, y = canvas.width / 2, canvas.height / 2 + 20 * unit
    return Person(
        body=tuple(
            Joint(x + place[0] * unit, y + place[1] * unit) if place else Joint(0.0, 0.0, 0.0)
            for place in PRESETS[name]
        )
    )


def figures_of(shapes: Iterable[NamedShape]) -> list[Figure]:
    """Who is in a layer. A joint that is there twice was copied: it is another person's."""
    found: dict[tuple[int, int], Figure] = {}
    for shape in shapes:
        match = _NAME.match(shape.name)
        if match is None:
            continue
        owner, kind, number = int(match[1]), match[2], int(match[3])
        if number >= _COUNTS[kind]:
            continue
        copy = 0
        while True:
            figure = found.setdefault((owner, copy), Figure({name: {} for name in _COUNTS}))
            kept = figure.parts[kind]
            if number not in kept:
                kept[number] = shape
                break
            copy += 1
    return [found[key] for key in sorted(found) if found[key].joints]


class Shift(NamedTuple):
    """Shapes that are to move, in canvas pixels."""

    shapes: tuple[NamedShape, ...]
    dx: float
    dy: float


def hung(figure: Figure) -> tuple[Figure, list[Shift]]:
    """The figure with hands at its wrists and the face at its nose, and what moved for that.

    Hands and faces go along when a joint is dragged; a finger alone is moved as it is.
    """
    parts, shifts = dict(figure.parts), list[Shift]()
    for kind, (joint, point) in _ANCHORS.items():
        anchor, root = figure.joints.get(joint), figure.parts[kind].get(point)
        if anchor is None or root is None or not (anchor.is_visible and root.is_visible):
            continue
        dx, dy = anchor.x - root.x, anchor.y - root.y
        if max(abs(dx), abs(dy)) < NEAR_PX:
            continue
        shapes = parts[kind]
        shifts.append(Shift(tuple(shapes.values()), dx, dy))
        parts[kind] = {
            n: shape._replace(x=shape.x + dx, y=shape.y + dy) for n, shape in shapes.items()
        }
    return Figure(parts), shifts


def people_of(figures: Sequence[Figure]) -> tuple[Person, ...]:
    return tuple(figure.person for figure in figures)


def limb_angle(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Degrees and length of the way from one joint to another."""
    across, down = end[0] - start[0], end[1] - start[1]
    return math.degrees(math.atan2(down, across)), math.hypot(across, down)


def figures_svg(
    people: Sequence[Person], first: int, canvas: Extent, *, limbs_only: bool = False
) -> str:
    """Shapes for people who get the numbers from ``first`` on; limbs below, joints on top.

    Limbs lie at the corner, ``LIMB_LENGTH_PX`` long, until they are placed.
    """
    radius, high, long = joint_radius(canvas), LIMB_HEIGHT_PX, LIMB_LENGTH_PX
    parts: list[str] = []
    for n, person in enumerate(people, first):
        for limb in range(len(LIMBS)):
            parts.append(
                f'<path id="P{n:02}_limb{limb:02}" fill="{_hex(limb, 0.6)}" '
                f'd="M 0 {high / 2:g} L {long / 5:g} 0 L {long * 4 / 5:g} 0 L {long} {high / 2:g} '
                f'L {long * 4 / 5:g} {high} L {long / 5:g} {high} Z"/>'
            )
        if limbs_only:
            continue
        # Below the joints: of a wrist and the hand's first point it is the wrist that is caught.
        parts += [
            f'<circle id="P{n:02}_{kind}{number:02}" cx="{point.x:.2f}" cy="{point.y:.2f}" '
            f'r="{radius * _FINE_PART:g}" fill="{_FINE_COLOURS[kind]}"/>'
            for kind, name in _FINE.items()
            for number, point in enumerate(getattr(person, name))
            if point.confidence > 0
        ]
        parts += [
            f'<circle id="P{n:02}_J{number:02}" cx="{joint.x:.2f}" cy="{joint.y:.2f}" '
            f'r="{radius:g}" fill="{_hex(number, 1.0)}"/>'
            for number, joint in enumerate(person.body)
            if joint.confidence > 0
        ]
    size = f'width="{canvas.width}" height="{canvas.height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>'


def _hex(number: int, light: float) -> str:
    return "#" + "".join(f"{int(part * light):02x}" for part in JOINT_COLOURS[number])
