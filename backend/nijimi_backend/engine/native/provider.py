"""A wish enters; this folder's functions leave, once they are built, in a thread of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .build import build, has_tiles
from .kernels import Kernels

__all__ = ["Native"]

log = logging.getLogger(__name__)


def _build() -> Kernels:
    return Kernels(build())


class Native:
    """``kernels`` are None where this processor has no tiles, until they are built, and where they
    cannot be: whoever asks does without.

    ``make``: builds them; RuntimeError where it cannot.
    """

    def __init__(
        self, make: Callable[[], Kernels] = _build, is_of_use: Callable[[], bool] = has_tiles
    ) -> None:
        self._make = make
        self._is_of_use = is_of_use()
        self._thread: threading.Thread | None = None
        self._kernels: Kernels | None = None

    @property
    def is_of_use(self) -> bool:
        """Whether they would be worth their while here."""
        return self._is_of_use

    @property
    def kernels(self) -> Kernels | None:
        return self._kernels

    def begin(self) -> None:
        """Once; later calls do nothing."""
        if not self._is_of_use or self._thread is not None:
            return
        self._thread = threading.Thread(target=self._build, name="nijimi-native")
        self._thread.start()

    def wait(self) -> None:
        """Until they are there, or known not to come."""
        if self._thread is not None:
            self._thread.join()

    def _build(self) -> None:
        began = time.perf_counter()
        try:
            self._kernels = self._make()
        except Exception:
            # The edge of a thread: torch's own functions serve on.
            log.info("functions for AMX cannot be built; torch's own serve", exc_info=True)
            return
        log.info("functions for AMX were built in %.1f s", time.perf_counter() - began)
