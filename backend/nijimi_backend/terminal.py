"""How far something is enters; a bar on the terminal leaves, or nothing where there is none.

With NIJIMI_PROGRESS=lines a program may read it instead: ``Progress 12 of 80``, as pip writes it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

__all__ = ["Note", "progress_bar"]

Note = Callable[[int, int], None]
"""So much is done, of so much; 0 where the whole is not known."""

_LINE_EVERY_S = 0.2


@contextmanager
def progress_bar(what: str, *, in_bytes: bool = False) -> Generator[Note]:
    """Gives what is to be told how far it is. Standard error is the place: output stays clean."""
    if os.environ.get("NIJIMI_PROGRESS") == "lines":
        yield _line_writer()
        return
    amount: tuple[ProgressColumn, ...] = (MofNCompleteColumn(),)
    if in_bytes:
        amount = (DownloadColumn(), TransferSpeedColumn())
    console = Console(file=sys.stderr)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), *amount, TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task(what, total=None)

        def note(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        yield note


def _line_writer() -> Note:
    """A few lines a second, and always the last one."""
    told_s = 0.0

    def note(done: int, total: int) -> None:
        nonlocal told_s
        now = time.monotonic()
        if now - told_s >= _LINE_EVERY_S or done >= total:
            told_s = now
            sys.stderr.write(f"Progress {done} of {total}\n")
            sys.stderr.flush()

    return note
