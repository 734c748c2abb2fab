"""Pose layers: shapes become people and people shapes, whoever made them."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from nijimi.canvas.pose_shapes import (
    PRESETS,
    Figure,
    NamedShape,
    figures_of,
    figures_svg,
    hung,
    people_of,
    preset_person,
)
from nijimi_protocol.geometry import Extent
from nijimi_protocol.pose import LIMBS, Joint, Person

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


def test_hands_and_face_come_back_from_their_shapes() -> None:
    hand = tuple(Joint(100.0 + n, 200.0 + n) for n in range(21))
    # A finger that was not seen, and a face of which only one point was.
    hand = (*hand[:5], Joint(0.0, 0.0, 0.0), *hand[6:])
    face = tuple(Joint(50.0, 60.0) if n == 30 else Joint(0.0, 0.0, 0.0) for n in range(70))
    person = replace(preset_person("standing", CANVAS), left_hand=hand, face=face)
    plain = preset_person("waving", CANVAS)
    svg = figures_svg((person, plain), 0, CANVAS)
    # As Krita copies somebody: every shape a second time, under the same name.
    figures = figures_of([*_drawn(svg), *_drawn(figures_svg((person,), 0, CANVAS))])
    again = people_of(figures)
    assert len(again) == 3
    for found in again[:2]:
        assert found.left_hand == hand
        assert found.face == face
        assert found.right_hand == ()
    assert again[2].left_hand == again[2].face == ()


def test_a_hand_hangs_on_its_wrist_and_a_face_on_the_nose() -> None:
    person = preset_person("standing", CANVAS)
    wrist, nose = person.body[7], person.body[0]
    hand = tuple(Joint(wrist.x + 30 + n, wrist.y + 2 * n) for n in range(21))
    face = tuple(Joint(nose.x + n - 30, nose.y) for n in range(70))
    drawn = _drawn(figures_svg((replace(person, left_hand=hand, face=face),), 0, CANVAS))
    figure, shifts = hung(figures_of(drawn)[0])
    # The face is where it belongs; the hand was not.
    ((shapes, dx, dy),) = shifts
    assert (len(shapes), dx, dy) == (21, pytest.approx(-30, abs=0.02), pytest.approx(0, abs=0.02))
    assert figure.person.left_hand[0] == pytest.approx(wrist, abs=0.02)
    assert figure.person.left_hand[20] == pytest.approx((wrist.x + 20, wrist.y + 40, 1), abs=0.02)
    assert hung(figure)[1] == []
    # Without a wrist it stays where it is.
    alone = [shape for shape in drawn if shape.name != "P00_J07"]
    assert hung(figures_of(alone)[0])[1] == []


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


def _mirrored(figure: Figure, axis: float = 400.0) -> Figure:
    """As Krita's tool does it with every shape: the other way round, about one axis."""
    parts = {
        kind: {n: s._replace(x=2 * axis - s.x, is_mirrored=True) for n, s in shapes.items()}
        for kind, shapes in figure.parts.items()
    }
    return Figure(parts)


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_mirrored_person_has_another_left_and_still_faces_us(name: str) -> None:
    person = preset_person(name, CANVAS)
    (figure,) = figures_of(_drawn(figures_svg((person,), 0, CANVAS)))
    other = _mirrored(figure).person
    for n in range(18):
        (pair,) = [p for p in PAIRS if n in p] or [(n, n)]
        opposite = person.body[pair[1] if pair[0] == n else pair[0]]
        assert other.body[n].confidence == opposite.confidence
        if opposite.confidence:
            assert other.body[n].x == pytest.approx(800 - opposite.x, abs=0.02)
            assert other.body[n].y == pytest.approx(opposite.y, abs=0.02)
    again = _mirrored(figure)._replace(parts=figure.parts).person
    assert again == figure.person


PAIRS = ((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17))
"""COCO's joints, right and left."""


def test_hands_and_face_change_sides_with_the_mirror() -> None:
    hand = tuple(Joint(100.0 + n, 200.0 + n) for n in range(21))
    # A face that is alike on both sides of x = 50, but for the numbers.
    sides = {n: m for a, b in FACE for n, m in ((a, b), (b, a))}
    across = [0 if n not in sides else 10 if n < sides[n] else -10 for n in range(70)]
    face = tuple(Joint(50.0 + across[n], 60.0 + min(n, sides.get(n, n))) for n in range(70))
    person = replace(preset_person("standing", CANVAS), left_hand=hand, face=face)
    (figure,) = figures_of(_drawn(figures_svg((person,), 0, CANVAS)))
    other = _mirrored(figure, axis=50.0).person
    assert other.left_hand == ()
    assert [joint.x for joint in other.right_hand] == pytest.approx([100 - j.x for j in hand])
    for one, same in zip(face, other.face, strict=True):
        assert (same.x, same.y) == pytest.approx((one.x, one.y), abs=0.02)


FACE = (
    *((n, 16 - n) for n in range(8)), (17, 26), (18, 25), (19, 24), (20, 23), (21, 22), (31, 35),
    (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46), (48, 54), (49, 53),
    (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67), (68, 69),
)  # fmt: skip
"""Points of a face that lie across from each other: the 68 of the iBUG scheme, and the pupils."""


def test_one_joint_that_was_mirrored_alone_has_no_sides() -> None:
    person = preset_person("waving", CANVAS)
    (figure,) = figures_of(_drawn(figures_svg((person,), 0, CANVAS)))
    figure.joints[4] = figure.joints[4]._replace(is_mirrored=True)
    assert figure.person == person_of(figure)


def person_of(figure: Figure) -> Person:
    """The same without any mark of a mirror."""
    parts = {
        kind: {n: shape._replace(is_mirrored=False) for n, shape in shapes.items()}
        for kind, shapes in figure.parts.items()
    }
    return Figure(parts).person
