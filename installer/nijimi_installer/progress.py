"""Names of stages enter; lines that say what goes on, and how long it took, leave."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["say", "stage"]


def say(text: str) -> None:
    """One line, at once: output may be a pipe."""
    print(text, flush=True)


@contextmanager
def stage(title: str) -> Generator[None, None, None]:
    """Announce a stage and its duration."""
    say(f"==> {title}")
    started = time.monotonic()
    yield
    say(f"    done in {time.monotonic() - started:.1f} s")
    sys.stdout.flush()
