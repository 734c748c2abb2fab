"""Drags of a joint in real Krita enter; what they cost Krita's thread leaves, and whether any was
lost at its end.

A wrist is taken with Krita's own shape tool and moved by 60 events of the pointer in a second, to
and fro, on a live document of 1024 x 1024 px.
"""

from __future__ import annotations

import time
from typing import Any

from tests.krita.session import Session

from .painting import krita_with_docker

__all__ = ["drags_table", "measure_drags"]

SIDE_PX = 1024
EVENTS = 60
_WRIST = 4
_REACH_PX = (60, 40)
"""Down and back: above lies the canvas's middle, where Krita's tool snaps."""


def measure_drags(count: int) -> dict[str, Any]:
    """Turns of all drags together, in ms, and by kind; frames; drags whose end was not sent."""
    with krita_with_docker() as krita:
        session = Session(krita)
        session.reset()
        session.step("close_documents")
        session.step("new_document", width=SIDE_PX, height=SIDE_PX)
        session.go_live()
        session.add_person("standing")
        session.nijimi("wait_until_shown")
        # Not counted: the first one makes what all others use.
        _drag(session, -1)
        session.nijimi("reset_metrics")
        lost = [_drag(session, n) for n in range(count)]
        report: dict[str, Any] = session.nijimi("metrics")
    return {
        "drags": count,
        "side_px": SIDE_PX,
        "events_a_drag": EVENTS,
        "turns": report["ui_turns"],
        "turns_ms": report["ui_stall_ms"],
        "turns_by_kind_ms": report["ui_stall_by_kind_ms"],
        "frames": report["frames"],
        "ends_lost": sum(lost),
    }


def _drag(session: Session, number: int) -> bool:
    """One second of dragging; whether the backend was told another place in the end."""
    sign = 1 if number % 2 else -1
    dx, dy = sign * _REACH_PX[0], sign * _REACH_PX[1]
    session.inside("activate", name="Pose")
    session.controls("take_shape_tool")
    x, y, _ = session.controls("joints")[0][_WRIST]
    way = [(x + dx * n / EVENTS, y + dy * n / EVENTS) for n in range(EVENTS + 1)]
    session.krita.pointer.stroke(session.points(way), step_ms=1000 / EVENTS)
    session.nijimi("wait_until_shown")
    time.sleep(0.3)
    now = session.controls("joints")[0][_WRIST][:2]
    told = session.controls("sent_people")[0][_WRIST][:2]
    has_moved = abs(now[0] - x - dx) < 4 and abs(now[1] - y - dy) < 4
    assert has_moved, f"the joint is at {now}, not at {(x + dx, y + dy)}"
    return max(abs(a - b) for a, b in zip(now, told, strict=True)) > 0.01


def drags_table(report: dict[str, Any]) -> str:
    """All turns, and each kind's."""
    turns = report["turns_ms"]
    lines = [
        f"{report['drags']} drags of {report['events_a_drag']} events in 1 s at "
        f"{report['side_px']} px: {report['turns']} turns on Krita's thread, p50 "
        f"{turns['p50']:.1f}, p99 {turns['p99']:.1f} (bar 8), most {turns['max']:.1f} ms; "
        f"{report['frames']} frames; ends lost: {report['ends_lost']}"
    ]
    lines += [
        f"      {kind}: p50 {value['p50']:.1f}, p99 {value['p99']:.1f}, most {value['max']:.1f} ms"
        for kind, value in report["turns_by_kind_ms"].items()
    ]
    return "\n".join(lines)
