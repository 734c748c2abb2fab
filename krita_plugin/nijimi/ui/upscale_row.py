"""Settings and known upscalers enter; the row that asks for a larger picture leaves.

Signals:
    upscale_clicked()
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..model.models import KnownModels
from ..model.settings import Settings
from ..qt import QtWidgets, Signal
from ..texts import tr
from .fields import ChoiceField, NumberField

__all__ = ["UpscaleRow"]


class UpscaleRow(QtWidgets.QWidget):
    """How much larger, how far it is repainted, and by which network it is enlarged."""

    upscale_clicked = Signal()

    def __init__(self, settings: Settings, models: KnownModels, icon: Callable[[str], Any]) -> None:
        super().__init__()
        self._settings, self._models = settings, models
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        self._button = QtWidgets.QPushButton(tr("Upscale"))
        self._button.setObjectName("nijimi_upscale")
        self._button.setAutoDefault(False)
        self._button.setToolTip(
            tr("A larger picture of the whole canvas, with details of its own size.")
        )
        self._button.clicked.connect(self.upscale_clicked)
        factor = ChoiceField(
            settings,
            "upscale_factor",
            (
                ("1 ×", 1.0, "As large as the canvas: only repainted."),
                ("1.5 ×", 1.5, "Half as wide again."),
                ("2 ×", 2.0, "Twice as wide."),
                ("3 ×", 3.0, "Three times as wide."),
                ("4 ×", 4.0, "Four times as wide."),
            ),
        )
        factor.setToolTip(tr("How much wider and higher the picture becomes."))
        self._network = QtWidgets.QToolButton()
        self._network.setObjectName("nijimi_upscaler")
        self._network.setIcon(icon("transform_icons_main"))
        self._network.setAutoRaise(True)
        self._network.setToolTip(tr("What enlarges the picture before it is repainted."))
        self._network.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QtWidgets.QMenu(self._network)
        self._menu.aboutToShow.connect(self._fill_menu)
        self._network.setMenu(self._menu)
        row.addWidget(self._button, 2)
        row.addWidget(factor, 1)
        row.addWidget(
            NumberField(
                settings, "upscale_percent", 0, 100,
                "How far the model repaints the enlarged picture: 0 % leaves it as it is.", " %",
            )
        )  # fmt: skip
        row.addWidget(self._network)

    def upscale(self) -> None:
        """As its button does."""
        self._button.click()

    def _fill_menu(self) -> None:
        self._menu.clear()
        names = ("", *self._models.upscalers())
        for name in names:
            action = self._menu.addAction(
                name.replace("&", "&&") or tr("Smooth, without a network")
            )
            action.setCheckable(True)
            action.setChecked(self._settings.get("upscale_model") == name)
            action.triggered.connect(partial(self._choose, name))
        if len(names) == 1:
            hint = self._menu.addAction(tr("Put upscalers (.safetensors) into the models folder."))
            hint.setEnabled(False)

    def _choose(self, name: str, *_: Any) -> None:
        self._settings.set("upscale_model", name)
