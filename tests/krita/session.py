"""A running Krita enters; the painter's moves of the tests leave."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nijimi_installer.desktop.krita_process import DRIVER_DIR, KritaProcess

__all__ = ["STROKE", "Session"]

_STEPS = DRIVER_DIR / "steps.py"
_NIJIMI = DRIVER_DIR / "nijimi_steps.py"
_TESTS = Path(__file__).with_name("inside.py")
_OVERLAY = Path(__file__).with_name("inside_overlay.py")
_CONTROLS = Path(__file__).with_name("inside_controls.py")

STROKE: list[tuple[float, float]] = [(60 + 10 * n, 200 + (n * 37) % 90) for n in range(40)]
"""Forty points, in document pixels."""


class Session:
    """What tests do in Krita. Points are document pixels at 100 %."""

    def __init__(self, krita: KritaProcess) -> None:
        self.krita = krita

    def step(self, name: str, /, **arguments: Any) -> Any:
        return self.krita.call(_STEPS, name, **arguments)

    def nijimi(self, name: str, /, **arguments: Any) -> Any:
        return self.krita.call(_NIJIMI, name, **arguments)

    def inside(self, name: str, /, **arguments: Any) -> Any:
        return self.krita.call(_TESTS, name, **arguments)

    def controls(self, name: str, /, **arguments: Any) -> Any:
        return self.krita.call(_CONTROLS, name, **arguments)

    def overlay(self, name: str, /, **arguments: Any) -> Any:
        return self.krita.call(_OVERLAY, name, **arguments)

    def add_person(self, preset: str) -> list[str]:
        """As the docker's menu does; names of the control layers then."""
        self.controls("add_person", preset=preset)
        self.inside("wait_for_rest")
        return self.controls("node_names")

    def add_control(self, kind: str, layer: str) -> list[list[Any]]:
        """A control layer of a layer that is there; the rows of all of them."""
        self.inside("activate", name=layer)
        return self.controls("add_active_layer", kind=kind)

    def reset(self) -> None:
        self.nijimi("set_values", live=False, show_on_canvas="overlay", model="", prompt="")
        self.nijimi("set_values", negative_prompt="", strength=0.6, num_inference_steps=1, seed=1)
        self.nijimi("set_values", area="selection", inpaint_mode="auto")
        self.nijimi("set_values", inpaint_context_layer=False)
        self.step("close_documents")
        self.step("new_document")
        self.step("choose_brush", colour=[200, 30, 30])

    def end_of_test(self) -> None:
        self.nijimi("set_values", live=False)

    def go_live(self) -> None:
        """Live on, and the first picture shown."""
        self.nijimi("set_values", prompt="a red house", live=True)
        ready = self.nijimi("wait_until_ready")
        assert not ready["problem"], ready
        self.nijimi("wait_until_shown")
        self.nijimi("reset_metrics")

    def points(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Document points as screen points."""
        origin = self.step("canvas_origin")
        left, top = origin["x"] - origin["scroll_x"], origin["y"] - origin["scroll_y"]
        return [(left + x, top + y) for x, y in points]

    def stroke(self, points: list[tuple[float, float]] = STROKE, step_ms: float = 12.0) -> None:
        self.krita.pointer.stroke(self.points(points), step_ms=step_ms)
        self.inside("wait_for_rest")

    def layers(self) -> list[str]:
        return self.inside("layer_names")

    def revision(self) -> int:
        return self.inside("revision")

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float = 15.0) -> None:
        end = time.monotonic() + timeout_s
        while not predicate():
            assert time.monotonic() < end, self.nijimi("status_line")
            time.sleep(0.1)

    def wait_for_new_revision(self, before: int, timeout_s: float = 15.0) -> int:
        """The canvas changed: the plugin must notice by itself."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            now = self.revision()
            if now > before:
                return now
            time.sleep(0.05)
        raise AssertionError(f"no change was noticed since revision {before}")
