"""Values with the revision that brought them enter; the one that a frame shows leaves."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

__all__ = ["History"]

Value = TypeVar("Value")

_KEPT = 64


class History(Generic[Value]):
    """The newest values of something that changes. What is forgotten counts as the oldest kept."""

    def __init__(self, first: Value) -> None:
        self._known: deque[tuple[int, Value]] = deque([(0, first)], maxlen=_KEPT)

    @property
    def newest(self) -> Value:
        return self._known[-1][1]

    def note(self, revision: int, value: Value) -> None:
        """From ``revision`` on it is ``value``."""
        if value != self.newest:
            self._known.append((revision, value))

    def at(self, revision: int) -> Value:
        """What it was at ``revision``."""
        return next(
            (value for known, value in reversed(self._known) if known <= revision),
            self._known[0][1],
        )
