"""Log records enter; lines of JSON in a bounded set of files leave, the same for both ends.

What a painter writes stays out of them: the words of an exception may quote a prompt, so only its
kind and its place are kept, unless somebody asks for more.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["JsonLines", "QuietLines", "log_dir", "newest_files", "newest_logs", "open_logbook"]

_MAX_BYTES = 1_000_000
_BACKUPS = 1
_KEPT_RUNS = 5
"""At most ``_KEPT_RUNS * (_BACKUPS + 1) * _MAX_BYTES`` bytes a kind of log."""


def log_dir() -> Path:
    """Where this user's logs are; NIJIMI_LOGS names another folder."""
    if named := os.environ.get("NIJIMI_LOGS"):
        return Path(named)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(home / "AppData" / "Local"))) / "nijimi"
    if sys.platform == "darwin":
        return home / "Library" / "Logs" / "nijimi"
    return Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "nijimi"


class JsonLines(logging.Formatter):
    """One object a line: time (UTC), level, where, text, and what ``extra={"data": ...}`` gave."""

    def __init__(self, *, with_words: bool = False) -> None:
        super().__init__()
        self._with_words = with_words

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "where": record.name,
            "text": record.getMessage(),
        }
        data = getattr(record, "data", None)
        if isinstance(data, dict):
            line["data"] = data
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, trace = record.exc_info
            line["error"] = kind.__name__
            if self._with_words:
                line["words"] = str(error)
            line["trace"] = _places(trace)
        return json.dumps(line, default=str)


class QuietLines(logging.Formatter):
    """Plain text for a terminal; of an exception its kind and its place, not its words."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        kind, _error, trace = ei
        return f"{kind.__name__ if kind else 'error'} at {' > '.join(_places(trace))}"


def _places(trace: TracebackType | None) -> list[str]:
    return [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(trace)
    ]


def open_logbook(kind: str, *, with_words: bool = False) -> logging.Handler:
    """A handler that writes to a file of this run, older runs' files but a few removed.

    A folder that cannot be written gives a handler that writes nothing: a full disk must not stop
    anybody from painting.
    """
    folder = log_dir()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    path = folder / f"{kind}-{stamp}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in newest_logs(kind)[_KEPT_RUNS - 1 :]:
            for part in folder.glob(f"{old.name}*"):
                part.unlink(missing_ok=True)
        handler: logging.Handler = RotatingFileHandler(
            path, maxBytes=_MAX_BYTES, backupCount=_BACKUPS, encoding="utf-8", delay=True
        )
    except OSError:
        return logging.NullHandler()
    # ``logging`` prints what goes wrong while it writes; a full disk would print it at every line.
    handler.handleError = lambda record: None
    handler.setFormatter(JsonLines(with_words=with_words))
    return handler


def newest_logs(kind: str) -> list[Path]:
    """The log files of that kind, the newest first."""
    return newest_files(f"{kind}-*.log")


def newest_files(pattern: str) -> list[Path]:
    """Files of the folder of logs whose names, which hold their time, match; the newest first."""
    try:
        return sorted(log_dir().glob(pattern), key=lambda path: path.name, reverse=True)
    except OSError:
        return []
