"""Poses: people travel as numbers and come back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from nijimi_protocol.errors import MalformedMessage
from nijimi_protocol.pose import BODY_JOINTS, Person, person_from_json, person_to_json

from .strategies import people


@given(people)
def test_a_person_comes_back_the_same(person: Person) -> None:
    assert person_from_json(person_to_json(person)) == person


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"body": []},
        {"body": [0.0] * 53},
        {"body": [0.0] * 53 + ["x"]},
        {"body": [True] * 54},
        {"body": [float("nan")] * 54},
        {"body": [10**400] * 54},
        {"body": [0.0] * 54, "face": [1.0]},
    ],
)
def test_what_is_no_person_is_malformed(value: object) -> None:
    with pytest.raises(MalformedMessage):
        person_from_json(value)


def test_the_body_has_the_eighteen_joints_of_openpose_in_order() -> None:
    assert len(BODY_JOINTS) == 18
    assert BODY_JOINTS[:2] == ("nose", "neck")
    assert BODY_JOINTS[4] == "right_wrist"
    assert BODY_JOINTS[13] == "left_ankle"
    assert BODY_JOINTS[-1] == "left_ear"
