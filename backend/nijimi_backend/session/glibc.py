"""A name enters; that function of the GNU C library leaves, where there is one."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

__all__ = ["glibc"]


@functools.cache
def glibc(name: str) -> Callable[..., int] | None:
    """A function of the GNU C library; None where there is another one."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        # Another C library, such as musl.
        return None
