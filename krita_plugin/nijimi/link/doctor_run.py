"""The backend's command enters; what its doctor says, as a text to hand on, leaves.

Signals:
    told(str)  the report, or why there is none
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..qt import QtCore, Signal
from ..texts import tr
from .program import NOT_STARTED, Program, other_command

__all__ = ["DoctorRun"]


class DoctorRun(QtCore.QObject):
    """One look at the backend's installation, by a process of its own."""

    told = Signal(str)

    def __init__(self, command: Sequence[str], parent: Any = None) -> None:
        super().__init__(parent)
        self._command = other_command(command, "doctor", "--report")
        self._out: list[str] = []
        self._errors: list[str] = []
        self._program: Program | None = None

    def start(self) -> None:
        if not self._command:
            self.told.emit(tr("No backend is installed on this machine."))
            return
        self._program = Program(self._command, self)
        self._program.said.connect(self._out.append)
        self._program.complained.connect(self._errors.append)
        self._program.ended.connect(self._ended)
        self._program.start()

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self.blockSignals(True)
        if self._program is not None:
            self._program.stop()

    def _ended(self, status: int) -> None:
        if status == NOT_STARTED:
            self.told.emit(
                tr("The backend could not be started: {path} is not there.", path=self._command[0])
            )
            return
        out, errors = ("\n".join(lines).strip() for lines in (self._out, self._errors))
        self.told.emit(out or errors or tr("The backend's doctor said nothing."))
