"""The span of an animation enters; which of its frames are to be rendered, and how, leaves.

Signals:
    render_clicked(int, int, float)  the first frame, the last, and how much of the picture before
                                     lies over the next drawing, in [0, 1)
"""

from __future__ import annotations

from typing import Any

from ..qt import QtWidgets, Signal
from ..texts import tr

__all__ = ["AnimationDialog"]

_TEMPORAL_PERCENT = 30
_MOST_PERCENT = 80
"""With more of the picture before, the next drawing would hardly be seen."""


class AnimationDialog(QtWidgets.QDialog):
    """Asks once and goes; Krita may be used beside it."""

    render_clicked = Signal(int, int, float)

    def __init__(self, drawn: tuple[int, int], whole: tuple[int, int], parent: Any = None) -> None:
        """``drawn``: the first drawing and the last; ``whole``: the document's own frames."""
        super().__init__(parent)
        self.setObjectName("nijimi_animation")
        self.setWindowTitle(tr("Render animation"))
        form = QtWidgets.QFormLayout(self)
        self._first = self._frame_field("first", whole, drawn[0])
        self._last = self._frame_field("last", whole, drawn[1])
        self._temporal = QtWidgets.QSpinBox()
        self._temporal.setObjectName("nijimi_animation_temporal")
        self._temporal.setRange(0, _MOST_PERCENT)
        self._temporal.setValue(_TEMPORAL_PERCENT)
        self._temporal.setSuffix(" %")
        self._temporal.setToolTip(
            tr("How much of the picture before lies over the next drawing: more is calmer.")
        )
        form.addRow(tr("First frame"), self._first)
        form.addRow(tr("Last frame"), self._last)
        form.addRow(tr("Kept from the frame before"), self._temporal)
        self._told = QtWidgets.QLabel()
        self._told.setObjectName("nijimi_animation_told")
        self._told.setWordWrap(True)
        form.addRow(self._told)
        buttons = QtWidgets.QDialogButtonBox()
        roles = QtWidgets.QDialogButtonBox.ButtonRole
        self._render = buttons.addButton(tr("Render"), roles.AcceptRole)
        self._render.setObjectName("nijimi_animation_render")
        buttons.addButton(tr("Close"), roles.RejectRole)
        buttons.accepted.connect(self._accept)
        buttons.rejected.connect(self.reject)
        form.addRow(buttons)
        self._first.valueChanged.connect(self._count)
        self._last.valueChanged.connect(self._count)
        self._count()

    def _frame_field(self, name: str, whole: tuple[int, int], value: int) -> Any:
        field = QtWidgets.QSpinBox()
        field.setObjectName(f"nijimi_animation_{name}")
        field.setRange(*whole)
        field.setValue(value)
        return field

    def _count(self) -> None:
        count = self._last.value() - self._first.value() + 1
        self._render.setEnabled(count > 0)
        self._told.setText(
            tr(
                "{count} frames with the same seed and the settings of a finished picture become "
                "a new animated layer.",
                count=max(0, count),
            )
        )

    def _accept(self) -> None:
        self.render_clicked.emit(
            self._first.value(), self._last.value(), self._temporal.value() / 100
        )
        self.accept()
