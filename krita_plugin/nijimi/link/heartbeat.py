"""Times of bytes and of our own looks enter; whether to ask, or to give the peer up, leaves.

A backend can hang without dying, and after a laptop's sleep a socket can look open although nobody
is there. Pure: times are seconds of any steady clock.
"""

from __future__ import annotations

import enum

__all__ = ["BEAT_S", "LOADING_PATIENCE_S", "READY_PATIENCE_S", "Beat", "Heartbeat"]

BEAT_S = 1.0
"""How often to look."""

READY_PATIENCE_S = 4.0
LOADING_PATIENCE_S = 90.0
"""How long an answer may take. While a model loads, Python may be busy for long."""


class Beat(enum.Enum):
    """What to do now."""

    NOTHING = enum.auto()
    ASK = enum.auto()
    GIVE_UP = enum.auto()


class Heartbeat:
    """Watches one connection."""

    def __init__(self, now_s: float) -> None:
        self.patience_s = LOADING_PATIENCE_S
        self._heard_s = now_s
        self._asked_s: float | None = None
        self._looked_s = now_s

    def heard(self, now_s: float) -> None:
        """Bytes came."""
        self._heard_s = now_s
        self._asked_s = None

    def look(self, now_s: float) -> Beat:
        """Called about every ``BEAT_S``."""
        was_away = now_s - self._looked_s > 3 * BEAT_S
        self._looked_s = now_s
        if was_away:
            # It was us who did not look: the answer may lie unread in the socket.
            self._asked_s = now_s
            return Beat.ASK
        if self._asked_s is not None:
            waited_s = now_s - self._asked_s
            return Beat.GIVE_UP if waited_s >= self.patience_s else Beat.NOTHING
        if now_s - self._heard_s >= BEAT_S:
            self._asked_s = now_s
            return Beat.ASK
        return Beat.NOTHING
