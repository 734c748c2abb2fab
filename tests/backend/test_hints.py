"""Skeletons as the annotator draws them, and hints made of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nijimi_backend.engine.control.hints import KINDS, LINE_KINDS, make_hint
from nijimi_backend.engine.control.skeleton import BODY_CUT, draw_people
from nijimi_backend.engine.request import Control
from nijimi_backend.errors import BadInput
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.pose import BODY_JOINTS, JOINT_COLOURS, LIMBS, Joint, Person

from tests.support.control_layers import STANDING, lined

SIDE = Extent(512, 512)
WHOLE = SIDE.bounds


COLOURS_OF_THE_ANNOTATOR = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
"""ControlNet 1.1, annotator/openpose/util.py, ``colors`` in ``draw_bodypose``."""

LIMBS_OF_THE_ANNOTATOR = (
    (2, 3), (2, 6), (3, 4), (4, 5), (6, 7), (7, 8), (2, 9), (9, 10), (10, 11), (2, 12), (12, 13),
    (13, 14), (2, 1), (1, 15), (15, 17), (1, 16), (16, 18),
)  # fmt: skip
"""The same file, ``limbSeq``, which counts joints from 1."""


def test_colours_and_limbs_are_those_of_the_annotator() -> None:
    assert JOINT_COLOURS == COLOURS_OF_THE_ANNOTATOR
    assert tuple((a + 1, b + 1) for a, b in LIMBS) == LIMBS_OF_THE_ANNOTATOR
    assert BODY_JOINTS[1] == "neck"
    assert (BODY_JOINTS[2], BODY_JOINTS[5]) == ("right_shoulder", "left_shoulder")


def test_joints_are_full_discs_and_limbs_ellipses_at_six_tenths() -> None:
    hint = draw_people([Person(body=STANDING)], WHOLE, SIDE)
    for joint, colour in zip(STANDING, COLOURS_OF_THE_ANNOTATOR, strict=True):
        assert tuple(hint[int(joint.y), int(joint.x)]) == colour
    # The right upper arm, from (210, 140) to (190, 210), is limb 2.
    assert hint[175, 200].tolist() == [int(0.6 * part) for part in COLOURS_OF_THE_ANNOTATOR[2]]
    # The neck-to-hip limb 6 is 9 px wide at its middle: half axis 4 at a short side of 512 px.
    row = hint[215] @ np.array([1, 1, 1])
    torso = [x for x in range(232, 256) if row[x]]
    across = max(torso) - min(torso) + 1
    assert 9 <= across <= 10, torso
    assert hint[20, 20].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("side", "radius"), [(256, 2), (512, 4), (1024, 8)])
def test_the_pen_grows_with_the_resolution(side: int, radius: int) -> None:
    hint = draw_people([Person(body=STANDING)], WHOLE, Extent(side, side))
    wrist = STANDING[4]
    y, x = int(wrist.y * side / 512), int(wrist.x * side / 512)
    assert tuple(hint[y + radius, x]) == COLOURS_OF_THE_ANNOTATOR[4]
    assert hint[y + radius + 2, x].tolist() == [0, 0, 0]


def test_joints_that_are_unsure_or_far_outside_are_not_drawn() -> None:
    unsure = [joint._replace(confidence=BODY_CUT - 0.01) for joint in STANDING]
    assert not draw_people([Person(body=tuple(unsure))], WHOLE, SIDE).any()
    assert not draw_people([Person(body=(Joint(0, 0, 0.0),) * 18)], WHOLE, SIDE).any()
    far = tuple(Joint(1e6, -1e6) for _ in STANDING)
    assert not draw_people([Person(body=far)], WHOLE, SIDE).any()
    one_out = (*STANDING[:4], Joint(-60, 280), *STANDING[5:])
    assert draw_people([Person(body=one_out)], WHOLE, SIDE)[:, 0].any(), "the arm leaves the canvas"


def test_hands_and_faces_are_drawn_where_given() -> None:
    hand = tuple(Joint(300 + 5 * n, 300 + 3 * n) for n in range(21))
    face = tuple(Joint(100 + n, 100) for n in range(70))
    nobody = (Joint(0, 0, 0.0),) * 18
    hint = draw_people([Person(body=nobody, left_hand=hand, face=face)], WHOLE, SIDE)
    assert hint[300, 300].tolist() == [0, 0, 255]
    assert hint[100, 120].tolist() == [255, 255, 255]


def test_a_crop_shows_its_part_of_the_pose() -> None:
    people = [Person(body=STANDING)]
    part = draw_people(people, Bounds(128, 40, 256, 256), Extent(256, 256))
    assert tuple(part[140 - 40, 256 - 128]) == COLOURS_OF_THE_ANNOTATOR[1]


@pytest.mark.parametrize("kind", LINE_KINDS)
@pytest.mark.parametrize(
    ("paper", "lines"),
    [
        ((0, 0, 0, 0), (10, 10, 10, 255)),
        ((255, 255, 255, 255), (0, 0, 0, 255)),
        ((0, 0, 0, 255), (255, 255, 255, 255)),
    ],
)
def test_painted_lines_become_white_on_black(kind: str, paper: Any, lines: Any) -> None:
    control = Control(kind=kind, pixels=lined(paper, lines))
    hint = make_hint(control, Extent(64, 64), Bounds(0, 0, 64, 64), Extent(64, 64))
    assert hint[31].min() >= 240
    assert hint[:28].max() <= 5


@pytest.mark.parametrize("kind", ["canny", "lineart", "scribble", "softedge", "mlsd"])
def test_lines_are_found_in_a_picture(kind: str) -> None:
    picture = np.full((128, 128, 4), 255, dtype=np.uint8)
    picture[40:90, 30:100, :3] = (40, 90, 200)
    control = Control(kind=kind, pixels=picture, process=True)
    hint = make_hint(control, Extent(128, 128), Bounds(0, 0, 128, 128), Extent(128, 128))
    assert hint[38:43, 60].max() > 200, "the edge"
    assert hint[60:70, 60:70].max() < 60, "the flat inside"
    assert hint[5:20, 5:20].max() < 60, "the flat outside"


@pytest.mark.parametrize("kind", KINDS)
def test_a_control_without_a_layer_says_so(kind: str) -> None:
    control = Control(kind=kind)
    if kind == "pose":
        assert not make_hint(control, SIDE, WHOLE, SIDE).any(), "nobody is a pose, too"
        return
    with pytest.raises(BadInput, match="no layer"):
        make_hint(control, SIDE, WHOLE, SIDE)


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(BadInput, match="scribble"):
        make_hint(Control(kind="telepathy"), SIDE, WHOLE, SIDE)


# Networks --------------------------------------------------------------------------------------
