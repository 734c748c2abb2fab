"""The name of a setting enters; a field that shows and sets it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model.settings import Settings
from ..qt import QtCore, QtWidgets
from ..texts import tr

__all__ = [
    "CheckField",
    "ChoiceField",
    "Choices",
    "DecimalField",
    "NumberField",
    "PercentField",
    "dropped_file",
]

Choices = tuple[tuple[str, Any, str], ...]
"""Each with its text, its value and its tip, in English: the fields translate."""


def _join(
    settings: Settings,
    name: str,
    show: Callable[[Any], Any],
    edited: Any,
    read: Callable[[Any], Any] = lambda value: value,
) -> None:
    """Keep a field and a setting alike: ``show`` sets the field, ``edited`` is its signal, and
    ``read`` makes the setting of what the signal carries."""

    def follow(changed: str) -> None:
        if changed == name:
            show(settings.get(name))

    follow(name)
    settings.changed.connect(follow)
    edited.connect(lambda value: settings.set(name, read(value)))


class ChoiceField(QtWidgets.QComboBox):
    """One of several values. A value that is none of them shows the first."""

    def __init__(self, settings: Settings, name: str, choices: Choices) -> None:
        super().__init__()
        self.setObjectName(f"nijimi_{name}")
        # As narrow as need be: a long choice is cut, it never widens the docker.
        self.setMinimumWidth(self.fontMetrics().horizontalAdvance("Along e") + 24)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Fixed)
        for text, value, tip in choices:
            self.addItem(tr(text), value)
            self.setItemData(self.count() - 1, tr(tip), QtCore.Qt.ItemDataRole.ToolTipRole)

        def show(value: Any) -> None:
            self.setCurrentIndex(max(0, self.findData(value)))

        _join(settings, name, show, self.currentIndexChanged, self.itemData)


class NumberField(QtWidgets.QSpinBox):
    """A whole number from ``low`` to ``high``."""

    def __init__(
        self, settings: Settings, name: str, low: int, high: int, tip: str, suffix: str = ""
    ) -> None:
        super().__init__()
        self.setObjectName(f"nijimi_{name}")
        self.setRange(low, high)
        self.setSuffix(suffix)
        self.setToolTip(tr(tip))

        _join(settings, name, self.setValue, self.valueChanged)


class DecimalField(QtWidgets.QDoubleSpinBox):
    """A number from ``low`` to ``high``, in steps of a half."""

    def __init__(self, settings: Settings, name: str, low: float, high: float, tip: str) -> None:
        super().__init__()
        self.setObjectName(f"nijimi_{name}")
        self.setRange(low, high)
        self.setDecimals(1)
        self.setSingleStep(0.5)
        self.setToolTip(tr(tip))

        _join(settings, name, self.setValue, self.valueChanged)


class PercentField(QtWidgets.QWidget):
    """A part of the whole, by a slider, with how much it is in words. The setting is in [0, 1]."""

    def __init__(self, settings: Settings, name: str, tip: str) -> None:
        super().__init__()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._slider.setObjectName(f"nijimi_{name}")
        self._slider.setRange(0, 100)
        self._slider.setToolTip(tr(tip))
        self._label = QtWidgets.QLabel()
        self._label.setMinimumWidth(self.fontMetrics().horizontalAdvance("100 %"))
        row.addWidget(self._slider, 1)
        row.addWidget(self._label)

        _join(settings, name, self._show, self._slider.valueChanged, lambda value: value / 100)

    def _show(self, value: float) -> None:
        if 0.0 <= value <= 1.0:
            self._slider.setValue(round(100 * value))
            self._label.setText(f"{round(100 * value)} %")


class CheckField(QtWidgets.QCheckBox):
    """On or off."""

    def __init__(self, settings: Settings, name: str, text: str, tip: str) -> None:
        super().__init__(tr(text))
        self.setObjectName(f"nijimi_{name}")
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Ignored, policy.Fixed)
        self.setToolTip(tr(tip))

        _join(settings, name, self.setChecked, self.toggled)


def dropped_file(event: Any, ending: str) -> str:
    """The first file of that ending in what is dragged, or ""."""
    for url in event.mimeData().urls():
        if url.isLocalFile() and url.toLocalFile().lower().endswith(ending):
            return url.toLocalFile()
    return ""
