"""Minutes enter; strokes in real Krita for so long, and whether anything grows or slows, leave.

Every minute has a document of its own: what Krita keeps to undo strokes is not ours, and goes with
it. The first rounds, in which both programs still fill their caches, do not count for the slopes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from nijimi_backend.plugin_archive import build_archive
from nijimi_installer.desktop.krita_process import DRIVER_DIR, KritaProcess
from nijimi_installer.desktop.plugin_profile import plugin_profile
from nijimi_installer.desktop.xvfb import VirtualScreen

__all__ = ["measure_steady", "steady_table"]

_STEPS, _NIJIMI = DRIVER_DIR / "steps.py", DRIVER_DIR / "nijimi_steps.py"
_SIDE_PX = 1024
_PAUSE_S = 1.0
_MIB = 1024 * 1024


def measure_steady(minutes: float) -> dict[str, Any]:
    """One row a minute, and how both programs' memory and our turns go on from round to round."""
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = folder / "nijimi.zip"
        build_archive(archive)
        profile = plugin_profile(folder / "profile", archive, Path(sys.executable), device="auto")
        with VirtualScreen() as screen, KritaProcess(profile, screen.display) as krita:
            krita.call(_STEPS, "fill_screen")
            krita.call(_NIJIMI, "show_docker")
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
    krita.call(_STEPS, "close_documents")
    krita.call(_STEPS, "new_document", width=_SIDE_PX, height=_SIDE_PX)
    krita.call(_STEPS, "choose_brush", size=20.0, colour=[200, 30, 30])
    values: dict[str, Any] = {"prompt": "a red house", "strength": 0.5, "num_inference_steps": 2}
    krita.call(_NIJIMI, "set_values", **values, live=True)
    krita.call(_NIJIMI, "wait_until_ready", timeout_s=120)
    krita.call(_NIJIMI, "wait_until_shown", timeout_s=60)
    krita.call(_NIJIMI, "reset_metrics")
    origin = krita.call(_STEPS, "canvas_origin")
    x, y = origin["x"] + 60, origin["y"] + 150
    end, row = time.monotonic() + 55, 0
    while time.monotonic() < end:
        points = [(x + 4 * n, y + 80 * (row % 5) + (n * 37) % 60) for n in range(110)]
        krita.pointer.stroke(points, step_ms=16)
        time.sleep(_PAUSE_S)
        row += 1
    report: dict[str, Any] = krita.call(_NIJIMI, "wait_until_shown", timeout_s=60)
    backend = krita.call(_NIJIMI, "backend_pid")
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
