"""An environment enters; a painted, applied and saved picture with its report leaves.

The demo is the real program: Krita on a screen of its own, the plugin from its archive, the
backend as its child, strokes by a pointer that really moves.
"""

from __future__ import annotations

import json
import platform
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .desktop.krita_process import DRIVER_DIR, KritaProcess
from .desktop.plugin_profile import plugin_profile
from .desktop.xvfb import VirtualScreen
from .errors import DemoFailed
from .progress import say, stage
from .sketch import PROMPT, STRENGTH, Stroke, sketch_strokes

__all__ = ["CANVAS_PX", "REPORT_KEYS", "paint_sketch", "run_demo"]

CANVAS_PX = 512

DEMO_VALUES: dict[str, Any] = {
    "prompt": PROMPT,
    "negative_prompt": "",
    "strength": STRENGTH,
    "num_inference_steps": 2,
    "seed": 1,
    "show_on_canvas": "overlay",
    "overlay_opacity": 0.75,
    "live": True,
}

REPORT_KEYS = (
    "device",
    "model",
    "frames",
    "fps",
    "stroke_to_frame_ms",
    "overhead_ms",
    "ui_stall_ms",
    "final_revision_shown",
)

_STEPS = DRIVER_DIR / "steps.py"
_NIJIMI = DRIVER_DIR / "nijimi_steps.py"
_STEP_MS = 16.0

_OUTPUTS = ("before.png", "after.png", "screenshot.png", "canvas.kra", "report.json")


def run_demo(
    python: Path, archive: Path, profile_dir: Path, output: Path, *, model: str, device: str
) -> dict[str, Any]:
    """Paint the sketch live and leave pictures and report in ``output``."""
    profile = plugin_profile(profile_dir, archive, python, live=True, model=model, device=device)
    output.mkdir(parents=True, exist_ok=True)
    for name in _OUTPUTS:
        # What an earlier run left must not stand for what this one failed to do.
        (output / name).unlink(missing_ok=True)
    with ExitStack() as open_things:
        with stage("Starting Krita on a screen of its own"):
            screen = open_things.enter_context(VirtualScreen())
            krita = open_things.enter_context(KritaProcess(profile, screen.display))
        return _paint(krita, output)


def _paint(krita: KritaProcess, output: Path) -> dict[str, Any]:
    with stage("New document, live mode on, the model loads"):
        krita.call(_STEPS, "fill_screen")
        krita.call(_STEPS, "new_document", width=CANVAS_PX, height=CANVAS_PX)
        krita.call(_NIJIMI, "show_docker")
        krita.call(_NIJIMI, "set_values", **DEMO_VALUES)
        ready = krita.call(_NIJIMI, "wait_until_ready", timeout_s=120)
        if ready["problem"]:
            raise DemoFailed(ready["problem"])
        krita.call(_NIJIMI, "wait_until_shown", timeout_s=60)
    with stage("Painting the sketch with the pointer"):
        krita.call(_NIJIMI, "reset_metrics")
        fps = paint_sketch(krita, sketch_strokes())
        report: dict[str, Any] = krita.call(_NIJIMI, "wait_until_shown", timeout_s=60)
    with stage("Saving pictures and report"):
        krita.call(_STEPS, "save_png", path=str(output.resolve() / "before.png"))
        krita.call(_STEPS, "screenshot", path=str(output.resolve() / "screenshot.png"))
        layers = krita.call(_NIJIMI, "press_apply")
        krita.call(_STEPS, "save_png", path=str(output.resolve() / "after.png"))
        krita.call(_STEPS, "save_document", path=str(output.resolve() / "canvas.kra"))
        report = {
            **report,
            "fps": fps,
            "canvas_px": [CANVAS_PX, CANVAS_PX],
            "layers": layers,
            "machine": f"{platform.system()} {platform.machine()}",
        }
        (output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        krita.quit()
    _check(report, output)
    say(
        f"    {report['frames']} frames, {report['fps']} a second while painting, stroke to frame "
        f"{report['stroke_to_frame_ms']['p50']:.0f} ms, of it {report['overhead_ms']['p50']:.0f} "
        "ms not the model's"
    )
    return report


def paint_sketch(krita: KritaProcess, strokes: list[Stroke]) -> float:
    """Paint every stroke; frames a second during the last, long one come back."""
    origin = krita.call(_STEPS, "canvas_origin")
    left, top = origin["x"] - origin["scroll_x"], origin["y"] - origin["scroll_y"]
    for stroke in strokes:
        krita.call(_STEPS, "choose_brush", size=stroke.size * CANVAS_PX, colour=list(stroke.colour))
        points = [(left + x * CANVAS_PX, top + y * CANVAS_PX) for x, y in stroke.points]
        is_last = stroke is strokes[-1]
        krita.pointer.stroke(points, step_ms=2 * _STEP_MS if is_last else _STEP_MS)
    return float(krita.call(_NIJIMI, "metrics")["fps"])


def _check(report: dict[str, Any], output: Path) -> None:
    """The demo fails loudly when it did not do what it must."""
    missing = [key for key in REPORT_KEYS if key not in report]
    if missing:
        raise DemoFailed(f"The report lacks {', '.join(missing)}.")
    if not report["frames"] or not report["final_revision_shown"]:
        raise DemoFailed("The newest stroke was not shown.", f"State: {report.get('state')}")
    if len(report["layers"]) != 3:
        raise DemoFailed(f"Apply did not add one layer: {report['layers']}.")
    for name in _OUTPUTS:
        if not (output / name).exists() or (output / name).stat().st_size < 500:
            raise DemoFailed(f"{name} was not written.")
    if not zipfile.is_zipfile(output / "canvas.kra"):
        raise DemoFailed("canvas.kra is no Krita document.")
