"""Minutes enter; strokes in real Krita for so long, and whether anything grows or slows, leave.

Every minute has a document of its own: what Krita keeps to undo strokes is not ours, and goes with
it. The first rounds, in which both programs still fill their caches, do not count for the slopes.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import psutil
from nijimi_installer.desktop.krita_process import KritaProcess

from .painting import NIJIMI_STEPS, begin_painting, krita_with_docker, paint_row

__all__ = ["measure_steady", "steady_table"]

_SIDE_PX = 1024
_PAUSE_S = 1.0
_MIB = 1024 * 1024


def measure_steady(minutes: float) -> dict[str, Any]:
    """One row a minute, and how both programs' memory and our turns go on from round to round."""
    rounds: list[dict[str, Any]] = []
    with krita_with_docker() as krita:
        began = time.monotonic()
        while time.monotonic() - began < 60 * minutes:
            rounds.append(_round(krita, time.monotonic() - began))
            print(_line(rounds[-1]), flush=True)
    settled = rounds[len(rounds) // 4 :]
    return {
        "minutes": minutes,
        "side_px": _SIDE_PX,
        "rounds": rounds,
        "slope_mib_an_hour": {
            part: _slope(settled, f"{part}_mib") for part in ("krita", "backend")
        },
        "turns_p99_ms": {
            "first_half": _median(settled[: len(settled) // 2], "turns_p99_ms"),
            "second_half": _median(settled[len(settled) // 2 :], "turns_p99_ms"),
        },
    }


def _round(krita: KritaProcess, at_s: float) -> dict[str, Any]:
    """A new document and a minute of strokes."""
    start = begin_painting(krita, _SIDE_PX, strength=0.5)
    end, row = time.monotonic() + 55, 0
    while time.monotonic() < end:
        paint_row(krita, start, row % 5)
        time.sleep(_PAUSE_S)
        row += 1
    report: dict[str, Any] = krita.call(NIJIMI_STEPS, "wait_until_shown", timeout_s=60)
    backend = krita.call(NIJIMI_STEPS, "backend_pid")
    return {
        "at_s": round(at_s, 1),
        "strokes": row,
        "frames": report["frames"],
        "overhead_p50_ms": report["overhead_ms"]["p50"],
        "turns_p99_ms": report["ui_stall_ms"]["p99"],
        "final_revision_shown": report["final_revision_shown"],
        "krita_mib": psutil.Process(krita.pid).memory_info().rss / _MIB,
        "backend_mib": psutil.Process(backend).memory_info().rss / _MIB,
    }


def _slope(rounds: list[dict[str, Any]], key: str) -> float | None:
    """MiB an hour, by least squares; None for too few rounds."""
    if len(rounds) < 3:
        return None
    times, values = [r["at_s"] / 3600 for r in rounds], [r[key] for r in rounds]
    return statistics.linear_regression(times, values).slope


def _median(rounds: list[dict[str, Any]], key: str) -> float | None:
    return statistics.median(r[key] for r in rounds) if rounds else None


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['at_s']:7.0f} s {row['strokes']:4} strokes {row['frames']:5} frames, "
        f"not the model's p50 {row['overhead_p50_ms']:5.1f} ms, turns p99 "
        f"{row['turns_p99_ms']:5.1f} ms, Krita {row['krita_mib']:6.0f}, "
        f"backend {row['backend_mib']:6.0f} MiB"
    )


def steady_table(report: dict[str, Any]) -> str:
    """What is left when the rounds are over."""
    slopes, turns = report["slope_mib_an_hour"], report["turns_p99_ms"]

    def told(value: float | None) -> str:
        return "too few rounds" if value is None else f"{value:.1f}"

    shown = sum(r["final_revision_shown"] for r in report["rounds"])
    return "\n".join(
        (
            f"{len(report['rounds'])} rounds on {report['side_px']} px; in {shown} of them the "
            "last stroke was shown at the end",
            f"memory, MiB an hour: Krita {told(slopes['krita'])}, "
            f"backend {told(slopes['backend'])}",
            f"turns p99, ms: {told(turns['first_half'])} in the first half, "
            f"{told(turns['second_half'])} in the second",
        )
    )
