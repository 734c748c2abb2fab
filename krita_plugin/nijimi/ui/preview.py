"""A picture enters; a sharp, undistorted view of it leaves."""

from __future__ import annotations

from typing import Any

from ..model.picture import Picture, picture_image
from ..qt import QtCore, QtGui, QtWidgets
from ..texts import tr

__all__ = ["Preview"]

_EMPTY = "Paint with Live on:\nthe picture appears here."


class Preview(QtWidgets.QWidget):
    """Shows the newest picture at its own aspect, as large as there is room."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setObjectName("nijimi_preview")
        self.setMinimumSize(160, 120)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Expanding)
        self._picture: Picture | None = None
        self._image: Any = None

    def set_picture(self, picture: Picture | None) -> None:
        """The newest picture, or None for nothing."""
        # Kept beside the image, which does not own its pixels.
        self._picture = picture
        self._image = None
        if picture is not None:
            self._image = picture_image(picture)
        self.update()

    def image(self) -> Any:
        """The picture as shown, or None."""
        return self._image

    def sizeHint(self) -> Any:
        return QtCore.QSize(256, 256)

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        palette = self.palette()
        if self._image is None:
            frame = self.rect().adjusted(0, 0, -1, -1)
            painter.setPen(palette.color(QtGui.QPalette.ColorRole.Mid))
            painter.drawRect(frame)
            painter.setPen(
                palette.color(
                    QtGui.QPalette.ColorGroup.Disabled, QtGui.QPalette.ColorRole.WindowText
                )
            )
            painter.drawText(frame, QtCore.Qt.AlignmentFlag.AlignCenter, tr(_EMPTY))
            return
        size = self._image.size().scaled(self.size(), QtCore.Qt.AspectRatioMode.KeepAspectRatio)
        target = QtCore.QRect(QtCore.QPoint(0, 0), size)
        target.moveCenter(self.rect().center())
        painter.setRenderHint(QtGui.QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(target, self._image)
