"""How far something is enters; a bar on the terminal leaves, or nothing where there is none."""

from __future__ import annotations

import sys
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


@contextmanager
def progress_bar(what: str, *, in_bytes: bool = False) -> Generator[Note]:
    """Gives what is to be told how far it is. Standard error is the place: output stays clean."""
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
