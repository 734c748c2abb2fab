"""Findings, logs and the newest crash enter; one text to hand on leaves, without what is private.

No prompts: the logs hold none. Paths lose the user's folder, and anything that looks like a token
is struck out. Nothing is sent anywhere.
"""

from __future__ import annotations

import getpass
import json
import platform
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from nijimi_protocol.logbook import newest_logs
from nijimi_protocol.version import VERSION

from .crash_notes import newest_crash

__all__ = ["clean", "make_report"]

_LINES = 60
_CRASH_LINES = 120
_TOKEN = re.compile(r"[A-Za-z0-9_-]{40,}")


class FindingLike(Protocol):
    """One line of the doctor's."""

    @property
    def what(self) -> str: ...

    @property
    def value(self) -> str: ...

    @property
    def ok(self) -> bool: ...


def make_report(findings: Iterable[FindingLike]) -> str:
    """Everything that helps somebody else to see what is wrong."""
    parts = [
        f"Nijimi {VERSION}, {platform.platform()}, Python {platform.python_version()}, "
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}",
        _section(
            "What the doctor found",
            [f"{'ok ' if f.ok else 'BAD'} {f.what}: {f.value}" for f in findings],
        ),
    ]
    for kind in ("backend", "krita"):
        logs = newest_logs(kind)
        lines = _tail(logs[0], _LINES) if logs else ["none"]
        parts.append(_section(f"The newest log of the {kind}", lines))
    crash = newest_crash()
    parts.append(
        _section("The newest crash", _tail(crash, _CRASH_LINES) if crash is not None else ["none"])
    )
    return clean("\n\n".join(parts)) + "\n"


def clean(text: str, home: Path | None = None, user: str | None = None) -> str:
    """The text without the user's folder, name and tokens."""
    folder = str(home or Path.home())
    if len(folder) > 1:
        text = text.replace(folder, "~").replace(folder.replace("\\", "\\\\"), "~")
    name = user if user is not None else _user()
    if len(name) > 2:
        text = re.sub(rf"(?<=[/\\]){re.escape(name)}(?=[/\\])", "USER", text)
    return _TOKEN.sub("(struck out)", text)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, "-" * len(title), *lines])


def _tail(path: Path, count: int) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    except OSError as error:
        return [f"cannot be read ({error.strerror})"]
    return [_readable(line) for line in lines]


def _readable(line: str) -> str:
    """A line of JSON as text; anything else as it is."""
    try:
        value: Any = json.loads(line)
        rest = {k: v for k, v in value.items() if k not in ("time", "level", "where", "text")}
        words = f"{value['time']} {value['level']} {value['where']}: {value['text']}"
        return f"{words} {json.dumps(rest)}" if rest else words
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
