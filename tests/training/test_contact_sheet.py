"""The arm that the contact sheet raises."""

from __future__ import annotations

import math

import pytest

from training.contact_sheet import with_left_arm

JOINTS = [(0.05 * n, 0.9 - 0.03 * n) for n in range(18)]
SHOULDER, ELBOW, WRIST = 5, 6, 7


@pytest.mark.parametrize("angle", [math.pi / 2, 0.0, -math.pi / 4, -math.pi / 2])
def test_an_arm_is_moved_and_nothing_else(angle: float) -> None:
    moved = with_left_arm(JOINTS, angle)
    for n, (before, after) in enumerate(zip(JOINTS, moved, strict=True)):
        if n not in (ELBOW, WRIST):
            assert after == list(before)
    for one, other in ((SHOULDER, ELBOW), (ELBOW, WRIST)):
        (x0, y0), (x1, y1) = moved[one], moved[other]
        assert math.hypot(x1 - x0, y1 - y0) == pytest.approx(math.dist(JOINTS[one], JOINTS[other]))
        assert (x1 - x0, y1 - y0) == pytest.approx(
            tuple(math.dist(JOINTS[one], JOINTS[other]) * part
                  for part in (math.cos(angle), math.sin(angle)))
        )  # fmt: skip
