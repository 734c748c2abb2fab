"""Failures of loading enter; whether a model may be tried again, and what to tell, leaves.

Pure: times are seconds and arrive as arguments. A painter who mends a model's files must not
have to restart anything, and a broken model must not be loaded again at every dab.
"""

from __future__ import annotations

from dataclasses import dataclass

from nijimi_protocol.messages import ErrorReport

__all__ = ["RETRY_S", "Refusals"]

RETRY_S = 3.0
"""A model that could not be loaded is left alone for so long."""


@dataclass(frozen=True, kw_only=True)
class _Refusal:
    report: ErrorReport
    at_s: float


class Refusals:
    """What could not be loaded, by name."""

    def __init__(self) -> None:
        self._known: dict[str, _Refusal] = {}

    def note(self, name: str, report: ErrorReport, now_s: float) -> None:
        """Loading ``name`` failed just now."""
        self._known[name] = _Refusal(report=report, at_s=now_s)

    def forget(self, name: str) -> None:
        """It was loaded."""
        self._known.pop(name, None)

    def may_try(self, name: str, now_s: float) -> bool:
        known = self._known.get(name)
        return known is None or now_s - known.at_s >= RETRY_S

    def report(self, name: str) -> ErrorReport | None:
        """Why it could not be loaded the last time."""
        known = self._known.get(name)
        return known.report if known else None
