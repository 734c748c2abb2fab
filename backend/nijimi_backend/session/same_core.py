"""A thread that is about to rest enters; the one that it wakes goes on at once, on the same core.

Linux wakes a thread where it ran last. There a thread of torch's may be busy, which looks for more
work for some milliseconds after each frame, and whoever is woken beside it waits for the
scheduler's next tick (4 ms), although the core of the one that woke it is free a moment later.
"""

from __future__ import annotations

import logging
import os
import threading

from .glibc import glibc

__all__ = ["SameCore"]

log = logging.getLogger(__name__)


class SameCore:
    """Calls one thread to the core of another that wakes it. Does nothing but on Linux.

    ``call`` comes before the waking and ``free`` right after it, so that nothing else that the
    thread does is held to one core, and no thread that it begins.
    """

    def __init__(self) -> None:
        self._thread_id = 0
        self._cores: set[int] | None = None
        """Where it may run, while it is called to one of them."""

    def sleeper(self) -> None:
        """The calling thread is the one that will be woken."""
        self._thread_id = threading.get_native_id()

    def call(self) -> None:
        """By the thread that wakes it, and will rest: it shall go on here."""
        core_here = glibc("sched_getcpu")
        if core_here is None or not self._thread_id or self._cores is not None:
            return
        try:
            cores = os.sched_getaffinity(self._thread_id)
            os.sched_setaffinity(self._thread_id, {core_here()})
        except OSError as error:
            self._give_up(error)
            return
        # Last: a ``free`` that is due to an earlier waking may come in between.
        self._cores = cores

    def free(self) -> None:
        """By the thread that was woken: it may run anywhere again."""
        cores, self._cores = self._cores, None
        if cores is not None:
            try:
                os.sched_setaffinity(0, cores)
            except OSError as error:
                # The cores that this program may use are others now.
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        log.info("threads go on where the system puts them (%s)", error.strerror)
        self._thread_id = 0
