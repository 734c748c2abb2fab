"""A command enters; a backend that runs as our child, and its port and token, leave.

The token goes to the child's standard input, where no other program can read it; the end of
that input tells the child that we are gone, however we went.

Signals:
    listening(int, str)  port and token
    ended(str)           a sentence; emitted only for an end that we did not ask for
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from ..qt import QtCore, Signal
from ..texts import tr

__all__ = ["BackendProcess", "clean_environment", "own_sentence"]

_LOG_LINES = 40
_SAYS = "nijimi: "
_LEAKY = ("PYTHON", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD", "QT_", "QML")
"""Krita's own surroundings, which would confuse another Python (an AppImage sets most)."""


class BackendProcess(QtCore.QObject):
    """One run of the backend; make a new one for the next."""

    listening = Signal(int, str)
    ended = Signal(str)

    def __init__(self, command: list[str], parent: Any = None) -> None:
        super().__init__(parent)
        self._command = [*command, "--token-stdin"]
        self._token = secrets.token_urlsafe(32)
        self._out = b""
        self._log: list[str] = []
        self._is_over = False
        self._process = QtCore.QProcess(self)
        self._process.setProcessEnvironment(clean_environment())
        self._process.readyReadStandardOutput.connect(self._read_out)
        self._process.readyReadStandardError.connect(self._read_log)
        self._process.finished.connect(lambda *_: self._finished())
        self._process.errorOccurred.connect(self._failed)

    @property
    def pid(self) -> int:
        return int(self._process.processId())

    def start(self) -> None:
        self._process.start(self._command[0], self._command[1:])
        self._process.write(f"{self._token}\n".encode())

    def stop(self, *, at_once: bool = False) -> None:
        """End it: its input first, which it obeys at once, then by force."""
        self._is_over = True
        process = self._process
        if process.state() == QtCore.QProcess.ProcessState.NotRunning:
            return
        process.closeWriteChannel()
        if at_once or not process.waitForFinished(1500):
            process.kill()
            process.waitForFinished(500)

    def log_tail(self) -> str:
        return "\n".join(self._log)

    def _read_out(self) -> None:
        self._out += bytes(self._process.readAllStandardOutput())
        while b"\n" in self._out:
            line, self._out = self._out.split(b"\n", 1)
            try:
                message: Any = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict) and message.get("event") == "listening":
                self.listening.emit(int(message["port"]), self._token)
        self._out = self._out[-65536:]

    def _read_log(self) -> None:
        text = bytes(self._process.readAllStandardError()).decode("utf-8", "replace")
        self._log = (self._log + text.splitlines())[-_LOG_LINES:]

    def _failed(self, error: Any) -> None:
        if error == QtCore.QProcess.ProcessError.FailedToStart:
            self._end(
                tr("The backend could not be started: {path} is not there.", path=self._command[0])
            )

    def _finished(self) -> None:
        self._read_log()
        reason = own_sentence(self._log)
        self._end(reason or tr("The backend ended unexpectedly."))

    def _end(self, sentence: str) -> None:
        if not self._is_over:
            self._is_over = True
            self.ended.emit(sentence)


def own_sentence(lines: Sequence[str]) -> str:
    """What a command of the backend said last of why it ended, "" where it said nothing."""
    said = (line for line in reversed(lines) if line.startswith(_SAYS))
    return next(said, "").removeprefix(_SAYS)


def clean_environment() -> Any:
    """Ours without what belongs to Krita, and without any model hub."""
    environment = QtCore.QProcessEnvironment.systemEnvironment()
    for name in environment.keys():  # noqa: SIM118 - Qt's class is no mapping
        if name.startswith(_LEAKY):
            environment.remove(name)
    environment.insert("HF_HUB_OFFLINE", "1")
    environment.insert("PYTHONUNBUFFERED", "1")
    return environment
