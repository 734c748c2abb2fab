"""A received frame enters; what of it outlives the session that brought it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nijimi_protocol.geometry import Bounds, Extent

from ..qt import QtGui

__all__ = [
    "APPLY_MASKED",
    "APPLY_NEW",
    "APPLY_REPLACING",
    "Picture",
    "picture_image",
    "save_pixels",
]

APPLY_NEW = "new"
APPLY_MASKED = "masked"
APPLY_REPLACING = "replacing"
"""What Apply makes of a picture: a layer, one with a mask, or the last applied layer anew."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One whole picture and where it belongs. The backend may die; the picture stays.

    ``pixels``: BGRA8 of ``extent``. ``area``: where it lies in a document of ``canvas`` pixels.
    ``selection``: one byte a pixel of ``selected``, for a picture of a selection only; such a one
    is transparent beside it.
    """

    pixels: bytes
    extent: Extent
    area: Bounds
    canvas: Extent
    document_id: str
    revision: int
    is_final: bool
    selected: Bounds | None = None
    selection: bytes = b""

    @property
    def area_in_canvas(self) -> Bounds:
        return self.area.intersection(self.canvas.bounds)


def picture_image(picture: Picture) -> Any:
    """A QImage that does not own its pixels: keep the picture beside it.

    One of a selection is transparent beside it, whatever colours lie there.
    """
    formats = QtGui.QImage.Format
    kind = formats.Format_RGB32 if picture.selected is None else formats.Format_ARGB32
    return QtGui.QImage(picture.pixels, *picture.extent, kind)


def save_pixels(pixels: bytes, extent: Extent, path: Path) -> None:
    """Write BGRA8 as a PNG. Raises ``OSError`` where there is no room for it."""
    image = QtGui.QImage(pixels, *extent, extent.width * 4, QtGui.QImage.Format.Format_ARGB32)
    if not image.save(str(path), "PNG"):
        raise OSError(f"{path.name} could not be written")
