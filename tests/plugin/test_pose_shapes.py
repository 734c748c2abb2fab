"""Pose layers: shapes become people and people shapes, whoever made them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from nijimi.canvas.pose_shapes import (
    PRESETS,
    NamedShape,
    figures_of,
    figures_svg,
    people_of,
    preset_person,
)
from nijimi_protocol.geometry import Extent
from nijimi_protocol.pose import LIMBS, Person

CANVAS = Extent(800, 600)


def _shape(name: str, x: float = 1.0, y: float = 2.0, *, is_visible: bool = True) -> NamedShape:
    return NamedShape(name, x, y, is_visible, None)


def _drawn(svg: str) -> list[NamedShape]:
    """What Krita would make of an SVG: names and middles."""
    found: list[NamedShape] = []
    for element in ElementTree.fromstring(svg):  # noqa: S314 - our own text
        if element.tag.endswith("circle"):
            x, y = float(element.attrib["cx"]), float(element.attrib["cy"])
        else:
            numbers = [float(n) for n in re.findall(r"[0-9.]+", element.attrib["d"])]
            x, y = max(numbers[0::2]) / 2, max(numbers[1::2]) / 2
        found.append(NamedShape(element.attrib["id"], x, y, True, None))
    return found


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_fits_the_canvas_and_comes_back_from_its_shapes(name: str) -> None:
    person = preset_person(name, CANVAS)
    for joint in person.body:
        assert joint.confidence == 0 or (0 < joint.x < 800 and 0 < joint.y < 600)
    figures = figures_of(_drawn(figures_svg((person,), 0, CANVAS)))
    assert len(figures) == 1
    assert len(figures[0].limbs) == len(LIMBS)
    (again,) = people_of(figures)
    for one, other in zip(person.body, again.body, strict=True):
        assert one == pytest.approx(other, abs=0.01)


def test_right_is_on_the_left_of_somebody_who_faces_us() -> None:
    body = preset_person("standing", CANVAS).body
    assert body[2].x < body[1].x < body[5].x
    behind = preset_person("from behind", CANVAS).body
    assert behind[2].x > behind[1].x > behind[5].x
    assert behind[0].confidence == 0, "no nose is seen"


def test_each_person_keeps_an_own_number() -> None:
    people = (preset_person("standing", CANVAS), preset_person("running", CANVAS))
    shapes = _drawn(figures_svg(people, 3, CANVAS))
    assert {shape.name[:3] for shape in shapes} == {"P03", "P04"}
    assert len(figures_of(shapes)) == 2


def test_a_copied_joint_is_another_person() -> None:
    one = preset_person("standing", CANVAS)
    shapes = _drawn(figures_svg((one,), 0, CANVAS))
    copied = [shape for shape in shapes if "_J" in shape.name]
    figures = figures_of([*shapes, *copied])
    assert len(figures) == 2
    assert len(figures[1].joints) == 18
    assert not figures[1].limbs, "limbs cannot be selected, so they are never copied"


def test_other_plugins_bones_are_no_limbs_of_ours() -> None:
    shapes = [_shape(f"P00_J{n:02}", n, n) for n in range(18)]
    bones = [_shape(f"P00_B{n:02}") for n in range(17)]
    noise = [
        _shape("path123"),
        _shape(""),
        _shape("P00_J18"),
        _shape("P00_J99"),
        _shape("xP00_J01"),
    ]
    figures = figures_of([*bones, *shapes, *noise])
    assert len(figures) == 1
    assert not figures[0].limbs
    assert [joint.x for joint in figures[0].person.body] == list(range(18))


def test_what_is_hidden_or_deleted_is_no_joint() -> None:
    shapes = [_shape("P00_J01", 5, 5), _shape("P00_J02", 6, 6, is_visible=False)]
    (person,) = people_of(figures_of(shapes))
    assert [n for n, joint in enumerate(person.body) if joint.confidence] == [1]
    assert isinstance(person, Person)
    assert figures_of([_shape("P00_limb01")]) == [], "limbs alone are nobody"
