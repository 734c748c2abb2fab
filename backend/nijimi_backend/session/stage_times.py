"""Timings of frames enter; a summary a minute leaves, for the log.

Pure: times are seconds of any steady clock. Memory is bounded: a minute's frames are forgotten
with their summary, and of a very quick minute the first ``_MOST`` frames speak for all.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

__all__ = ["SUMMARY_S", "StageTimes"]

SUMMARY_S = 60.0
_MOST = 2000


class StageTimes:
    """Collects what each stage of a frame took."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._frames = 0
        self._stages: dict[str, list[float]] = {}

    def note(self, timings_ms: Mapping[str, float], now_s: float) -> dict[str, object] | None:
        """Take one frame's; a summary of them all once a minute is over, else None."""
        if self._since_s is None:
            self._since_s = now_s
        self._frames += 1
        for stage, spent_ms in timings_ms.items():
            values = self._stages.setdefault(stage, [])
            if len(values) < _MOST:
                values.append(spent_ms)
        return self.summary(now_s) if now_s - self._since_s >= SUMMARY_S else None

    def summary(self, now_s: float) -> dict[str, object] | None:
        """Frames, seconds and each stage's p50 and p95 in ms; None where there was no frame."""
        if self._since_s is None:
            return None
        found: dict[str, object] = {
            "frames": self._frames,
            "seconds": round(now_s - self._since_s, 1),
            "stages_ms": {stage: _percentiles(values) for stage, values in self._stages.items()},
        }
        self._since_s, self._frames, self._stages = None, 0, {}
        return found


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return {"p50": round(statistics.median(ordered), 2), "p95": round(p95, 2)}
