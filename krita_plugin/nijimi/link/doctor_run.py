"""The backend's command enters; what its doctor says, as a text to hand on, leaves.

Signals:
    told(str)  the report, or why there is none
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..qt import QtCore, Signal
from ..texts import tr
from .backend_process import clean_environment

__all__ = ["DoctorRun"]

_SERVE = "serve"


class DoctorRun(QtCore.QObject):
    """One look at the backend's installation, by a process of its own."""

    told = Signal(str)

    def __init__(self, command: Sequence[str], parent: Any = None) -> None:
        super().__init__(parent)
        self._command: list[str] = []
        if _SERVE in command:
            place = list(command).index(_SERVE)
            self._command = [*command[:place], "doctor", "--report"]
        self._process = QtCore.QProcess(self)
        self._process.setProcessEnvironment(clean_environment())
        self._process.finished.connect(self._finished)
        self._process.errorOccurred.connect(self._failed)

    def start(self) -> None:
        if self._command:
            self._process.start(self._command[0], self._command[1:])
        else:
            self.told.emit(tr("No backend is installed on this machine."))

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self.blockSignals(True)
        if self._process.state() != QtCore.QProcess.ProcessState.NotRunning:
            self._process.kill()
            self._process.waitForFinished(500)

    def _finished(self, *_: Any) -> None:
        out = bytes(self._process.readAllStandardOutput()).decode("utf-8", "replace").strip()
        error = bytes(self._process.readAllStandardError()).decode("utf-8", "replace").strip()
        self.told.emit(out or error or tr("The backend's doctor said nothing."))

    def _failed(self, error: Any) -> None:
        if error == QtCore.QProcess.ProcessError.FailedToStart:
            self.told.emit(
                tr("The backend could not be started: {path} is not there.", path=self._command[0])
            )
