"""Nothing enters; memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

__all__ = ["give_memory_back"]


def give_memory_back() -> None:
    """After something large was freed: the C library keeps it for itself otherwise.

    Some milliseconds with glibc (malloc_trim(3)); elsewhere nothing, as far as we know there is
    nothing to do.
    """
    _trim()()


@functools.cache
def _trim() -> Callable[[], object]:
    if not sys.platform.startswith("linux"):
        return lambda: None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        # Another C library, such as musl.
        return lambda: None
    return lambda: trim(0)
