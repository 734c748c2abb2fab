"""Canvas sizes enter; what a small stroke costs on each leaves. Nothing but the stroke may matter.

Two parts: the backend alone (a client on a socket paints 64 x 64 px and waits for the frame), and
real Krita (strokes of a 20 px brush by a real pointer), with what our turns take of its thread.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from nijimi_installer.desktop.krita_process import KritaProcess
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.params import RenderParams

from tests.support.backend_process import BackendProcess
from tests.support.live_client import LiveClient

from .painting import NIJIMI_STEPS, begin_painting, krita_with_docker, paint_row

__all__ = ["SIDES", "backend_growth", "growth_table", "krita_growth"]

SIDES = (512, 1024, 2048, 4096)
_BLOCK_PX = 512


def backend_growth(strokes: int = 15) -> list[dict[str, Any]]:
    """Update to frame, less the networks, for a small stroke on a painted canvas of each size."""
    found: list[dict[str, Any]] = []
    with BackendProcess("--device", "cpu") as backend:
        for side in SIDES:
            with LiveClient(backend.port, backend.token) as client:
                client.wait_for_state("ready")
                client.open_canvas(Extent(side, side))
                client.set(RenderParams(num_inference_steps=1, refine=False, strength=0.3))
                for y in range(0, side, _BLOCK_PX):
                    for x in range(0, side, _BLOCK_PX):
                        client.paint(Bounds(x, y, _BLOCK_PX, _BLOCK_PX), 200)
                client.wait_for_frame(client.session.revision)
                spent: list[float] = []
                for n in range(strokes + 2):
                    started = time.perf_counter()
                    client.paint(Bounds(40 + n, 60, 64, 64), 5 * n)
                    frame = client.wait_for_frame(client.session.revision)
                    spent.append((time.perf_counter() - started) * 1000 - frame.model_ms)
                found.append(
                    {"side_px": side, "overhead_ms_p50": round(statistics.median(spent[2:]), 1)}
                )
    return found


def krita_growth() -> list[dict[str, Any]]:
    """The metrics of three strokes on a canvas of each size, in real Krita."""
    found: list[dict[str, Any]] = []
    with krita_with_docker() as krita:
        for side in SIDES:
            found.append({"side_px": side, **_strokes(krita, side)})
    return found


def _strokes(krita: KritaProcess, side: int) -> dict[str, Any]:
    start = begin_painting(krita, side, strength=0.3)
    for row in range(4):
        paint_row(krita, start, row)
    report: dict[str, Any] = krita.call(NIJIMI_STEPS, "wait_until_shown", timeout_s=60)
    krita.call(NIJIMI_STEPS, "set_values", live=False)
    kept = ("frames", "stroke_to_frame_ms", "overhead_ms", "ui_stall_ms", "final_revision_shown")
    return {key: report[key] for key in kept}


def growth_table(backend: list[dict[str, Any]], krita: list[dict[str, Any]]) -> str:
    lines = ["canvas     backend, ms   stroke to frame p50   not the model's p50   our turns p99"]
    for one, two in zip(backend, krita, strict=True):
        lines.append(
            f"{one['side_px']:5} px {one['overhead_ms_p50']:12.1f}"
            f"{two['stroke_to_frame_ms']['p50']:20.0f}{two['overhead_ms']['p50']:22.1f}"
            f"{two['ui_stall_ms']['p99']:16.1f}"
        )
    return "\n".join(lines)
