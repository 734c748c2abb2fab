"""What is known of the machine enters; where pictures shall be made leaves.

Signals:
    look_again()       for the Python that is typed, or for any
    home_changed(str)  the folder that a backend would go to
"""

from __future__ import annotations

from typing import Any

from ..model.set_up_choice import DEVICES, Known
from ..qt import QtWidgets, Signal
from ..texts import tr
from .form_parts import PathField, wrapped_text

__all__ = ["WherePage"]

_GIB = 1024**3


class WherePage(QtWidgets.QWizardPage):
    """Where pictures are made: by the backend that is there, a new one here, or one elsewhere."""

    look_again = Signal()
    home_changed = Signal(str)

    def __init__(self, known: Known) -> None:
        super().__init__()
        self.setTitle(tr("Where shall pictures be made?"))
        self.setSubTitle(
            tr("Pictures are made by a program of its own, the backend: Krita stays quick.")
        )
        self.known, self.python, self._has_room = known, "", True
        layout = QtWidgets.QVBoxLayout(self)
        self._as_is = self._radio("as_is", tr("By the backend that is installed"), layout)
        self._as_is_path = wrapped_text("nijimi_set_up_as_is_path", is_small=True)
        self._as_is_path.setText(known.backend)
        self._as_is_path.setIndent(22)
        layout.addWidget(self._as_is_path)
        self._as_is.setVisible(bool(known.backend))
        self._as_is_path.setVisible(bool(known.backend))
        self._here = self._radio("here", tr("On this computer, installed now"), layout)
        self._here_fields = self._fields(layout)
        self._home = PathField("nijimi_set_up_home", known.home, is_folder=True)
        self._home.changed.connect(self.home_changed)
        self._room = wrapped_text("nijimi_set_up_room", is_small=True)
        self._python = PathField("nijimi_set_up_python", "", is_folder=False)
        self._python.changed.connect(self._python_typed)
        self._version = wrapped_text("nijimi_set_up_version", is_small=True)
        self._again = QtWidgets.QPushButton(tr("Look again"))
        self._again.setObjectName("nijimi_set_up_again")
        self._again.setAutoDefault(False)
        self._again.clicked.connect(self.look_again)
        self._device = QtWidgets.QComboBox()
        self._device.setObjectName("nijimi_set_up_device")
        for value, title in DEVICES:
            self._device.addItem(tr(title), value)
        found = QtWidgets.QHBoxLayout()
        found.addWidget(self._version, 1)
        found.addWidget(self._again)
        self._here_fields.addRow(tr("Folder"), self._home)
        self._here_fields.addRow("", self._room)
        self._here_fields.addRow(tr("Python"), self._python)
        self._here_fields.addRow("", found)
        self._here_fields.addRow(tr("Paint with"), self._device)
        self._there = self._radio("there", tr("On another computer"), layout)
        self._there_fields = self._fields(layout)
        self._url = QtWidgets.QLineEdit(known.remote_url)
        self._url.setObjectName("nijimi_set_up_url")
        self._url.setPlaceholderText("wss://studio.example:7865/nijimi")
        self._url.textChanged.connect(self.completeChanged)
        self._token = PathField("nijimi_set_up_token", known.token_file, is_folder=False)
        self._token.changed.connect(lambda _: self.completeChanged.emit())
        self._there_fields.addRow(tr("Address"), self._url)
        self._there_fields.addRow(tr("Token file"), self._token)
        layout.addStretch(1)
        first = self._there if known.remote_url else self._here
        for button in (self._as_is, self._here, self._there):
            button.toggled.connect(lambda _: self._follow())
        (self._as_is if known.backend else first).setChecked(True)
        self._follow()

    @property
    def choice(self) -> str:
        """``as_is``, ``here`` or ``there``."""
        if self._as_is.isChecked():
            return "as_is"
        return "here" if self._here.isChecked() else "there"

    @property
    def home(self) -> str:
        return str(self._home.text)

    @property
    def device(self) -> str:
        return str(self._device.currentData())

    @property
    def remote(self) -> tuple[str, str]:
        """Address and token file."""
        return str(self._url.text()).strip(), str(self._token.text)

    def show_room(self, free_bytes: int, needed_bytes: int) -> None:
        """How much is free where it would go."""
        self._has_room = free_bytes >= needed_bytes
        self._room.setText(
            tr(
                "{free} GiB are free; it takes about {needed}.",
                free=f"{free_bytes / _GIB:.0f}",
                needed=f"{needed_bytes / _GIB:.0f}",
            )
        )
        self.completeChanged.emit()

    def show_python(self, path: str, version: str) -> None:
        """One that will do; "" where there is none."""
        self.python = path
        if path and path != self._python.text:
            self._python.line.setText(path)
        self._version.setText(
            tr("Python {version} is there.", version=version) if path
            else tr("Python 3.11 to 3.14 is needed, with venv. Install one from python.org or by "
                    "your system, then look again.")
        )  # fmt: skip
        self.completeChanged.emit()

    def isComplete(self) -> bool:
        if self.choice == "there":
            url, token = self.remote
            return url.startswith("wss://") and bool(token)
        if self.choice == "here":
            return self.known.can_install and self._has_room and bool(self.python and self.home)
        return True

    def _radio(self, name: str, title: str, layout: Any) -> Any:
        button = QtWidgets.QRadioButton(title)
        button.setObjectName(f"nijimi_set_up_{name}")
        layout.addWidget(button)
        return button

    def _fields(self, layout: Any) -> Any:
        holder = QtWidgets.QWidget()
        form = QtWidgets.QFormLayout(holder)
        form.setContentsMargins(22, 0, 0, 6)
        layout.addWidget(holder)
        return form

    def _follow(self) -> None:
        self._here_fields.parentWidget().setEnabled(self._here.isChecked())
        self._there_fields.parentWidget().setEnabled(self._there.isChecked())
        if self._here.isChecked() and not self.known.can_install:
            self._version.setText(
                tr("This plugin came without the backend. Take the archive that carries it, or run "
                   "in Nijimi's folder: {command}", command="python3 installer run")
            )  # fmt: skip
        self.completeChanged.emit()

    def _python_typed(self, path: str) -> None:
        if path.strip() != self.python:
            self.python = ""
            self._version.setText("")
            self.look_again.emit()
            self.completeChanged.emit()

    @property
    def typed_python(self) -> str:
        return str(self._python.text)
