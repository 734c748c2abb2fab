"""A picture and a selection enter; the pixels of the layer that is to hold it leave."""

from __future__ import annotations

from typing import Any

from nijimi_protocol.geometry import Bounds, Extent

from ..qt import QtCore, QtGui
from .room import SelectionMask

__all__ = ["cut_to_selection", "image_bytes", "laid_over", "picture_and_mask", "scaled_pixels"]

_ALL_OR_NOTHING = bytes([0, *[255] * 255])


def scaled_pixels(pixels: bytes | bytearray, extent: Extent, size: Extent) -> bytes:
    """BGRA8 at ``extent`` scaled smoothly to ``size``."""
    raw = bytes(pixels)
    if extent == size:
        return raw
    image = QtGui.QImage(
        raw, extent.width, extent.height, extent.width * 4, QtGui.QImage.Format.Format_ARGB32
    ).scaled(
        size.width,
        size.height,
        QtCore.Qt.AspectRatioMode.IgnoreAspectRatio,
        QtCore.Qt.TransformationMode.SmoothTransformation,
    )
    return image_bytes(image)


def image_bytes(image: Any) -> bytes:
    """A QImage's pixels as BGRA8: ARGB32 is BGRA in memory."""
    image = image.convertToFormat(QtGui.QImage.Format.Format_ARGB32)
    bits = image.constBits()
    bits.setsize(image.width() * image.height() * 4)
    return bytes(bits)


def cut_to_selection(pixels: bytes, area: Bounds, selection: SelectionMask) -> bytes:
    """BGRA8 of ``area``, made fully transparent wherever nothing is selected.

    Scaling a picture lets its edge bleed; what was not selected must not change by one bit.
    """
    allowed = _selected(area, selection).translate(_ALL_OR_NOTHING)
    cut = bytearray(pixels)
    both = int.from_bytes(cut[3::4], "big") & int.from_bytes(allowed, "big")
    cut[3::4] = both.to_bytes(len(allowed), "big")
    return bytes(cut)


def picture_and_mask(
    pixels: bytes | bytearray,
    extent: Extent,
    area: Bounds,
    selection: SelectionMask | None,
    *,
    of_selection: bool,
) -> tuple[bytes, bytes]:
    """Opaque BGRA8 of ``area``, and how much of it is to be seen, a byte a pixel."""
    colours = bytearray(scaled_pixels(pixels, extent, area.extent))
    count = area.extent.pixels
    if of_selection and selection is not None:
        mask = cut_to_selection(bytes(colours), area, selection)[3::4]
    elif selection is not None:
        mask = _selected(area, selection)
    else:
        mask = b"\xff" * count
    colours[3::4] = b"\xff" * count
    return bytes(colours), mask


def _selected(area: Bounds, selection: SelectionMask) -> bytes:
    """How much of each pixel of ``area`` is selected."""
    mask = bytearray(area.extent.pixels)
    common = area.intersection(selection.bounds)
    for y in range(common.y, common.bottom):
        start = (y - selection.bounds.y) * selection.bounds.width + common.x - selection.bounds.x
        at = (y - area.y) * area.width + common.x - area.x
        mask[at : at + common.width] = selection.pixels[start : start + common.width]
    return bytes(mask)


def laid_over(canvas: bytes, size: Extent, pixels: bytes, area: Bounds, opacity: float) -> bytes:
    """BGRA8 of a canvas with a part of ``area`` over it, as transparent as that is and more."""
    format = QtGui.QImage.Format.Format_ARGB32
    whole = QtGui.QImage(canvas, *size, size.width * 4, format).copy()
    part = QtGui.QImage(pixels, area.width, area.height, area.width * 4, format)
    painter = QtGui.QPainter(whole)
    painter.setOpacity(opacity)
    painter.drawImage(QtCore.QPoint(area.x, area.y), part)
    painter.end()
    return image_bytes(whole)
