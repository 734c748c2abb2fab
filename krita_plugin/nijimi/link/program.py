"""A command enters; the lines that it says, one by one, and its exit status leave.

Signals:
    said(str)         a line of its output
    complained(str)   a line of its other output
    ended(int)        its exit status; NOT_STARTED where there is no such program
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..qt import QtCore, Signal
from .backend_process import clean_environment

__all__ = ["NOT_STARTED", "Program", "other_command", "part_of"]

NOT_STARTED = -1
_PATIENCE_MS = 1500
_SERVE = "serve"
_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)$")


def part_of(line: str) -> tuple[int, int] | None:
    """How much is done, of how much, where a line of pip or of ours says so."""
    found = _PROGRESS.match(line)
    if found is None or int(found[2]) == 0:
        return None
    return int(found[1]), int(found[2])


def other_command(serving: Sequence[str], *words: str) -> list[str]:
    """What starts another command of the backend that ``serving`` starts; [] where none is."""
    if _SERVE not in serving:
        return []
    return [*serving[: list(serving).index(_SERVE)], *words]


class Program(QtCore.QObject):
    """One run of a program that is no part of us, outside of Krita's own surroundings."""

    said = Signal(str)
    complained = Signal(str)
    ended = Signal(int)

    def __init__(
        self,
        command: Sequence[str],
        parent: Any = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(parent)
        self._command = list(command)
        """Empty where there is no such program, which is told as any other that is not there."""
        self._process = QtCore.QProcess(self)
        environment = clean_environment()
        for name, value in (variables or {}).items():
            environment.insert(name, value)
        self._process.setProcessEnvironment(environment)
        self._process.readyReadStandardOutput.connect(self._read)
        self._process.readyReadStandardError.connect(self._read)
        self._process.finished.connect(self._finished)
        self._process.errorOccurred.connect(self._failed)
        self._rest = [b"", b""]

    def start(self) -> None:
        if not self._command:
            QtCore.QTimer.singleShot(0, lambda: self.ended.emit(NOT_STARTED))
            return
        self._process.start(self._command[0], self._command[1:])
        self._process.closeWriteChannel()

    def stop(self) -> None:
        """Nobody wants to know any more: it is ended with what it started, and says nothing."""
        self.blockSignals(True)
        if self._process.state() == QtCore.QProcess.ProcessState.NotRunning:
            return
        if sys.platform == "win32":
            # There terminate() reaches programs with windows only, and kill() spares children.
            QtCore.QProcess.execute(
                "taskkill", ["/T", "/F", "/PID", str(self._process.processId())]
            )
        self._process.terminate()
        if not self._process.waitForFinished(_PATIENCE_MS):
            self._process.kill()
            self._process.waitForFinished(_PATIENCE_MS)

    def _read(self) -> None:
        both = (self._process.readAllStandardOutput(), self._process.readAllStandardError())
        for n, (new, signal) in enumerate(zip(both, (self.said, self.complained), strict=True)):
            *lines, self._rest[n] = (self._rest[n] + bytes(new)).split(b"\n")
            for line in lines:
                # A bar that is drawn anew goes back by a carriage return.
                signal.emit(line.decode("utf-8", "replace").rstrip("\r").rsplit("\r", 1)[-1])

    def _finished(self, *_: Any) -> None:
        self._read()
        for rest, signal in zip(self._rest, (self.said, self.complained), strict=True):
            if rest:
                signal.emit(rest.decode("utf-8", "replace"))
        self._rest = [b"", b""]
        is_normal = self._process.exitStatus() == QtCore.QProcess.ExitStatus.NormalExit
        self.ended.emit(int(self._process.exitCode()) if is_normal else 1)

    def _failed(self, error: Any) -> None:
        if error == QtCore.QProcess.ProcessError.FailedToStart:
            self.ended.emit(NOT_STARTED)
