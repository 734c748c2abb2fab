"""Nothing enters; the demo's sketch leaves: strokes of flat colour, as a painter begins."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

__all__ = ["PROMPT", "STRENGTH", "Stroke", "sketch_strokes"]

PROMPT = "a red house on a green hill at sunset, pine trees, mountains, sun, painterly"

STRENGTH = 0.2

RGB = tuple[int, int, int]
Point = tuple[float, float]


class Stroke(NamedTuple):
    """One stroke: a colour, a brush diameter and points in 0..1 of the canvas."""

    what: str
    colour: RGB
    size: float
    points: list[Point]


def sketch_strokes() -> list[Stroke]:
    """Sky, sun, mountains, hill, house, trees: from back to front."""
    strokes = [
        Stroke("sky", (110, 74, 136), 0.34, _line((0.02, 0.08), (0.98, 0.08))),
        Stroke("sky", (206, 112, 110), 0.24, _line((0.98, 0.26), (0.02, 0.26))),
        Stroke("sky", (250, 158, 86), 0.26, _line((0.02, 0.44), (0.98, 0.44))),
        Stroke("sun", (255, 222, 128), 0.12, _ring((0.74, 0.3), 0.012)),
        Stroke("mountains", (150, 104, 116), 0.1, _zigzag(0.1, 0.62, 0.5, 0.34)),
        Stroke("hill", (132, 142, 62), 0.2, _hill(0.66)),
        Stroke("hill", (116, 134, 54), 0.22, _hill(0.8)),
        Stroke("hill", (100, 122, 48), 0.24, _hill(0.94)),
        Stroke("house", (206, 66, 48), 0.13, _line((0.36, 0.66), (0.5, 0.66))),
        Stroke("house", (206, 66, 48), 0.13, _line((0.5, 0.72), (0.36, 0.72))),
        Stroke("roof", (92, 66, 62), 0.06, [*_line((0.3, 0.6), (0.43, 0.48), 10), (0.56, 0.6)]),
    ]  # fmt: skip
    for x, foot, height in ((0.14, 0.86, 0.34), (0.82, 0.9, 0.4), (0.66, 0.78, 0.24)):
        strokes.append(Stroke("tree", (46, 74, 50), 0.055, _pine(x, foot, height)))
    strokes.append(Stroke("grass", (140, 150, 66), 0.03, _scribble(0.93, 150)))
    return strokes


def _line(start: Point, end: Point, count: int = 24) -> list[Point]:
    steps = [n / (count - 1) for n in range(count)]
    return [(start[0] + (end[0] - start[0]) * t, start[1] + (end[1] - start[1]) * t) for t in steps]


def _ring(centre: Point, radius: float) -> list[Point]:
    angles = [2 * math.pi * n / 12 for n in range(13)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def _zigzag(left: float, right: float, low: float, high: float) -> list[Point]:
    corners = [(left, low), (left + 0.13, high), (left + 0.26, low), (right - 0.14, high + 0.04)]
    corners.append((right, low))
    points: list[Point] = []
    for start, end in itertools.pairwise(corners):
        points += _line(start, end, 10)
    return points


def _hill(level: float) -> list[Point]:
    return [
        (x, level - 0.05 * math.sin(math.pi * x)) for x in (0.02 + 0.96 * n / 29 for n in range(30))
    ]


def _pine(x: float, foot: float, height: float) -> list[Point]:
    """From the top down, ever wider, side to side."""
    points: list[Point] = []
    for n in range(19):
        part = n / 18
        half = 0.28 * height * part
        points.append((x + (half if n % 2 else -half), foot - height * (1 - part)))
    return points


def _scribble(level: float, count: int) -> list[Point]:
    """A long stroke to and fro: the one in which frames a second are counted."""
    return [
        (0.5 + 0.42 * math.sin(n / 14), level + 0.035 * math.sin(n / 2.3)) for n in range(count)
    ]
