"""A Python, our source and a folder enter; an installed backend's interpreter leaves.

The installer that travels with the source does it, as a program of its own; what it prints is
read here. Whatever stopped it, the next run goes on with what is there.

Signals:
    progressed(str, float, str)  what is done now, how far all of it is in [0, 1], and a detail
    failed(str, str)             a sentence and what to do
    installed(str)               the interpreter to start the backend with
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..qt import QtCore, Signal
from ..texts import tr
from .program import NOT_STARTED, Program, part_of

__all__ = ["BackendSetup", "backend_source"]

_STAGES = (
    ("Copying", 0.0, "Copying Nijimi"),
    ("Making", 0.02, "Making a place for packages"),
    ("Updating", 0.05, "Updating pip"),
    ("Installing torch", 0.08, "Installing torch, the largest part"),
    ("Installing the other", 0.55, "Installing the other packages"),
)
"""How the installer's stages begin, how far all of it is then, and what the painter reads."""

_READY = "Backend: "
_FAILED = "Nijimi: "
_SHOWN = 90


def backend_source() -> Path | None:
    """Where our archive carried the backend's source to; None where it carries none."""
    folder = Path(__file__).resolve().parent.parent / "backend_source"
    return folder if (folder / "installer" / "__main__.py").is_file() else None


class BackendSetup(QtCore.QObject):
    """One attempt; make a new one for the next."""

    progressed = Signal(str, float, str)
    failed = Signal(str, str)
    installed = Signal(str)

    def __init__(
        self, python: str, source: Path, home: str, device: str = "auto", parent: Any = None
    ) -> None:
        super().__init__(parent)
        words = [str(source / "installer"), "backend", "--into", home, "--device", device]
        self._program = Program([python, *words], self, {"PYTHONDONTWRITEBYTECODE": "1"})
        self._program.said.connect(self._hear)
        self._program.complained.connect(self._hear)
        self._program.ended.connect(self._ended)
        self._python = python
        self._title = ""
        self._begun = 0.0
        self._next = 0.02
        self._sentence: list[str] = []
        self._last = ""
        self._made = ""

    def start(self) -> None:
        self._program.start()

    def stop(self) -> None:
        """The painter has thought better of it; what has come is kept."""
        self.blockSignals(True)
        self._program.stop()

    def _hear(self, line: str) -> None:
        text = line.strip()
        if line.startswith("==> "):
            self._begin(line[4:])
        elif (part := part_of(line)) is not None:
            done, whole = part
            millions = f"{done / 1e6:.0f} / {whole / 1e6:.0f} MB"
            far = self._begun + (self._next - self._begun) * min(1.0, done / whole) * 0.9
            # Small files would only flicker.
            if whole > 2e6:
                self.progressed.emit(self._title, far, millions)
        elif text.startswith(_FAILED):
            self._sentence = [text.removeprefix(_FAILED)]
        elif self._sentence and text:
            self._sentence.append(text)
        elif text:
            self._last = text
            self.progressed.emit(self._title, self._begun, text[:_SHOWN])

    def _begin(self, title: str) -> None:
        if title.startswith(_READY):
            self._made = title.removeprefix(_READY)
            return
        ends = [part for _, part, _ in _STAGES[1:]] + [1.0]
        for (beginning, part, words), end in zip(_STAGES, ends, strict=True):
            if title.startswith(beginning):
                self._begun, self._next, title = part, end, tr(words)
        self._title = title
        self.progressed.emit(title, self._begun, "")

    def _ended(self, status: int) -> None:
        if status == 0 and self._made:
            self.installed.emit(self._made)
        elif status == NOT_STARTED:
            self.failed.emit(
                tr("{path} cannot be started.", path=self._python),
                tr("Choose another Python."),
            )
        elif self._sentence:
            self.failed.emit(self._sentence[0], " ".join(self._sentence[1:]))
        else:
            self.failed.emit(tr("The installation ended without a result."), self._last[-300:])
