"""The parent's life enters; this process ends when the parent is gone, even if it hangs itself.

Three means, the first of which is always there: the end of standard input (``serve_command``); the
system's own word of the parent's death (Linux: a signal, macOS: kqueue, Windows: a wait on its
handle); and everywhere a watchdog in C that ends a process whose event loop has stood still for
minutes, whatever Python is doing.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, TextIO

__all__ = ["HANG_S", "end_with_parent", "show_life"]

log = logging.getLogger(__name__)

HANG_S = 300.0
"""Loading the largest model may keep Python busy for long; the plugin gives up much sooner."""

_LOOK_S = 5.0
_PR_SET_PDEATHSIG = 1
_SYNCHRONIZE, _FOR_EVER, _SIGNALLED = 0x00100000, 0xFFFFFFFF, 0
"""Windows' words: the right to wait for a process, no time limit, and that it has ended."""

_UNTOLD = "the system does not tell of the parent's end; standard input will"


def end_with_parent() -> None:
    """Have us end with the parent, by what this system has for it.

    Linux: prctl(2), PR_SET_PDEATHSIG. macOS: kqueue(2), NOTE_EXIT. Windows: WaitForSingleObject.
    """
    parent = os.getppid()
    if sys.platform.startswith("linux"):
        _end_by_signal(parent)
        return
    wait = _WAITS.get(sys.platform)
    if wait is None:
        log.info(_UNTOLD)
        return
    threading.Thread(target=_end_after, args=(wait, parent), name="leash", daemon=True).start()


def _end_by_signal(parent: int) -> None:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):
        failed = -1
    if failed:
        log.info(_UNTOLD)
    elif os.getppid() != parent:
        # It ended between the two lines above.
        os._exit(0)


def _end_after(wait: Callable[[int], None], parent: int) -> None:
    """``wait`` returns when the process of that number has ended, or was not there."""
    try:
        wait(parent)
    except (OSError, AttributeError, ImportError):
        log.info(_UNTOLD)
        return
    os._exit(0)


def _kqueue_wait(parent: int) -> None:
    # By name: on other systems neither the type checker nor Python knows these.
    select: Any = importlib.import_module("select")
    queue = select.kqueue()
    event = select.kevent(
        parent,
        filter=select.KQ_FILTER_PROC,
        flags=select.KQ_EV_ADD | select.KQ_EV_ONESHOT,
        fflags=select.KQ_NOTE_EXIT,
    )
    try:
        queue.control([event], 1, None)
    except ProcessLookupError:
        # Gone before we asked.
        return
    finally:
        queue.close()


def _handle_wait(parent: int) -> None:
    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009 - there on Windows only
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(kernel.OpenProcess(_SYNCHRONIZE, False, parent))
    if not handle:
        raise OSError("the parent cannot be waited for")
    if kernel.WaitForSingleObject(handle, _FOR_EVER) != _SIGNALLED:
        raise OSError("the wait for the parent failed")


_WAITS: Mapping[str, Callable[[int], None]] = {"darwin": _kqueue_wait, "win32": _handle_wait}


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
