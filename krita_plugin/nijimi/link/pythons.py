"""A system's name and a home folder enter; a Python that can run the backend leaves.

Krita's own Python cannot: it is older, or has no way to install packages.

Signals:
    found(str, str)  its path and version
    missing()        none of those that were tried will do
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..qt import QtCore, Signal
from .program import Program

__all__ = ["LEAST", "MOST", "PythonSearch", "python_commands"]

LEAST = (3, 11)
MOST = (3, 14)
"""torch is published for those."""

_ASK = (
    "import json, sys, venv; print(json.dumps([sys.executable, list(sys.version_info[:2]),"
    " '.'.join(map(str, sys.version_info[:3])), sys.maxsize > 2**32]))"
)


def python_commands(system: str, home: str) -> tuple[tuple[str, ...], ...]:
    """What may start one, the likeliest first; ``system`` as ``sys.platform`` has it."""
    minors = [12, 13, 11, 14]
    names = [f"python3.{minor}" for minor in minors] + ["python3", "python"]
    if system == "win32":
        launcher = [("py", f"-3.{minor}") for minor in minors]
        local = f"{home}\\AppData\\Local\\Programs\\Python"
        places = [(f"{local}\\Python3{minor}\\python.exe",) for minor in minors]
        return (*launcher, *places, ("python",))
    if system == "darwin":
        # Programs that are started from the Finder have a short PATH.
        folders = ("/opt/homebrew/bin", "/usr/local/bin")
        framework = "/Library/Frameworks/Python.framework/Versions"
        places = [(f"{folder}/python3.{minor}",) for minor in minors for folder in folders]
        places += [(f"{framework}/3.{minor}/bin/python3",) for minor in minors]
        return (*places, *((name,) for name in names))
    return tuple((name,) for name in names)


class PythonSearch(QtCore.QObject):
    """Asks one after the other, without a moment of waiting in Krita."""

    found = Signal(str, str)
    missing = Signal()

    def __init__(self, commands: Sequence[Sequence[str]], parent: Any = None) -> None:
        super().__init__(parent)
        self._left = [list(command) for command in commands]
        self._program: Program | None = None
        self._said = ""

    def start(self) -> None:
        self._next()

    def stop(self) -> None:
        self.blockSignals(True)
        self._left.clear()
        if self._program is not None:
            self._program.stop()

    def _next(self) -> None:
        if not self._left:
            self.missing.emit()
            return
        self._said = ""
        self._program = Program([*self._left.pop(0), "-c", _ASK], self)
        self._program.said.connect(self._hear)
        self._program.ended.connect(self._ended)
        self._program.start()

    def _hear(self, line: str) -> None:
        self._said = line

    def _ended(self, status: int) -> None:
        answer = self._answer() if status == 0 else None
        if answer is None:
            # Not at once: Qt is still in the middle of telling us of this one.
            QtCore.QTimer.singleShot(0, self._next)
        else:
            self.found.emit(*answer)

    def _answer(self) -> tuple[str, str] | None:
        try:
            path, version, text, is_64_bit = json.loads(self._said)
            will_do = LEAST <= tuple(version) <= MOST and is_64_bit
        except (ValueError, TypeError):
            return None
        return (str(path), str(text)) if will_do else None
