"""Times of changes and of finished frames enter; what to render next, and when, leaves.

Pure: every method takes the time in seconds. The rules, for one client:

- the newest state is rendered, one frame at a time;
- a live frame that became stale is given up only early on (at most a quarter of its steps
  done), and never twice in a row: so at most that part of every other frame's work is thrown
  away, however fast the painter changes things, and the newest stroke rarely waits for a whole
  old frame;
- when nothing changed for ``REST_S``, one refining frame follows, and then nothing at all;
- a refining frame is given up at once when something changes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["REST_S", "Pace", "Work"]

REST_S = 0.35
"""Pause in the painter's work after which the picture is refined."""

_GIVE_UP_BEFORE = 0.26
"""A stale live frame is given up only if at most this part of its steps is done."""


class Work(enum.Enum):
    """What to render."""

    LIVE = enum.auto()
    REFINE = enum.auto()
    BATCH = enum.auto()


@dataclass(kw_only=True)
class Pace:
    """Mutable; guarded by the worker's lock."""

    live: bool = False
    refine: bool = True
    cancelled: bool = False
    changed_at_s: float = 0.0
    changes: int = 0
    """Counts complete changes; what a frame showed is remembered as such a count."""
    shown: int = 0
    refined: int = 0
    gave_up_last: bool = False

    def change(self, now_s: float) -> None:
        """Something changed: there is a newer state to show."""
        self.changes += 1
        self.changed_at_s = now_s
        self.cancelled = False

    def cancel(self) -> None:
        """Render nothing until the next change."""
        self.cancelled = True

    def next_work(self, now_s: float) -> Work | None:
        """What to render now, or None."""
        if not self.live or self.cancelled or not self.changes:
            return None
        if self.shown < self.changes:
            return Work.LIVE
        if self.refine and self.refined < self.changes and now_s >= self._rest_at_s:
            return Work.REFINE
        return None

    def wake_in_s(self, now_s: float) -> float | None:
        """Seconds until time alone gives work, or None when only a change can."""
        if not self.live or self.cancelled or not self.changes:
            return None
        if self.shown < self.changes:
            return 0.0
        if self.refine and self.refined < self.changes:
            return max(0.0, self._rest_at_s - now_s)
        return None

    def should_give_up(self, work: Work, started_with: int, part_done: float) -> bool:
        """Whether a running frame that began at change ``started_with`` is to be given up."""
        if not self.live or self.cancelled:
            return True
        if self.changes == started_with:
            return False
        if work is Work.REFINE:
            return True
        return part_done < _GIVE_UP_BEFORE and not self.gave_up_last

    def gave_up(self, work: Work) -> None:
        """A running frame was given up."""
        if work is Work.LIVE:
            self.gave_up_last = True

    def finished(self, work: Work, started_with: int) -> None:
        """A frame that began at change ``started_with`` is done."""
        self.gave_up_last = False
        self.shown = max(self.shown, started_with)
        if work is Work.REFINE:
            self.refined = max(self.refined, started_with)

    def failed(self, started_with: int) -> None:
        """The state of that change cannot be rendered; what came after it still will be."""
        self.gave_up_last = False
        self.shown = max(self.shown, started_with)
        self.refined = max(self.refined, started_with)

    @property
    def _rest_at_s(self) -> float:
        return self.changed_at_s + REST_S
