"""What became of a client's batches enters from the worker's thread; in that order it leaves.

A batch's pictures come before the word that it is over. Of how far one is, only the newest waits;
pictures are at most one, by the worker's rule; what else waits for a client that does not read is
bounded by dropping the oldest.
"""

from __future__ import annotations

import threading
from collections import deque

from nijimi_protocol.limits import MAX_BATCHES
from nijimi_protocol.messages import BatchPhase, BatchState

from .frames import Made

__all__ = ["Outbox"]

_MOST = 4 * MAX_BATCHES


class Outbox:
    """A queue between two threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Made | BatchState] = deque(maxlen=_MOST)

    def put(self, item: Made | BatchState) -> None:
        with self._lock:
            last = self._waiting[-1] if self._waiting else None
            if _is_progress(item) and _is_progress(last):
                self._waiting.pop()
            self._waiting.append(item)

    def take(self) -> Made | BatchState | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def clear(self) -> None:
        """The client is gone."""
        with self._lock:
            self._waiting.clear()


def _is_progress(item: Made | BatchState | None) -> bool:
    # Only one batch runs at a time, so two such states are of the same one.
    return isinstance(item, BatchState) and item.state is BatchPhase.RUNNING
