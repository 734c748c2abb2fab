"""Points on the screen enter; the pointer really goes there, and the pen really is down."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from ..errors import CommandFailed, MissingProgram

__all__ = ["Pointer"]

Point = tuple[float, float]


class Pointer:
    """xdotool on one display."""

    def __init__(self, display: str) -> None:
        self._environment = {**os.environ, "DISPLAY": display}

    def stroke(self, points: Sequence[Point], step_ms: float = 12.0) -> None:
        """Press at the first point, move through all, release at the last.

        Krita paints only a dab for a drag of two points: give ten or more.
        """
        first = points[0]
        words = ["mousemove", _px(first[0]), _px(first[1]), "sleep", "0.05", "mousedown", "1"]
        for x, y in points[1:]:
            words += ["sleep", f"{step_ms / 1000:.4f}", "mousemove", _px(x), _px(y)]
        words += ["sleep", "0.03", "mouseup", "1"]
        self._run(words, 20 + len(points) * step_ms / 1000)

    def press(self, point: Point) -> None:
        self._run(["mousemove", _px(point[0]), _px(point[1]), "sleep", "0.05", "mousedown", "1"])

    def move(self, point: Point) -> None:
        self._run(["mousemove", _px(point[0]), _px(point[1])])

    def release(self) -> None:
        self._run(["mouseup", "1"])

    def click(self, point: Point) -> None:
        self._run(["mousemove", _px(point[0]), _px(point[1]), "sleep", "0.05", "click", "1"])

    def key(self, combination: str) -> None:
        """e.g. ``ctrl+z``."""
        self._run(["key", combination])

    def text(self, words: str) -> None:
        """As the keyboard types them."""
        self._run(["type", "--delay", "15", words])

    def _run(self, words: list[str], timeout_s: float = 20.0) -> None:
        try:
            done = subprocess.run(
                ["xdotool", *words],
                env=self._environment,
                timeout=timeout_s,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            raise MissingProgram("xdotool is not installed.", "apt-get install xdotool") from None
        if done.returncode:
            raise CommandFailed(f"xdotool failed: {done.stderr.decode(errors='replace')}")


def _px(value: float) -> str:
    return str(round(value))
