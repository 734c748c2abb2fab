"""An image enters; a small pixmap of it, sharp on screens of any scale, leaves."""

from __future__ import annotations

from typing import Any

from ..qt import QtCore, QtGui

__all__ = ["small_pixmap"]


def small_pixmap(image: Any, side_px: int, ratio: float) -> Any:
    """At most ``side_px`` a side, at its own aspect; ``ratio``: device pixels a pixel."""
    side = round(side_px * ratio)
    pixmap = QtGui.QPixmap.fromImage(
        image.scaled(
            side, side, QtCore.Qt.AspectRatioMode.KeepAspectRatio,
            QtCore.Qt.TransformationMode.SmoothTransformation,
        )
    )  # fmt: skip
    pixmap.setDevicePixelRatio(ratio)
    return pixmap
