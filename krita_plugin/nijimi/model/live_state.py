"""Events of link and flow enter; what the status line says leaves.

Signals:
    changed()
"""

from __future__ import annotations

from typing import Any

from ..qt import QtCore, Signal

__all__ = ["LiveState"]


class LiveState(QtCore.QObject):
    """The state of the live link in words and numbers."""

    changed = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.state = "off"
        self.device = ""
        self.model = ""
        self.frame_ms = 0.0
        self.fps = 0.0
        self.progress = ""
        self.problem = ""
        self.hint = ""
        self.can_retry = False
        self.has_picture = False

    def update(self, **values: Any) -> None:
        """Set some values; observers hear of it once, and only if one is another."""
        different = {name: value for name, value in values.items() if getattr(self, name) != value}
        if different:
            for name, value in different.items():
                setattr(self, name, value)
            self.changed.emit()

    def line(self) -> str:
        """The status line, in plain words."""
        if self.problem:
            return f"{self.problem} {self.hint}".strip()
        words = {
            "off": "Live is off.",
            "starting": "Starting the backend…",
            "connecting": "Connecting…",
            "loading": f"Loading the model… {self.progress}".rstrip(),
            "waiting": "Open a document and paint.",
            "reconnecting": "The backend ended; starting it again. Nothing is lost.",
        }
        if self.state in words:
            return words[self.state]
        parts = [self.device or "ready", self.model]
        if self.frame_ms:
            parts += [f"{self.frame_ms:.0f} ms", f"{self.fps:.1f} fps"]
        return "  ·  ".join(part for part in parts if part)
