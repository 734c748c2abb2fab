"""The parent's life enters; this process ends when the parent is gone, even if it hangs itself.

Three means, the first of which is always there: the end of standard input (``serve_command``); on
Linux the kernel's own signal at the parent's death; and everywhere a watchdog in C that ends a
process whose event loop has stood still for minutes, whatever Python is doing.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import logging
import os
import signal
import sys
from typing import TextIO

__all__ = ["HANG_S", "end_with_parent", "show_life"]

log = logging.getLogger(__name__)

HANG_S = 300.0
"""Loading the largest model may keep Python busy for long; the plugin gives up much sooner."""

_LOOK_S = 5.0
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel end us with the parent, where it can. prctl(2), PR_SET_PDEATHSIG."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):
        failed = -1
    if failed:
        log.info("the kernel does not tell of the parent's end; standard input will")
    elif os.getppid() != parent:
        # It ended between the two lines above.
        os._exit(0)


async def show_life(notes: TextIO | None = None, hang_s: float = HANG_S) -> None:
    """As long as this runs, the event loop does; once it does not, the watchdog ends us.

    ``notes``: an open file that is told where it stood still.
    """
    try:
        while True:
            faulthandler.dump_traceback_later(hang_s, exit=True, file=notes or sys.stderr)
            await asyncio.sleep(min(_LOOK_S, hang_s / 4))
    finally:
        faulthandler.cancel_dump_traceback_later()
