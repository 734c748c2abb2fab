"""Canvas sizes enter; what a small stroke costs on each in real Krita leaves.

Strokes of a 20 px brush by a real pointer, and what our turns take of Krita's thread. Nothing but
the stroke may matter. What the backend takes of it alone: ``growth_backend``.
"""

from __future__ import annotations

from typing import Any

from nijimi_installer.desktop.krita_process import KritaProcess

from .painting import NIJIMI_STEPS, begin_painting, krita_with_docker, paint_row

__all__ = ["SIDES", "krita_growth", "krita_table"]

SIDES = (512, 1024, 2048, 4096)


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


def krita_table(rows: list[dict[str, Any]]) -> str:
    lines = ["canvas     stroke to frame p50   not the model's p50   our turns p99"]
    for row in rows:
        lines.append(
            f"{row['side_px']:5} px {row['stroke_to_frame_ms']['p50']:16.0f} ms"
            f"{row['overhead_ms']['p50']:19.1f} ms{row['ui_stall_ms']['p99']:13.1f} ms"
        )
    return "\n".join(lines)
