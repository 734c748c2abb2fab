"""Styles and settings enter; the field that chooses a style, and opens its form, leaves."""

from __future__ import annotations

from typing import Any

from ..model.models import KnownModels
from ..model.settings import Settings
from ..model.styles import Styles
from ..qt import QtCore, QtWidgets
from ..texts import tr
from .style_dialog import StyleDialog

__all__ = ["StyleField"]

_EDIT = "\0edit"
"""No file has such a name."""


class StyleField(QtWidgets.QComboBox):
    """One click takes another style; the last entry opens the form of the one that is chosen."""

    def __init__(self, settings: Settings, styles: Styles, models: KnownModels) -> None:
        super().__init__()
        self._settings, self._styles, self._models = settings, styles, models
        self._dialog: Any = None
        self.setObjectName("nijimi_style")
        self.setToolTip(tr("Words around the prompt, and how pictures are made."))
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Ignored, policy.Fixed)
        self.activated.connect(self._chosen)
        styles.changed.connect(self._fill)
        settings.changed.connect(self._setting_changed)
        self._fill()

    def edit(self) -> Any:
        """Open the form."""
        style = self._styles.get(self._settings.get("style"))
        self._dialog = StyleDialog(self._styles, style, self._models, self.window())
        self._dialog.kept.connect(self._kept)
        self._dialog.show()
        return self._dialog

    def _fill(self) -> None:
        self.blockSignals(True)
        self.clear()
        for style in self._styles.entries:
            self.addItem(style.title, style.name)
            role = QtCore.Qt.ItemDataRole.ToolTipRole
            self.setItemData(self.count() - 1, style.prompt, role)
        self.insertSeparator(self.count())
        self.addItem(tr("Edit style..."), _EDIT)
        self._show()
        self.blockSignals(False)

    def _show(self) -> None:
        self.setCurrentIndex(max(0, self.findData(self._settings.get("style"))))

    def _setting_changed(self, name: str) -> None:
        if name == "style":
            self._show()

    def _chosen(self, index: int) -> None:
        name = self.itemData(index)
        if name == _EDIT:
            self._show()
            self.edit()
        else:
            self._settings.use_style(self._styles.get(name))

    def _kept(self, name: str) -> None:
        self._settings.use_style(self._styles.get(name))
