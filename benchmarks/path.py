"""Canvas sizes and brushes enter; what lies between a stroke and its picture leaves, by stage.

In real Krita: single dabs at rest, to the picture handed to the screen, less the networks and less
what Krita alone takes from the press until its pixels can be read. The same dabs go to a model of
the design of today's plugins (see ``path_inside``) in the same Krita, so that a slow machine slows
both.
"""

from __future__ import annotations

import random
import socketserver
import statistics
import struct
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nijimi_installer.desktop.krita_process import DRIVER_DIR, KritaProcess

from .painting import NIJIMI_STEPS, begin_painting, krita_with_docker, paint_row

__all__ = ["BRUSHES_PX", "SIDES", "measure_path", "path_table"]

SIDES = (512, 1024, 2048, 4096)
BRUSHES_PX = (20, 200)

_STEPS, _INSIDE = DRIVER_DIR / "steps.py", Path(__file__).with_name("path_inside.py")
ALONE, OURS, TODAYS = "Krita alone", "ours", "today's"
"""As ``path_inside`` has them, which can be imported inside Krita only."""

_POLL_S = 0.1
"""Today's design's."""

_SETTLING_DABS = 12

_NETWORKS = ("prompt", "adapters", "control", "encode", "denoise", "decode")


def measure_path(sides: tuple[int, ...], dabs: int) -> list[dict[str, Any]]:
    """One row a canvas and brush."""
    found: list[dict[str, Any]] = []
    with krita_with_docker() as krita, _echo() as port:
        _settle(krita)
        for side in sides:
            for brush in BRUSHES_PX:
                found.append({"side_px": side, "brush_px": brush, **_row(krita, side, brush,
                                                                         dabs, port)})  # fmt: skip
                print(path_table(found[-1:]), flush=True)
    return found


def _settle(krita: KritaProcess) -> None:
    """The backend makes its networks quicker in the painter's first pause, and tries what it made
    on the next pictures: that is no part of the way, and happens once."""
    x, y = begin_painting(krita, 1024, strength=0.3)
    for n in range(_SETTLING_DABS):
        krita.pointer.stroke([(x + 9 * n, y), (x + 9 * n + 3, y + 2)], step_ms=12)
        time.sleep(1.0)


def _row(krita: KritaProcess, side: int, brush: int, dabs: int, port: int) -> dict[str, Any]:
    begin_painting(krita, side, strength=0.3)
    view = krita.call(_STEPS, "canvas_origin")
    # A document lies in the middle of its view.
    start = (view["x"] + view["width"] / 2 - 200, view["y"] + view["height"] / 2 - 200)
    krita.call(NIJIMI_STEPS, "set_values", refine=False)
    made: dict[str, dict[str, Any]] = {}
    # The same dabs once more would change nothing in the same colour.
    colours = {OURS: (30, 60, 200), ALONE: (40, 140, 60), TODAYS: (220, 160, 40)}
    for way, colour in colours.items():
        krita.call(NIJIMI_STEPS, "set_values", live=way == OURS)
        krita.call(_STEPS, "choose_brush", size=float(brush), colour=colour)
        made[way] = _way(krita, way, start, dabs, port)
    krita.call(NIJIMI_STEPS, "set_values", refine=True)
    report = made[OURS]["report"]
    alone_ms = statistics.median(made[ALONE]["dabs_ms"])
    return {
        "krita_alone_ms": _summary(made[ALONE]["dabs_ms"]),
        # From when a dab could be read at all.
        "ours_ms": _summary([value - alone_ms for value in made[OURS]["dabs_ms"]]),
        "todays_ms": _summary([value - alone_ms for value in made[TODAYS]["dabs_ms"]]),
        "ours_turns_ms": {"p99": report["ui_stall_ms"]["p99"]},
        "ours_turns_by_kind_ms": report["ui_stall_by_kind_ms"],
        "todays_turns_ms": _summary(made[TODAYS]["turns_ms"]),
        # Without the networks' own stages: what is left is the way.
        "stages_ms": {n: v for n, v in report["stages_ms"].items() if n not in _NETWORKS},
    }


def _way(
    krita: KritaProcess, way: str, start: tuple[float, float], dabs: int, port: int
) -> dict[str, Any]:
    """What dabs take to be shown that way, and which turns of Krita's thread a stroke takes."""
    krita.call(_INSIDE, "begin", way=way, port=port)
    krita.call(_INSIDE, "wait_for_rest")
    krita.call(NIJIMI_STEPS, "reset_metrics")
    spent: list[float] = []
    # The same ones for each way.
    pauses = random.Random(dabs)
    for n in range(dabs):
        # Rests are whole tenths of a second, and today's design looks once in each: where in it a
        # dab falls would be the same for all of a row.
        time.sleep(pauses.uniform(0.0, _POLL_S))
        x, y = start[0] + 37 * (n % 9), start[1] + 29 * (n // 9 % 9)
        krita.pointer.stroke([(x, y), (x + 3, y + 2)], step_ms=12)
        spent.append(krita.call(_INSIDE, "wait_for_picture"))
        krita.call(_INSIDE, "wait_for_rest")
    report = krita.call(NIJIMI_STEPS, "metrics")
    krita.call(_INSIDE, "forget_turns")
    krita.call(NIJIMI_STEPS, "reset_metrics")
    paint_row(krita, start, 1)
    time.sleep(0.3)
    of_stroke = krita.call(NIJIMI_STEPS, "metrics")
    for name in ("ui_stall_ms", "ui_stall_by_kind_ms"):
        report[name] = of_stroke[name]
    return {"dabs_ms": spent, "report": report, "turns_ms": krita.call(_INSIDE, "end")}


@contextmanager
def _echo() -> Generator[int, None, None]:
    """A server that gives each message back at once."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.read(8):
                self.wfile.write(head + self.rfile.read(struct.unpack("<Q", head)[0]))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [0.0]
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return {"p50": statistics.median(ordered), "p99": p99, "max": ordered[-1]}


def path_table(rows: list[dict[str, Any]]) -> str:
    """A line a canvas and brush, and below it our stages."""
    lines: list[str] = []
    for row in rows:
        ours, todays = row["ours_ms"], row["todays_ms"]
        lines.append(
            f"{row['side_px']:5} px, brush {row['brush_px']:3} px, after "
            f"{row['krita_alone_ms']['p50']:.1f} ms of Krita's own: ours p50 {ours['p50']:6.1f}, "
            f"p99 {ours['p99']:6.1f} ms; today's {todays['p50']:7.1f}, {todays['p99']:7.1f} ms "
            f"({todays['p50'] / max(0.1, ours['p50']):.1f} times); turns p99 "
            f"{row['ours_turns_ms']['p99']:5.1f} and {row['todays_turns_ms']['p99']:6.1f} ms"
        )
        stages = (f"{name} {value['p50']:.1f}" for name, value in row["stages_ms"].items())
        lines.append(f"      {', '.join(stages)}")
        kinds = (
            f"{name} {value['p50']:.1f} / {value['p99']:.1f}"
            for name, value in row["ours_turns_by_kind_ms"].items()
        )
        lines.append(f"      turns of a stroke, p50 / p99: {', '.join(kinds)}")
    return "\n".join(lines)
