"""What can go wrong while installing, as one tree; a failure enters, two sentences leave.

InstallError
├── MissingProgram     a program of the system is not there
├── KritaRunning      Krita is open while its settings are to be changed
├── CommandFailed      a command that we ran failed
├── DiskFull           there is no room for what is to be installed
└── DemoFailed         Krita ran, but did not do what it must
"""

from __future__ import annotations

__all__ = [
    "CommandFailed",
    "DemoFailed",
    "DiskFull",
    "InstallError",
    "KritaRunning",
    "MissingProgram",
]


class InstallError(Exception):
    """The root: ``sentence`` says what, ``action`` what to do."""

    def __init__(self, sentence: str, action: str = "") -> None:
        super().__init__(f"{sentence} {action}".strip())
        self.sentence = sentence
        self.action = action


class MissingProgram(InstallError):
    """A program of the system is not there."""


class KritaRunning(InstallError):
    """Krita is open while its settings are to be changed."""


class CommandFailed(InstallError):
    """A command that we ran failed."""


class DiskFull(InstallError):
    """There is no room for what is to be installed."""


class DemoFailed(InstallError):
    """Krita ran, but did not do what it must."""
