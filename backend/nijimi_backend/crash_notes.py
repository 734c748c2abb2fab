"""Faults that nobody caught enter; notes of them leave, in files of this machine only."""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TextIO

from nijimi_protocol.logbook import QuietLines, log_dir, newest_files, open_logbook

__all__ = ["CrashNotes", "newest_crash"]

log = logging.getLogger(__name__)

_KEPT = 5
_NOTES = "crash-*.txt"


class CrashNotes:
    """While it is open: logs go to a file, and a crash of the interpreter leaves its stacks."""

    def __init__(self, *, with_words: bool = False) -> None:
        root = logging.getLogger()
        self._handler = open_logbook("backend", with_words=with_words)
        if not with_words:
            for handler in root.handlers:
                handler.setFormatter(QuietLines())
        root.addHandler(self._handler)
        self._path = log_dir() / f"crash-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.txt"
        self.file: TextIO | None = None
        try:
            log_dir().mkdir(parents=True, exist_ok=True)
            for old in newest_files(_NOTES)[_KEPT - 1 :]:
                old.unlink(missing_ok=True)
            self.file = self._path.open("w", encoding="utf-8")
            # In C, so it works when Python does not any more: a segmentation fault, an abort.
            faulthandler.enable(self.file)
        except OSError:
            log.warning("no notes of crashes can be kept: the folder of logs cannot be written")
        sys.excepthook = _note
        threading.excepthook = lambda args: _note(
            args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
        )

    def close(self) -> None:
        """A clean end: the note is empty, and goes."""
        logging.getLogger().removeHandler(self._handler)
        self._handler.close()
        if self.file is not None:
            faulthandler.disable()
            is_empty = self.file.tell() == 0
            self.file.close()
            if is_empty:
                self._path.unlink(missing_ok=True)


def newest_crash() -> Path | None:
    """The newest note that says something."""
    try:
        return next((note for note in newest_files(_NOTES) if note.stat().st_size), None)
    except OSError:
        return None


def _note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("nobody caught this", exc_info=(kind, error, trace))
