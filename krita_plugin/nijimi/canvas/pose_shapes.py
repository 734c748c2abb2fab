"""People enter, a pose layer's SVG leaves; shapes' names and places enter, people leave.

A joint is a disc named ``P00_J04``, as other pose plugins name theirs; a limb is ours and named
``P00_limb03``, so that nobody else's bones are ever touched. Imports no Krita.
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
    "PRESETS",
    "Figure",
    "NamedShape",
    "figures_of",
    "figures_svg",
    "joint_radius",
    "limb_angle",
    "people_of",
    "preset_person",
]

LIMB_LENGTH_PX, LIMB_HEIGHT_PX = 100, 10
"""Of a limb as it is drawn; its shape is then turned and stretched between its joints."""

_NAME = re.compile(r"P(\d{1,3})_(J|limb)(\d{1,2})$")

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
    """A shape of a vector layer: its name, the middle of its box in canvas pixels, and itself."""

    name: str
    x: float
    y: float
    is_visible: bool
    shape: Any


class Figure(NamedTuple):
    """One person's shapes, by the number of joint or limb."""

    joints: dict[int, NamedShape]
    limbs: dict[int, NamedShape]

    @property
    def person(self) -> Person:
        places = [self.joints.get(n) for n in range(18)]
        return Person(
            body=tuple(
                Joint(place.x, place.y) if place and place.is_visible else Joint(0.0, 0.0, 0.0)
                for place in places
            )
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
        if number >= (18 if kind == "J" else len(LIMBS)):
            continue
        copy = 0
        while True:
            figure = found.setdefault((owner, copy), Figure({}, {}))
            kept = figure.joints if kind == "J" else figure.limbs
            if number not in kept:
                kept[number] = shape
                break
            copy += 1
    return [found[key] for key in sorted(found) if found[key].joints]


def people_of(figures: Sequence[Figure]) -> tuple[Person, ...]:
    return tuple(figure.person for figure in figures)


def limb_angle(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Degrees and length of the way from one joint to another."""
    across, down = end[0] - start[0], end[1] - start[1]
    return math.degrees(math.atan2(down, across)), math.hypot(across, down)


def figures_svg(
    people: Sequence[Person], first: int, canvas: Extent, *, limbs_only: bool = False
) -> str:
    """Shapes for people who get the numbers from ``first`` on; limbs below joints.

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
