"""The side of a canvas enters; Krita with our plugin, live on it, and rows of strokes leave."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nijimi_backend.plugin_archive import build_archive
from nijimi_installer.desktop.krita_process import DRIVER_DIR, KritaProcess
from nijimi_installer.desktop.plugin_profile import plugin_profile
from nijimi_installer.desktop.xvfb import VirtualScreen

__all__ = ["NIJIMI_STEPS", "begin_painting", "krita_with_docker", "paint_row"]

_STEPS, NIJIMI_STEPS = DRIVER_DIR / "steps.py", DRIVER_DIR / "nijimi_steps.py"


@contextmanager
def krita_with_docker(device: str = "auto") -> Generator[KritaProcess, None, None]:
    """On a screen of its own, with the docker shown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = folder / "nijimi.zip"
        build_archive(archive)
        profile = plugin_profile(folder / "profile", archive, Path(sys.executable), device=device)
        with VirtualScreen() as screen, KritaProcess(profile, screen.display) as krita:
            krita.call(_STEPS, "fill_screen")
            krita.call(NIJIMI_STEPS, "show_docker")
            yield krita


def begin_painting(krita: KritaProcess, side_px: int, strength: float) -> tuple[float, float]:
    """A new document, live, with its first picture shown; where on the screen strokes begin."""
    krita.call(_STEPS, "close_documents")
    krita.call(_STEPS, "new_document", width=side_px, height=side_px)
    krita.call(_STEPS, "choose_brush", size=20.0, colour=[200, 30, 30])
    values: dict[str, Any] = {"prompt": "a red house", "num_inference_steps": 2}
    krita.call(NIJIMI_STEPS, "set_values", **values, strength=strength, live=True)
    krita.call(NIJIMI_STEPS, "wait_until_ready", timeout_s=120)
    krita.call(NIJIMI_STEPS, "wait_until_shown", timeout_s=60)
    krita.call(NIJIMI_STEPS, "reset_metrics")
    origin = krita.call(_STEPS, "canvas_origin")
    return origin["x"] + 60, origin["y"] + 150


def paint_row(krita: KritaProcess, start: tuple[float, float], row: int) -> None:
    """A stroke of 110 points by the real pointer."""
    x, y = start
    points = [(x + 4 * n, y + 80 * row + (n * 37) % 60) for n in range(110)]
    krita.pointer.stroke(points, step_ms=16)
