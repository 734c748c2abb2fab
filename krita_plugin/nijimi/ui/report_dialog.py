"""What the plugin and the backend's doctor say enters; a page to read and copy leaves."""

from __future__ import annotations

from typing import Any

from ..qt import QtGui, QtWidgets
from ..texts import tr

__all__ = ["ReportDialog"]


class ReportDialog(QtWidgets.QDialog):
    """Shows the report; it does not stop Krita while it is open."""

    def __init__(self, own: str, parent: Any = None) -> None:
        super().__init__(parent)
        self.setObjectName("nijimi_report")
        self.setWindowTitle(tr("Report"))
        self._own = own
        layout = QtWidgets.QVBoxLayout(self)
        hint = QtWidgets.QLabel(
            tr("For somebody who is to help: no prompts, no names, no folders of yours. Nothing "
               "is sent anywhere.")
        )  # fmt: skip
        hint.setWordWrap(True)
        self._text = QtWidgets.QPlainTextEdit()
        self._text.setObjectName("nijimi_report_text")
        self._text.setReadOnly(True)
        self._text.setFont(QtGui.QFontDatabase.systemFont(QtGui.QFontDatabase.SystemFont.FixedFont))
        self._buttons = QtWidgets.QDialogButtonBox()
        self._copy = self._buttons.addButton(
            tr("Copy"), QtWidgets.QDialogButtonBox.ButtonRole.ActionRole
        )
        self._copy.setObjectName("nijimi_report_copy")
        self._copy.clicked.connect(self._copy_all)
        close = self._buttons.addButton(
            tr("Close"), QtWidgets.QDialogButtonBox.ButtonRole.RejectRole
        )
        close.setObjectName("nijimi_report_close")
        self._buttons.rejected.connect(self.reject)
        layout.addWidget(hint)
        layout.addWidget(self._text, 1)
        layout.addWidget(self._buttons)
        self.resize(640, 480)
        self.show_doctor(tr("Looking at the backend…"))

    def show_doctor(self, text: str) -> None:
        """What the doctor says goes below what is known already."""
        self._text.setPlainText(f"{self._own}\n\n{text}")

    def _copy_all(self) -> None:
        QtWidgets.QApplication.clipboard().setText(self._text.toPlainText())
        self._copy.setText(tr("Copied"))
