"""Events of link and flow enter; what the status line says leaves.

Signals:
    changed()
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..qt import QtCore, Signal
from ..texts import tr

__all__ = ["RETRY", "SET_UP", "LiveState", "Problem"]


RETRY = "retry"
SET_UP = "set up"
"""What a press of a button can do about a problem."""


@dataclass(frozen=True)
class Problem:
    """A sentence, what to do, and the button that helps: RETRY, SET_UP or "" for none.

    ``revision``: the newest change that has it; 0 where it is not a change's.
    """

    sentence: str
    action: str
    remedy: str = ""
    revision: int = field(default=0, compare=False)

    def line(self) -> str:
        return f"{self.sentence} {self.action}".strip()


class LiveState(QtCore.QObject):
    """The state of the live link in words and numbers.

    Each source (link, backend, params, canvas, apply) has one problem at most and takes back only
    its own; the newest is told.
    """

    changed = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.state = "off"
        self.device = ""
        self.model = ""
        self.frame_ms = 0.0
        self.fps = 0.0
        self.progress = ""
        self.has_picture = False
        self._problems: dict[str, Problem] = {}

    @property
    def problem(self) -> str:
        """What is wrong, in a sentence, or nothing."""
        return self._newest().sentence

    @property
    def hint(self) -> str:
        return self._newest().action

    @property
    def remedy(self) -> str:
        return self._newest().remedy

    def update(self, **values: Any) -> None:
        """Set some values; observers hear of it once, and only if one is another."""
        different = {name: value for name, value in values.items() if getattr(self, name) != value}
        if different:
            for name, value in different.items():
                setattr(self, name, value)
            self.changed.emit()

    def tell(
        self, source: str, sentence: str, action: str, remedy: str = "", revision: int = 0
    ) -> None:
        """``source`` has a problem, with what was changed at ``revision``."""
        problem = Problem(sentence, action, remedy, revision)
        if self._problems.get(source) == problem:
            # Told again: it keeps its place, and is now the newer change's.
            self._problems[source] = problem
            return
        self._problems.pop(source, None)
        self._problems[source] = problem
        self.changed.emit()

    def forget(self, source: str, revision: int | None = None) -> None:
        """``source`` has none any more; with ``revision`` none up to there, later ones stay."""
        problem = self._problems.get(source)
        if problem is None or (revision is not None and revision < problem.revision):
            return
        del self._problems[source]
        self.changed.emit()

    def forget_all(self) -> None:
        if self._problems:
            self._problems.clear()
            self.changed.emit()

    def line(self) -> str:
        """The status line, in plain words."""
        if self._problems:
            return self._newest().line()
        words = {
            "off": tr("Live is off."),
            "starting": tr("Starting the backend…"),
            "connecting": tr("Connecting…"),
            "loading": f"{tr('Loading the model…')} {self.progress}".rstrip(),
            "waiting": tr("Open a document and paint."),
            "reconnecting": tr("The backend ended; starting it again. Nothing is lost."),
        }
        if self.state in words:
            return words[self.state]
        parts = [self.device or tr("ready"), self.model]
        if self.frame_ms:
            parts += [f"{self.frame_ms:.0f} ms", f"{self.fps:.1f} fps"]
        return "  ·  ".join(part for part in parts if part)

    def _newest(self) -> Problem:
        return next(reversed(self._problems.values()), Problem("", ""))
