"""A standing person and a layer with lines on it, for tests of controls."""

from __future__ import annotations

import numpy as np
from nijimi_backend.engine.request import Pixels
from nijimi_protocol.pose import Joint

__all__ = ["STANDING", "lined"]


STANDING = tuple(
    Joint(x, y)
    for x, y in (
        (256, 80), (256, 140), (210, 140), (190, 210), (180, 280), (302, 140), (322, 210),
        (332, 280), (230, 290), (228, 380), (226, 470), (282, 290), (284, 380), (286, 470),
        (246, 70), (266, 70), (230, 76), (282, 76),
    )
)  # fmt: skip


def lined(colour: tuple[int, int, int, int], lines: tuple[int, int, int, int]) -> Pixels:
    layer = np.empty((64, 64, 4), dtype=np.uint8)
    layer[...] = colour
    layer[30:34] = lines
    return layer
