"""A text or a path enters; the parts that forms of several lines are made of leave."""

from __future__ import annotations

from typing import Any

from ..qt import QtWidgets, Signal
from ..texts import tr

__all__ = ["PathField", "wrapped_text"]


def wrapped_text(name: str = "", *, is_small: bool = False) -> Any:
    """A line of text that wraps, and that never makes the window wider."""
    label = QtWidgets.QLabel()
    label.setObjectName(name)
    label.setWordWrap(True)
    policy = QtWidgets.QSizePolicy.Policy
    label.setSizePolicy(policy.Ignored, policy.Minimum)
    if is_small:
        font = label.font()
        font.setPointSizeF(max(7.0, 0.9 * font.pointSizeF()))
        label.setFont(font)
    return label


class PathField(QtWidgets.QWidget):
    """A path to type or to choose."""

    changed = Signal(str)

    def __init__(self, name: str, text: str, *, is_folder: bool) -> None:
        super().__init__()
        self._is_folder = is_folder
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.line = QtWidgets.QLineEdit(text)
        self.line.setObjectName(name)
        self.line.textChanged.connect(self.changed)
        button = QtWidgets.QPushButton(tr("Choose…"))
        button.setObjectName(f"{name}_choose")
        button.setAutoDefault(False)
        button.clicked.connect(self._choose)
        row.addWidget(self.line, 1)
        row.addWidget(button)

    @property
    def text(self) -> str:
        return str(self.line.text()).strip()

    def _choose(self) -> None:
        dialog = QtWidgets.QFileDialog
        if self._is_folder:
            path = dialog.getExistingDirectory(self, tr("Choose a folder"), self.text)
        else:
            path = dialog.getOpenFileName(self, tr("Choose a file"), self.text)[0]
        if path:
            self.line.setText(path)
