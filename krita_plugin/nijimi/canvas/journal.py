"""Changes that we make to a document enter; a record of them leaves, and what failed is taken back.

Everything of ours that changes a document goes through here. A change that fails half-way is undone
step by step, the last first, so that the document is as if we had not been there.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from ..texts import tr
from .room import ChangeTakenBack

__all__ = ["Change", "Journal", "JournalEntry"]

log = logging.getLogger(__name__)

_KEPT = 200


@dataclass(frozen=True)
class JournalEntry:
    """One change. ``outcome`` is done, taken back, or stuck where taking back failed, too."""

    at_s: float
    document: str
    what: str
    outcome: str


class Change:
    """A change that is being made: say after each step how to take it back."""

    def __init__(self) -> None:
        self._back: list[Callable[[], object]] = []

    def undo_by(self, step: Callable[[], object]) -> None:
        self._back.append(step)

    def take_back(self) -> bool:
        """Whether every step could be taken back. One that cannot does not stop the others."""
        is_whole = True
        while self._back:
            try:
                self._back.pop()()
            except Exception:
                # Krita's wrappers raise anything once the document is gone.
                log.exception("a step could not be taken back")
                is_whole = False
        return is_whole


class Journal:
    """The newest changes, in order; all of them go to the log."""

    def __init__(self) -> None:
        self.entries: deque[JournalEntry] = deque(maxlen=_KEPT)

    @contextmanager
    def change(self, document: str, what: str) -> Generator[Change, None, None]:
        """A change to the document of that id. Raises ``ChangeTakenBack`` where it fails."""
        change = Change()
        try:
            yield change
        except Exception as error:
            is_whole = change.take_back()
            self._note(document, what, "taken back" if is_whole else "stuck")
            log.exception("%s failed", what)
            if is_whole:
                raise ChangeTakenBack(
                    tr("Krita refused: {what}. The document is as it was.", what=tr(what)),
                    tr("Try again; Nijimi's log says more."),
                ) from error
            raise ChangeTakenBack(
                tr("Krita refused: {what}, and a part of it could not be undone.", what=tr(what)),
                tr("Look at the newest layers, and use undo; Nijimi's log says more."),
            ) from error
        self._note(document, what, "done")

    def _note(self, document: str, what: str, outcome: str) -> None:
        self.entries.append(JournalEntry(time.time(), document, what, outcome))
        log.info("%s: %s in document %s", outcome, what, document)
