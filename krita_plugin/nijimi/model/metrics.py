"""Moments of changes and frames enter; the figures of the report leave. Times are seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Metrics", "percentile"]

_KEPT = 8000
_FPS_WINDOW_S = 3.0


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which ``part`` in [0, 1] of ``values`` lie; 0 for none (nearest rank)."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Metrics:
    """Bounded memory of what happened since ``reset``.

    ``stroke_to_frame``: from when a change of the canvas could be seen (at the latest; where it
    could not be sent at once, from the first look) until the first frame that shows it is handed
    to the screen. Changes of settings are no strokes. ``overhead`` is that less the time in which
    the engine computed: this frame's networks, and the frame before it that had to finish first
    (``queue``, told by the backend). ``overhead_with_queue`` is less this frame's networks only.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=_KEPT)
        self._shown_at: deque[float] = deque(maxlen=_KEPT)
        self._stroke_ms: deque[float] = deque(maxlen=_KEPT)
        self._overhead_ms: deque[float] = deque(maxlen=_KEPT)
        self._overhead_with_queue_ms: deque[float] = deque(maxlen=_KEPT)
        self._queue_ms: deque[float] = deque(maxlen=_KEPT)
        self._model_ms: deque[float] = deque(maxlen=_KEPT)
        self._stall_ms: deque[float] = deque(maxlen=_KEPT)
        self._stall_kinds: dict[str, deque[float]] = {
            kind: deque(maxlen=_KEPT) for kind in ("look", "show", "paint")
        }
        self._stages: dict[str, deque[float]] = {}
        self._last_revision = 0

    def change(self, revision: int, seen_s: float) -> None:
        """A change of the canvas, seen at ``seen_s``, was sent as ``revision``."""
        self._seen.append((revision, seen_s))

    def spent(self, stage: str, spent_ms: float) -> None:
        """One stage of the way of a change, ours or the backend's, took so long."""
        self._stages.setdefault(stage, deque(maxlen=_KEPT)).append(spent_ms)

    def frame(
        self, revision: int, shown_s: float, model_ms: float, timings_ms: Mapping[str, float]
    ) -> None:
        """A frame was handed to the screen; ``timings_ms`` tells the backend's stages."""
        for stage, spent_ms in timings_ms.items():
            self.spent(stage, spent_ms)
        queue_ms = timings_ms.get("queue", 0.0)
        self._shown_at.append(shown_s)
        self._last_revision = revision
        newest: float | None = None
        while self._seen and self._seen[0][0] <= revision:
            newest = self._seen.popleft()[1]
        if newest is None:
            return
        # Of several changes in one frame the newest counts: the others waited for newer ones.
        stroke_ms = (shown_s - newest) * 1000
        self._stroke_ms.append(stroke_ms)
        self._model_ms.append(model_ms)
        self._queue_ms.append(queue_ms)
        self._overhead_with_queue_ms.append(max(0.0, stroke_ms - model_ms))
        self._overhead_ms.append(max(0.0, stroke_ms - model_ms - queue_ms))

    def stall(self, kind: str, spent_ms: float) -> None:
        """One turn of ours on Krita's thread while the pen was down took so long.

        ``kind``: look (grab, compare, send), show (receive, unpack, hand over) or paint.
        """
        self._stall_ms.append(spent_ms)
        self._stall_kinds[kind].append(spent_ms)

    def turn(self, kind: str, spent_ms: float, *, is_pen_down: bool) -> None:
        """A turn that is a stage of a frame's way, and a stall while the pen is down."""
        self.spent(kind, spent_ms)
        if is_pen_down:
            self.stall(kind, spent_ms)

    def fps(self, now_s: float) -> float:
        """Frames a second over the last seconds in which frames came."""
        recent = [at for at in self._shown_at if now_s - at <= _FPS_WINDOW_S]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(1e-6, recent[-1] - recent[0])

    def report(self) -> dict[str, Any]:
        """The figures of the demo's report."""
        stroke, overhead, stall = self._stroke_ms, self._overhead_ms, self._stall_ms
        return {
            "frames": len(self._shown_at),
            "stroke_to_frame_ms": _summary(stroke, ("p50", "p95", "max")),
            "overhead_ms": _summary(overhead, ("p50", "p95")),
            "overhead_with_queue_ms": _summary(self._overhead_with_queue_ms, ("p50", "p95")),
            "queue_ms": _summary(self._queue_ms, ("p50", "p95")),
            "model_ms": _summary(self._model_ms, ("p50", "p95")),
            "ui_stall_ms": _summary(stall, ("p50", "p99", "max")),
            "ui_turns": len(stall),
            "ui_stall_by_kind_ms": {
                kind: _summary(values, ("p50", "p99", "max"))
                for kind, values in self._stall_kinds.items()
            },
            "stages_ms": {
                stage: _summary(values, ("p50", "p99")) for stage, values in self._stages.items()
            },
            "last_revision_shown": self._last_revision,
        }


def _summary(values: Sequence[float], names: tuple[str, ...]) -> dict[str, float]:
    parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(percentile(list(values), parts[name]), 2) for name in names}
