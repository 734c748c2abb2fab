"""A panel enters; the same, which scrolls where it is too tall for the screen, leaves."""

from __future__ import annotations

from typing import Any

from ..qt import QtCore, QtWidgets

__all__ = ["ScrollPanel"]

_TALLEST_PX = 440
"""Up to here the docker asks for all the height that its panel needs; beyond it a small screen's
window would overflow."""


class ScrollPanel(QtWidgets.QScrollArea):
    """Never narrower than the panel, and only beyond a height lower than it."""

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self._panel = panel
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidgetResizable(True)
        self.setWidget(panel)
        panel.installEventFilter(self)

    def minimumSizeHint(self) -> Any:
        needed = self._panel.minimumSizeHint()
        height = min(needed.height(), _TALLEST_PX)
        width = needed.width()
        if height < needed.height():
            width += self.verticalScrollBar().sizeHint().width()
        return QtCore.QSize(width, height)

    def sizeHint(self) -> Any:
        return self._panel.sizeHint().expandedTo(self.minimumSizeHint())

    def eventFilter(self, watched: Any, event: Any) -> bool:
        if event.type() == QtCore.QEvent.Type.LayoutRequest:
            # Something was unfolded or a row came: the docker may have to be another size.
            self.updateGeometry()
        return super().eventFilter(watched, event)
