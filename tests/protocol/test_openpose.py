"""OpenPose files: what tools write is read, and what is broken is refused in words."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.geometry import Extent
from nijimi_protocol.openpose import openpose_people, openpose_text
from nijimi_protocol.pose import Joint, Person

CANVAS = Extent(600, 400)

_joint = st.builds(
    Joint,
    st.floats(2, 600, width=16),
    st.floats(2, 400, width=16),
    st.sampled_from([0.0, 0.5, 1.0]),
)
_people = st.lists(
    st.builds(
        Person,
        body=st.lists(_joint, min_size=18, max_size=18).map(tuple),
        left_hand=st.just(()) | st.lists(_joint, min_size=21, max_size=21).map(tuple),
        face=st.just(()) | st.lists(_joint, min_size=70, max_size=70).map(tuple),
    ),
    max_size=3,
).map(tuple)


@given(_people)
def test_what_is_written_is_read_again(people: tuple[Person, ...]) -> None:
    again = openpose_people(openpose_text(people, CANVAS), CANVAS)
    assert len(again) == len(people)
    for one, other in zip(people, again, strict=True):
        for part in ("body", "left_hand", "right_hand", "face"):
            for a, b in zip(getattr(one, part), getattr(other, part), strict=True):
                assert a == pytest.approx(b, abs=1e-3)


def _file(numbers: list[Any], **more: Any) -> str:
    return json.dumps({"people": [{"pose_keypoints_2d": numbers}], **more})


def test_a_body_25_becomes_a_body_18() -> None:
    numbers = [value for n in range(25) for value in (10 * n, 5 * n, 0.9)]
    person = openpose_people(_file(numbers), CANVAS)[0]
    assert person.body[7] == (70, 35, 0.9)
    assert person.body[8] == (90, 45, 0.9), "the middle hip is left out"
    assert person.body[17] == (180, 90, 0.9)


def test_parts_of_the_canvas_and_other_canvases_are_scaled() -> None:
    parts = [value for _ in range(18) for value in (0.5, 0.25, 1.0)]
    assert openpose_people(_file(parts), CANVAS)[0].body[0] == (300, 100, 1.0)
    pixels = [value for _ in range(18) for value in (50, 20, 1.0)]
    other = openpose_people(_file(pixels, canvas_width=300, canvas_height=200), CANVAS)
    assert other[0].body[0] == (100, 40, 1.0)
    assert openpose_people(f"[{_file(pixels)}]", CANVAS)[0].body[0] == (50, 20, 1.0)


def test_nobody_and_half_a_person_are_poses_too() -> None:
    assert openpose_people('{"people": []}', CANVAS) == ()
    assert openpose_people('{"people": [{}]}', CANVAS)[0].body[0].confidence == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("3", "no people"),
        ("[]", "no people"),
        ('{"people": 5}', "no people"),
        ('{"people": [5]}', "no object"),
        (_file([1, 2, 3]), "54 or 75 numbers"),
        (_file(["a"] * 54), "no place"),
        (_file([1e300] * 54), "no place"),
        (_file([float("nan")] * 54), "no place"),
        ('{"people": [{"pose_keypoints_2d": {"a": 1}}]}', "numbers"),
    ],
)
def test_a_broken_file_says_what_is_wrong_and_what_to_do(text: str, words: str) -> None:
    with pytest.raises(RejectedChange, match=words) as refused:
        openpose_people(text, CANVAS)
    assert refused.value.action


@given(st.text() | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("people"), inner),
).map(json.dumps))  # fmt: skip
def test_any_text_gives_people_or_a_sentence(text: str) -> None:
    with suppress(RejectedChange):
        assert all(len(person.body) == 18 for person in openpose_people(text, CANVAS))
